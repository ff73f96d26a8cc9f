package account

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// A node is a process that issues sessions. Each has a row in the table nodes,
// so that everyone knows whether he is alone on the database: then what he does
// not know of does not exist, and what he knows stays true while the database is
// away. Who comes says so in the log of session changes, and issues and ends no
// session before all others have heard of him. Everything else he does at once:
// after a crash, what is left of his former self seems to be another node, and one
// that does not answer.
//
// Clocks are not compared: a node lives as long as the others see it count.
const (
	beatEvery = 10 * time.Second
	// deadAfter is how many looks without a beat make a node a dead one.
	deadAfter = 3
	// meetWithin is how long a new node waits to be heard of before it issues or
	// ends a session. Whoever has heard nothing for staleAfter asks the database;
	// who is away from it goes on by himself, as he is told to.
	meetWithin = staleAfter + pollEvery
	meetEvery  = 20 * time.Millisecond
)

// Subjects of session changes that are no user.
const (
	aboutNodes = "nodes"
	aboutKeys  = "keys"
)

// node is this process among the others.
type node struct {
	id      string
	joined  bool             // it takes part at all: the command line does not
	others  map[string]other // by id
	meeting atomic.Pointer[meeting]
}

// meeting is the wait of a new node until the others know of it.
type meeting struct {
	cancel context.CancelFunc
	over   chan struct{}
}

type other struct {
	beats  int64
	silent int // looks without a beat
}

// Join makes this process known to the others on the database. Call it before
// serving, once; [Service.Run] does the rest. Where there are others, what issues
// or ends sessions waits until they know.
func (s *Service) Join(ctx context.Context) error {
	s.node.id, s.node.joined, s.node.others = secret.NewID(), true, map[string]other{}
	s.live.setAlone(false)
	asked := s.now()
	epoch, err := s.enter(ctx)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	// Nothing is in memory yet, so nothing that happened before can be missed.
	s.live.epoch = epoch
	if err := s.readKeys(ctx); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	alone, known, err := s.knownTo(ctx, epoch)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	s.live.setAlone(alone)
	s.live.heard.Store(db.Micros(asked))
	if !known {
		s.beginMeeting(ctx, epoch)
	}
	return nil
}

// beginMeeting keeps sessions from being issued or ended until all others have
// heard of the epoch, or have had the time to: those who have not by then are
// dead, or do not trust themselves.
func (s *Service) beginMeeting(ctx context.Context, epoch int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), meetWithin)
	m := &meeting{cancel, make(chan struct{})}
	s.node.meeting.Store(m)
	go func() {
		defer cancel()
		defer close(m.over)
		for known := false; !known && ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-time.After(meetEvery):
				_, known, _ = s.knownTo(ctx, epoch) // whoever cannot ask waits all the time
			}
		}
	}()
}

// metOthers waits until sessions may be issued or ended. Not inside a transaction.
func (s *Service) metOthers(ctx context.Context) error {
	m := s.node.meeting.Load()
	if m == nil {
		return nil
	}
	select {
	case <-m.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other nodes: %w: %w", db.ErrUnavailable, ctx.Err())
	}
}

// enter writes the node's row and tells the others.
func (s *Service) enter(ctx context.Context) (epoch int64, err error) {
	now := s.now()
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, insertNode, s.node.id); err != nil {
			return err
		}
		epoch, err = announce(ctx, tx, now, aboutNodes)
		return err
	})
	return epoch, err
}

// knownTo tells whether there is nobody else, and whether all others have heard
// of the epoch.
func (s *Service) knownTo(ctx context.Context, epoch int64) (alone, known bool, err error) {
	alone, known = true, true
	err = s.db.Query(ctx, selectNodes, []any{s.node.id}, func(scan func(...any) error) error {
		var id string
		var beats, heard int64
		if err := scan(&id, &beats, &heard); err != nil {
			return err
		}
		alone = false
		known = known && heard >= epoch
		return nil
	})
	return alone, known, err
}

// meet looks who is there, after somebody has come or gone, and lets everybody
// know that it knows. Before that it must not take itself for alone any more.
func (s *Service) meet(ctx context.Context, epoch int64) error {
	alone, _, err := s.knownTo(ctx, 0)
	if err != nil {
		return err
	}
	s.live.setAlone(alone)
	n, err := s.db.Exec(ctx, ackEpoch, s.node.id, epoch)
	if err == nil && n == 0 {
		return s.reenter(ctx)
	}
	return err
}

// reenter is for a node that was taken for dead: to the others it is a new one.
func (s *Service) reenter(ctx context.Context) error {
	s.live.setAlone(false)
	epoch, err := s.enter(ctx)
	if err == nil {
		s.beginMeeting(ctx, epoch)
	}
	return err
}

// beat shows that this node lives, and finds those that do not.
func (s *Service) beat(ctx context.Context) error {
	if !s.node.joined {
		return nil
	}
	n, err := s.db.Exec(ctx, countBeat, s.node.id)
	if err == nil && n == 0 {
		err = s.reenter(ctx)
	}
	if err != nil {
		return err
	}
	present, dead := map[string]other{}, false
	err = s.db.Query(ctx, selectNodes, []any{s.node.id}, func(scan func(...any) error) error {
		var id string
		var beats, heard int64
		if err := scan(&id, &beats, &heard); err != nil {
			return err
		}
		o := other{beats: beats}
		if last, known := s.node.others[id]; known && last.beats == beats {
			o.silent = last.silent + 1
			dead = dead || o.silent >= deadAfter
		}
		present[id] = o
		return nil
	})
	if err != nil {
		return err
	}
	s.node.others = present
	if !dead {
		return nil
	}
	return s.bury(ctx)
}

// bury takes away the rows of dead nodes, and tells everybody, us too.
func (s *Service) bury(ctx context.Context) error {
	now := s.now()
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		for id, o := range s.node.others {
			if o.silent < deadAfter {
				continue
			}
			if _, err := tx.Exec(ctx, deleteDeadNode, id, o.beats); err != nil {
				return err
			}
		}
		_, err := announce(ctx, tx, now, aboutNodes)
		return err
	})
}

// leave takes this node's row away.
func (s *Service) leave(ctx context.Context) error {
	if !s.node.joined {
		return nil
	}
	if m := s.node.meeting.Load(); m != nil { // nobody waits for it any more
		m.cancel()
		<-m.over
	}
	now := s.now()
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, deleteNode, s.node.id); err != nil {
			return err
		}
		_, err := announce(ctx, tx, now, aboutNodes)
		return err
	})
}
