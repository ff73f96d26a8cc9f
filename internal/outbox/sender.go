package outbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Envelope is a message as it leaves.
type Envelope struct {
	ID                  string // of the message; the same at every attempt
	To, Lang            string
	Kind                Kind
	Subject, Text, HTML string // of an SMS there is the text only
	CreatedAt           time.Time
	// Link and Code are those that the words hold, "" where they hold none, for a
	// sender that shows messages to whoever tries the service out.
	Link, Code string
}

// Sender hands a message to whoever brings it to its recipient. When it gives
// nil, the message has left. An error that is no [*SendError] counts as
// temporary. It must be safe for concurrent use, and end when ctx does.
type Sender interface {
	Send(ctx context.Context, e Envelope) error
}

// SendError is why a message has not left.
type SendError struct {
	// Class is for logs and operators. It never holds an address, nor words of
	// the other side, which could hold one.
	Class     string
	Permanent bool // trying again is in vain
	// Down: it was not about this message; none would have left.
	Down bool
}

func (e *SendError) Error() string { return e.Class }

// asSendError reads what a sender gave.
func asSendError(err error) *SendError {
	var s *SendError
	if errors.As(err, &s) {
		return s
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &SendError{Class: "timeout"}
	}
	return &SendError{Class: "not sent"} // the words of a stranger could hold anything
}

// inboxSize is how many messages an Inbox keeps.
const inboxSize = 1000

// Inbox is the sender that sends nothing: it keeps the last thousand messages in
// memory, for a throwaway instance and for tests.
type Inbox struct {
	mu      sync.Mutex
	all     []Envelope
	changed chan struct{} // closed at the next message; nil while nobody waits
}

// NewInbox makes an empty one.
func NewInbox() *Inbox { return &Inbox{} }

// Send implements [Sender].
func (i *Inbox) Send(_ context.Context, e Envelope) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.all) == inboxSize {
		i.all = slices.Delete(i.all, 0, 1)
	}
	i.all = append(i.all, e)
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
	return nil
}

// Messages gives what came to an address, the oldest first; all for "".
func (i *Inbox) Messages(to string) []Envelope {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []Envelope
	for _, e := range i.all {
		if to == "" || e.To == to {
			out = append(out, e)
		}
	}
	return out
}

// Wait gives the newest message that f takes, as soon as there is one.
func (i *Inbox) Wait(ctx context.Context, f func(Envelope) bool) (Envelope, error) {
	for {
		e, changed, ok := i.find(f)
		if ok {
			return e, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Envelope{}, ctx.Err()
		}
	}
}

func (i *Inbox) find(f func(Envelope) bool) (e Envelope, changed <-chan struct{}, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range slices.Backward(i.all) {
		if f(e) {
			return e, nil, true
		}
	}
	if i.changed == nil {
		i.changed = make(chan struct{})
	}
	return Envelope{}, i.changed, false
}

// Clear empties it.
func (i *Inbox) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = nil
}
