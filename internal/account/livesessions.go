package account

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// How the table in memory keeps up with other processes on the same database:
// every change that ends or alters sessions puts the user's id into the table
// session_changes under the next epoch; each process asks for what is new.
const (
	pollEvery = 250 * time.Millisecond
	// staleAfter is the bound: a process on a shared database that has not heard
	// for so long no longer trusts its memory, and asks the database each time.
	staleAfter = time.Second
	// giveUpAfter is when the poller takes a question for lost: on a line that
	// swallows everything it would wait for its answer for ever.
	giveUpAfter = 2 * time.Second
	// seenEvery is how exactly "last seen" is kept.
	seenEvery = time.Minute
	// maxLive bounds the table; beyond it the database is asked.
	maxLive = 1 << 20
	// missedTooMuch is the pause (a suspended machine) after which the changes
	// that were not heard may have been swept away already.
	missedTooMuch = time.Hour
)

// liveSession is a session in memory. Only the instants change; everything else
// is as the database had it when it was read.
type liveSession struct {
	Session
	hash     secret.Hash
	lastSeen atomic.Int64 // microseconds
	written  atomic.Int64 // the lastSeen that the database has
	stale    atomic.Bool  // forgotten: to be read anew before it counts again
}

func (l *liveSession) valid(now time.Time, idle time.Duration) bool {
	return now.Before(l.ExpiresAt) && (idle == 0 || now.Before(db.Time(l.lastSeen.Load()).Add(idle)))
}

func (l *liveSession) touch(now time.Time) {
	if us := db.Micros(now); us > l.lastSeen.Load() {
		l.lastSeen.Store(us)
	}
}

// seen is the session as of now, with its changing instants filled in.
func (l *liveSession) seen(idle time.Duration) Session {
	se := l.Session
	se.LastSeenAt = db.Time(l.lastSeen.Load())
	if idle > 0 {
		se.IdleExpiresAt = se.LastSeenAt.Add(idle)
	}
	return se
}

// liveSessions is the table of sessions in memory: a token that was checked once
// is checked again without reading the database. It never holds what the
// database did not have, and [liveSessions.forget] takes a user's sessions out
// before a revocation is answered.
type liveSessions struct {
	shared bool // other processes may revoke: trust memory only while we hear of it

	mu     sync.RWMutex
	byHash map[secret.Hash]*liveSession
	byUser map[string]map[secret.Hash]struct{}

	// generation counts the forgettings, and forgotten has the last one of each
	// user (of all whom it no longer knows: floor). Who reads the database notes
	// the generation first, and keeps what was read only if its user was not
	// forgotten meanwhile: otherwise a session that was read just before its
	// revocation would stay for ever.
	generation int64
	forgotten  map[string]int64
	floor      int64

	epoch int64        // the last change heard of; only the poller uses it
	heard atomic.Int64 // when, in microseconds
}

func newLiveSessions(now time.Time, shared bool) *liveSessions {
	l := &liveSessions{shared: shared, epoch: -1, byHash: map[secret.Hash]*liveSession{}, byUser: map[string]map[secret.Hash]struct{}{}, forgotten: map[string]int64{}}
	l.heard.Store(db.Micros(now))
	return l
}

func (l *liveSessions) size() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.byHash)
}

// trusted also says no when the clock was set back by as much: how long ago we
// heard is not known then.
func (l *liveSessions) trusted(now time.Time) bool {
	ago := time.Duration(db.Micros(now)-l.heard.Load()) * time.Microsecond
	return !l.shared || ago.Abs() < staleAfter
}

func (l *liveSessions) get(hash secret.Hash) *liveSession {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byHash[hash]
}

func (l *liveSessions) now() (generation int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.generation
}

// put keeps ls unless its user was forgotten after generation.
func (l *liveSessions) put(ls *liveSession, generation int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.floor > generation || l.forgotten[ls.UserID] > generation {
		return false
	}
	if old := l.byHash[ls.hash]; old != nil { // it may have seen later than the database
		ls.touch(db.Time(old.lastSeen.Load()))
	} else if len(l.byHash) >= maxLive {
		for h := range l.byHash { // any one: Go's order is random
			l.drop(h)
			break
		}
	}
	l.byHash[ls.hash] = ls
	of := l.byUser[ls.UserID]
	if of == nil {
		of = map[secret.Hash]struct{}{}
		l.byUser[ls.UserID] = of
	}
	of[ls.hash] = struct{}{}
	return true
}

// drop needs mu.
func (l *liveSessions) drop(hash secret.Hash) {
	ls, ok := l.byHash[hash]
	if !ok {
		return
	}
	delete(l.byHash, hash)
	of := l.byUser[ls.UserID]
	if delete(of, hash); len(of) == 0 {
		delete(l.byUser, ls.UserID)
	}
}

// maxForgotten bounds the memory of who was forgotten when.
const maxForgotten = 4096

// forget makes every session of the user count for nothing until it is read
// anew.
func (l *liveSessions) forget(userID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	if len(l.forgotten) >= maxForgotten {
		clear(l.forgotten)
		l.floor = l.generation
	}
	l.forgotten[userID] = l.generation
	for h := range l.byUser[userID] {
		l.byHash[h].stale.Store(true)
	}
}

// forgetAll is forget for everyone, after changes may have been missed.
func (l *liveSessions) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	l.floor = l.generation
	clear(l.forgotten)
	for _, ls := range l.byHash {
		ls.stale.Store(true)
	}
}

// lastSeen fills in what memory knows better than the database.
func (l *liveSessions) lastSeen(ls *liveSession) {
	if kept := l.get(ls.hash); kept != nil && kept.lastSeen.Load() > ls.lastSeen.Load() {
		ls.lastSeen.Store(kept.lastSeen.Load())
	}
}

// sweep drops what has expired, and gives the sessions whose lastSeen the
// database ought to learn.
func (l *liveSessions) sweep(now time.Time, idle time.Duration) (unwritten []*liveSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h, ls := range l.byHash {
		if ls.lastSeen.Load() > ls.written.Load() {
			unwritten = append(unwritten, ls)
		}
		if ls.stale.Load() || !ls.valid(now, idle) {
			l.drop(h)
		}
	}
	return unwritten
}

// inMemory gives a session that memory knows to be live; nil where it does not.
// Memory is believed only when it says yes: another process may have seen the
// session in use where this one has not.
func (s *Service) inMemory(now time.Time, hash secret.Hash) *liveSession {
	if !s.live.trusted(now) {
		return nil
	}
	ls := s.live.get(hash)
	if ls == nil || ls.stale.Load() || !ls.valid(now, s.policy.TokenIdle) {
		return nil
	}
	return ls
}

// liveSession finds the session of a token, in memory or in the database; nil
// where there is none.
func (s *Service) liveSession(ctx context.Context, now time.Time, hash secret.Hash) (*liveSession, error) {
	if ls := s.inMemory(now, hash); ls != nil {
		return ls, nil
	}
	for range 4 {
		generation := s.live.now()
		var ls *liveSession
		err := s.db.Query(ctx, selectSession, []any{hash[:]}, func(scan func(...any) error) (err error) {
			ls, err = scanSession(scan)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("load session: %w", err)
		}
		if ls == nil || s.live.put(ls, generation) { // also when not trusted: its use must count
			return ls, nil
		}
	}
	return nil, fmt.Errorf("load session: %w: sessions change too fast", db.ErrUnavailable)
}

// hear takes in what other processes have changed since the last time.
func (s *Service) hear(ctx context.Context) error {
	asked := s.now()
	l := s.live
	if l.epoch < 0 || db.Micros(asked)-l.heard.Load() > missedTooMuch.Microseconds() {
		var epoch int64
		if err := s.db.QueryRow(ctx, selectEpoch, nil, &epoch); err != nil {
			return err
		}
		l.forgetAll() // what was read while we did not listen
		l.epoch = epoch
	}
	last := l.epoch
	err := s.db.Poll(ctx, selectSessionChanges, []any{l.epoch}, func(scan func(...any) error) error {
		var userID string
		if err := scan(&last, &userID); err != nil {
			return err
		}
		l.forget(userID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("hear of sessions: %w", err)
	}
	l.epoch = last
	l.heard.Store(db.Micros(asked))
	return nil
}

// writeLastSeen brings "last seen" into the database, many at a time.
func (s *Service) writeLastSeen(ctx context.Context) error {
	unwritten := s.live.sweep(s.now(), s.policy.TokenIdle)
	for len(unwritten) > 0 {
		n := min(len(unwritten), janitorBatch)
		err := s.db.Tx(ctx, func(tx *db.Tx) error {
			for _, ls := range unwritten[:n] {
				seen := ls.lastSeen.Load()
				if _, err := tx.Exec(ctx, updateLastSeen, seen, ls.hash[:]); err != nil {
					return err
				}
				ls.written.Store(seen)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write last seen: %w", err)
		}
		unwritten = unwritten[n:]
	}
	return nil
}

// Run keeps the table in memory up to date and sweeps away what is over, until
// ctx ends; then it writes what the database does not have yet.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		// At once: only who hears of changes may trust his memory.
		first, cancel := context.WithTimeout(ctx, giveUpAfter)
		if err := s.hear(first); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, levelOf(err), "background work fails", logErr("hear of sessions", err)...)
		}
		cancel()
		s.every(ctx, pollEvery, "hear of sessions", s.hear)
	})
	wg.Go(func() { s.every(ctx, seenEvery, "write last seen", s.writeLastSeen) })
	wg.Go(func() { s.every(ctx, janitorEvery, "sweep", s.Sweep) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.writeLastSeen(last); err != nil {
		s.log.LogAttrs(last, levelOf(err), "background work fails", logErr("write last seen", err)...)
	}
}

// every calls f again and again until ctx ends. That it fails is told once, and
// once more when it is over.
func (s *Service) every(ctx context.Context, d time.Duration, what string, f func(context.Context) error) {
	t := time.NewTicker(d)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		work, cancel := context.WithTimeout(ctx, max(d, giveUpAfter))
		err := f(work)
		cancel()
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			failing = true
			s.log.LogAttrs(ctx, levelOf(err), "background work fails", logErr(what, err)...)
		case err == nil && failing:
			failing = false
			s.log.LogAttrs(ctx, slog.LevelInfo, "background work goes on", slog.String("work", what))
		}
	}
}
