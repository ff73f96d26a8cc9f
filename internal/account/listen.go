package account

import (
	"context"
	"fmt"
	"time"

	"propusk/internal/db"
)

// hear takes in what other processes have changed since the last time.
func (s *Service) hear(ctx context.Context) error {
	asked := s.now()
	l := s.live
	nodes, keys := false, false
	if l.epoch < 0 || db.Micros(asked)-l.heard.Load() > missedTooMuch.Microseconds() {
		var epoch int64
		if err := s.db.QueryRow(ctx, selectEpoch, nil, &epoch); err != nil {
			return err
		}
		l.forgetAll() // what was read while we did not listen
		l.epoch, nodes, keys = epoch, s.node.joined, true
	}
	last := l.epoch
	err := s.db.Poll(ctx, selectSessionChanges, []any{l.epoch}, func(scan func(...any) error) error {
		var subject string
		if err := scan(&last, &subject); err != nil {
			return err
		}
		switch subject {
		case aboutNodes:
			nodes = s.node.joined
		case aboutKeys:
			keys = true
		default:
			l.forget(subject)
		}
		return nil
	})
	if err == nil && keys {
		err = s.readKeys(ctx)
	}
	if err == nil && nodes {
		err = s.meet(ctx, last)
	}
	if err != nil {
		return fmt.Errorf("hear of sessions: %w", err)
	}
	l.epoch = last
	if us := db.Micros(asked); us >= l.awake.Load() {
		l.heard.Store(us)
		l.deaf.Store(false)
	}
	return nil
}

// listen hears of changes until ctx ends, and notes while the database is away.
func (s *Service) listen(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	t := teller{s: s, what: "hear of sessions"}
	for last := s.now(); ; {
		work, cancel := context.WithTimeout(ctx, giveUpAfter)
		done := make(chan error, 1)
		go func() { done <- s.hear(work) }()
		var err error
		for ticks, waiting := 0, true; waiting; {
			select {
			case err = <-done:
				waiting = false
			case <-tick.C:
				ticks++
			}
			now := s.now()
			s.live.lookedAgain(now, last)
			if last = now; err != nil || ticks >= silentAfter && waiting {
				s.live.silent.Store(db.Micros(now))
			}
		}
		cancel()
		t.tell(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.now()
		s.live.lookedAgain(now, last)
		last = now
	}
}

// lookedAgain is for a process that was suspended, or whose clock was moved, since
// it last looked: it knows nothing of the time between, and believes itself only
// when it has asked and heard anew.
func (l *liveSessions) lookedAgain(now, last time.Time) {
	if now.Sub(last).Abs() >= staleAfter {
		l.deaf.Store(true)
		l.awake.Store(db.Micros(now))
	}
}

// fillPage is how many sessions are read at one time.
const fillPage = 5000

// fill reads every session of the database into memory, as far as there is room.
// Until it is through, whom memory does not know the database is asked for.
func (s *Service) fill(ctx context.Context) error {
	l := s.live
	members := l.membership()
	after := []byte{}
	for {
		generation, n := l.now(), 0
		err := s.db.Query(ctx, selectSessionsPage, []any{after, fillPage}, func(scan func(...any) error) error {
			n++
			e, err := s.scanSession(scan)
			if err != nil {
				return err
			}
			after = append(after[:0], e.hash[:]...)
			if l.table.size.Load() < l.max {
				l.put(&e, generation)
			} else {
				n = -fillPage // and no further
			}
			return nil
		})
		switch {
		case err != nil:
			return fmt.Errorf("read sessions: %w", err)
		case n < 0: // more than there is room for
			return nil
		case n < fillPage:
			l.setComplete(members)
			return nil
		}
	}
}

// refill is fill for whoever is alone and does not know everything, if it could
// help.
func (s *Service) refill(ctx context.Context) error {
	l := s.live
	if !l.alone.Load() || l.complete.Load() || l.table.size.Load() > l.max*9/10 {
		return nil
	}
	return s.fill(ctx)
}
