package outbox

import (
	"context"
	"math"
	"time"

	"propusk/internal/db"
)

// Limits are how much may leave. What exceeds them waits; 0 is no limit. They
// hold over all processes on a database, but for the few messages that two may
// claim at the same instant.
//
// Those of a recipient are for what is asked for. Strangers alone use up half of
// them, rounded up, and the rest is kept for whoever asks on a device that the
// account knows. Notices are counted by themselves, up to the same number. What
// undoes a change has no such limit, since there is but one of it for a change that
// somebody with the mailbox confirmed.
type Limits struct {
	MailPerMinute    int
	MailPerRecipient int // in an hour
	SMSPerHour       int
	SMSPerNumber     int // in 24 hours
}

// limit is what of it is for one channel.
type limit struct {
	window, recipientWindow time.Duration
	most, mostForRecipient  int
}

func (l Limits) of(c Channel) limit {
	unlimited := func(n int) int {
		if n == 0 {
			return math.MaxInt32
		}
		return n
	}
	if c == SMS {
		return limit{time.Hour, 24 * time.Hour, unlimited(l.SMSPerHour), unlimited(l.SMSPerNumber)}
	}
	return limit{time.Minute, time.Hour, unlimited(l.MailPerMinute), unlimited(l.MailPerRecipient)}
}

func (l limit) mostByStrangers() int { return l.mostForRecipient - l.mostForRecipient/2 }

// room is how many of the channel may be claimed now.
func (l limit) room(ctx context.Context, tx *db.Tx, c Channel, now time.Time) (int, error) {
	var gone int
	err := tx.QueryRow(ctx, left, []any{string(c), db.Micros(now.Add(-l.window)), db.Micros(now)}, &gone)
	return l.most - gone, err
}
