package apptest

import (
	"strings"
	"testing"

	"propusk/internal/dev"
	"propusk/internal/outbox"
)

// Deliver does what strangers have asked for and sends what is queued. Nothing
// else does in tests: until then messages wait.
func (a *App) Deliver(t testing.TB) {
	t.Helper()
	if err := dev.Settle(t.Context(), a.Service, a.Outbox); err != nil {
		t.Fatalf("deliver: %v", err)
	}
}

// Letter is a message as its reader sees it.
type Letter struct {
	outbox.Envelope

	Token string // of the link; "" where it has none
}

// Letters delivers what is queued and gives what came to an address, the oldest
// first. The words of each hold its link and its code: readers have nothing else.
func (a *App) Letters(t testing.TB, to string) (out []Letter) {
	t.Helper()
	a.Deliver(t)
	for _, e := range a.Inbox.Messages(to) {
		if !strings.Contains(e.Text, e.Link) || !strings.Contains(e.Text, e.Code) {
			t.Errorf("%s to %s does not show its link %s or its code %s:\n%s", e.Kind, e.To, e.Link, e.Code, e.Text)
		}
		out = append(out, Letter{Envelope: e, Token: dev.TokenOf(e)})
	}
	return out
}

// Letter gives the newest message of a kind that came to an address.
func (a *App) Letter(t testing.TB, to string, kind outbox.Kind) Letter {
	t.Helper()
	all := a.Letters(t, to)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == kind {
			return all[i]
		}
	}
	t.Fatalf("no %s came to %s, only %v", kind, to, kindsOf(all))
	return Letter{}
}

func kindsOf(letters []Letter) (kinds []outbox.Kind) {
	for _, l := range letters {
		kinds = append(kinds, l.Kind)
	}
	return kinds
}
