package apptest

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"propusk/internal/outbox"
)

// Deliver does what strangers have asked for and sends what is queued. Nothing
// else does in tests: until then messages wait.
func (a *App) Deliver(t testing.TB) {
	t.Helper()
	if err := a.Service.ServeRequests(t.Context()); err != nil {
		t.Fatalf("do what was asked for: %v", err)
	}
	for {
		n, err := a.Outbox.Deliver(t.Context())
		if err != nil {
			t.Fatalf("deliver: %v", err)
		}
		if n == 0 {
			return
		}
	}
}

// Letter is a message as its reader sees it.
type Letter struct {
	outbox.Envelope
	Link, Token, Code string // "" where it has none
}

var (
	linkInText = regexp.MustCompile(`(?m)^ *(https://\S+)$`)
	codeInText = regexp.MustCompile(`(?:^|\D)(\d{6})(?:\D|$)`)
)

// Letters delivers what is queued and gives what came to an address, the oldest
// first.
func (a *App) Letters(t testing.TB, to string) (out []Letter) {
	t.Helper()
	a.Deliver(t)
	for _, e := range a.Inbox.Messages(to) {
		l := Letter{Envelope: e}
		if m := linkInText.FindStringSubmatch(e.Text); m != nil {
			l.Link = m[1]
			if u, err := url.Parse(l.Link); err == nil {
				l.Token = u.Query().Get("token")
			}
		}
		for line := range strings.Lines(e.Text) {
			if m := codeInText.FindStringSubmatch(line); m != nil && l.Code == "" && !strings.Contains(line, "http") {
				l.Code = m[1]
			}
		}
		out = append(out, l)
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
	t.Fatalf("no %s came to %s, only %d others", kind, to, len(all))
	return Letter{}
}
