package account

import (
	"context"
	"fmt"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
)

const (
	janitorEvery = time.Minute
	janitorBatch = 500 // rows in one transaction, so that nobody waits long for it
	// changesKept is how long a change of sessions can still be heard of. A
	// process that heard nothing for missedTooMuch starts afresh.
	changesKept = 24 * time.Hour
)

// Sweep deletes what is over: expired sessions, spent budgets, old keys of
// requests. It works in small batches until nothing is left.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.now()
	tables := []struct {
		what, sql string
		before    time.Time
	}{
		{"sessions", purgeSessions, now},
		{"throttle", purgeThrottle, now},
		{"idempotency", purgeIdempotency, now},
		{"tokens", purgeTokens, now},
		{"requests", purgeRequests, now.Add(-sentWithin)},
		{"email changes", purgeEmailChanges, now},
		{"session changes", purgeSessionChanges, now.Add(-changesKept)},
	}
	if idle := s.policy.TokenIdle; idle > 0 {
		// The database learns of "last seen" a little later than memory.
		tables = append(tables, struct {
			what, sql string
			before    time.Time
		}{"idle sessions", purgeIdleSessions, now.Add(-idle - 5*seenEvery)})
	}
	if idle := s.policy.SecondFactorIdle; idle > 0 {
		tables = append(tables, struct {
			what, sql string
			before    time.Time
		}{"idle sessions with a second factor", purgeIdleStrong, now.Add(-idle - 5*seenEvery)})
	}
	for _, t := range tables {
		for {
			n, err := s.db.Exec(ctx, t.sql, db.Micros(t.before), janitorBatch)
			if err != nil {
				return fmt.Errorf("sweep %s: %w", t.what, err)
			}
			if n < janitorBatch {
				break
			}
		}
	}
	for {
		n, err := outbox.Purge(ctx, s.db, now, janitorBatch)
		if err != nil || n < janitorBatch {
			return err
		}
	}
}
