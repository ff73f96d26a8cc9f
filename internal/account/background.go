package account

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// unwritten is a use that the database ought to learn of.
type unwritten struct {
	hash secret.Hash
	seen int64
}

// writeLastSeen drops what has expired from memory, and brings "last seen" into
// the database, many at a time. lag is by how much the database may be behind.
func (s *Service) writeLastSeen(ctx context.Context, lag time.Duration) error {
	now := db.Micros(s.now())
	var all []unwritten
	s.live.table.each(func(e *liveEntry) bool {
		behind := lag
		if e.strong != 0 && s.policy.SecondFactorIdle > 0 { // it has an idle limit
			behind = 0
		}
		if e.seen > e.written+behind.Microseconds() {
			all = append(all, unwritten{e.hash, e.seen})
		}
		return !e.valid(now, s.policy.idleOf(e))
	})
	for len(all) > 0 {
		n := min(len(all), janitorBatch)
		err := s.db.Tx(ctx, func(tx *db.Tx) error {
			for i := range all[:n] {
				if _, err := tx.Exec(ctx, updateLastSeen, all[i].seen, all[i].hash[:]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write last seen: %w", err)
		}
		for i := range all[:n] {
			s.live.table.use(&all[i].hash, func(e *liveEntry) { e.written = max(e.written, all[i].seen) })
		}
		all = all[n:]
	}
	return nil
}

// tidyBatch is how many stale sessions are looked up in one go.
const tidyBatch = 1000

// tidy looks up what is stale and was not asked for since: most of it has ended,
// and would stay in memory for the rest of its life.
func (s *Service) tidy(ctx context.Context) error {
	var stale []secret.Hash
	s.live.table.each(func(e *liveEntry) bool {
		if e.stale && len(stale) < tidyBatch {
			stale = append(stale, e.hash)
		}
		return false
	})
	for i := range stale {
		if _, _, _, err := s.reread(ctx, &stale[i]); err != nil {
			return err
		}
	}
	return nil
}

// rereadEach reads what was forgotten as soon as it was, so that it need not be
// when it is asked for, at which time the database may be away.
func (s *Service) rereadEach(ctx context.Context) {
	t := teller{s: s, what: "read sessions anew"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.live.changed:
		}
		work, cancel := context.WithTimeout(ctx, giveUpAfter)
		for user := range s.live.takeUnread() {
			var stale []secret.Hash
			s.live.table.ofUser(&user, func(e *liveEntry) {
				if e.stale {
					stale = append(stale, e.hash)
				}
			})
			for i := range stale {
				_, _, _, err := s.reread(work, &stale[i])
				t.tell(ctx, err)
			}
		}
		cancel()
	}
}

// lag is by how much "last seen" in the database may be behind.
func (s *Service) lag() time.Duration {
	if s.policy.TokenIdle > 0 {
		return 0
	}
	return seenLag
}

// Run keeps the table in memory up to date and sweeps away what is over, until
// ctx ends; then it writes what the database does not have yet, and leaves.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.listen(ctx) })
	wg.Go(func() { s.rereadEach(ctx) })
	wg.Go(func() { s.serveRequests(ctx) })
	wg.Go(func() { s.every(ctx, fillEvery, time.Minute, "read sessions", s.refill) })
	wg.Go(func() { s.every(ctx, janitorEvery, janitorEvery, "look up stale sessions", s.tidy) })
	wg.Go(func() { s.every(ctx, beatEvery, giveUpAfter, "show that this node lives", s.beat) })
	wg.Go(func() {
		s.every(ctx, seenEvery, seenEvery, "write last seen", func(ctx context.Context) error { return s.writeLastSeen(ctx, s.lag()) })
	})
	wg.Go(func() { s.every(ctx, janitorEvery, janitorEvery, "sweep", s.Sweep) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	t := teller{s: s, what: "write last seen"}
	t.tell(last, s.writeLastSeen(last, 0))
	t = teller{s: s, what: "leave"}
	t.tell(last, s.leave(last))
}

// CatchUp does at once what [Service.Run] does each minute. It is for whoever has
// moved the clock: time has passed, and no minute with it.
func (s *Service) CatchUp(ctx context.Context) error {
	if err := s.writeLastSeen(ctx, 0); err != nil { // or else what was used would be swept away as idle
		return err
	}
	return s.Sweep(ctx)
}

// fillEvery is how often a process looks whether it ought to read all sessions.
const fillEvery = 100 * time.Millisecond

// every calls f again and again until ctx ends.
func (s *Service) every(ctx context.Context, d, within time.Duration, what string, f func(context.Context) error) {
	ticks := time.NewTicker(d)
	defer ticks.Stop()
	t := teller{s: s, what: what}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		work, cancel := context.WithTimeout(ctx, within)
		t.tell(ctx, f(work))
		cancel()
	}
}

// teller tells once that background work fails, and once more when it is over.
type teller struct {
	s       *Service
	what    string
	failing bool
}

func (t *teller) tell(ctx context.Context, err error) {
	switch {
	case err != nil && !t.failing && ctx.Err() == nil:
		t.failing = true
		t.s.log.LogAttrs(ctx, levelOf(err), "background work fails", logErr(t.what, err)...)
	case err == nil && t.failing:
		t.failing = false
		t.s.log.LogAttrs(ctx, slog.LevelInfo, "background work goes on", slog.String("work", t.what))
	}
}
