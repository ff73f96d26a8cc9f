package outbox

import (
	"context"
	"time"

	"propusk/internal/db"
)

// settleEvery is how often Settle looks whether others are through.
const settleEvery = time.Millisecond

// Settle sends what can be sent now, and waits for what Run is just sending:
// what was queued before the call has then left, is put off, or has failed. It is
// for whoever wants to see a message as soon as it was caused.
func (b *Outbox) Settle(ctx context.Context) error {
	// Twice, since what was just sent may have held back another for the same
	// recipient, which nobody has looked for in between.
	for idle := 0; idle < 2; {
		n, err := b.Deliver(ctx)
		if err != nil {
			return err
		}
		var leaving int
		if err := b.o.DB.QueryRow(ctx, anythingLeaving, []any{db.Micros(b.o.Now())}, &leaving); err != nil {
			return wrap("look for messages", err)
		}
		if idle++; n > 0 || leaving > 0 {
			idle = 0
		}
		if n > 0 || leaving == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleEvery):
		}
	}
	return nil
}
