package account

import (
	"context"
	"fmt"
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
	// staleAfter is the bound: a process that shares its database, and has not
	// heard for so long, no longer trusts its memory, and asks the database each
	// time.
	staleAfter = time.Second
	// silentAfter is how many times pollEvery an answer does not come before the
	// database counts as away.
	silentAfter = 2
	// giveUpAfter is when the poller takes a question for lost: on a line that
	// swallows everything it would wait for its answer for ever.
	giveUpAfter = 5 * time.Second
	// seenEvery is how exactly "last seen" is kept in the database where it
	// decides when a session ends; where it is only shown, it may lag by seenLag.
	seenEvery = time.Minute
	seenLag   = 10 * time.Minute
	// missedTooMuch is the pause (a suspended machine) after which the changes
	// that were not heard may have been swept away already.
	missedTooMuch = time.Hour
)

// liveSessions is the sessions in memory, and what this process knows about its
// knowledge. A process that is alone on its database, and has read all of its
// sessions, is the authority: what is not here does not exist. One that shares
// the database believes its memory only when it says yes.
//
// Before a revocation is answered, [liveSessions.forget] has marked the user's
// sessions as stale.
type liveSessions struct {
	table liveTable
	max   int64 // entries

	// mu orders what is put into the table and what is forgotten. generation
	// counts the forgettings, and forgotten has the last one of each user (of all
	// whom it no longer knows: floor). Who reads the database notes the generation
	// first; what he puts counts only if its user was not forgotten meanwhile:
	// otherwise a session that was read just before its revocation would stay for
	// ever.
	mu         sync.Mutex
	generation int64
	forgotten  map[secret.UUID]int64
	floor      int64
	unread     map[secret.UUID]struct{} // forgotten, and not read anew since
	changed    chan struct{}            // tells that there is one

	// members counts what is known to have changed among the nodes: whoever reads
	// all sessions has all of them only if nobody else could add any meanwhile.
	// alone and complete change under mu.
	members  int64
	alone    atomic.Bool
	complete atomic.Bool

	epoch  int64        // the last change heard of; only the poller uses it
	awake  atomic.Int64 // since when it has looked without a gap, in microseconds: what was asked before counts for nothing
	deaf   atomic.Bool  // it has not heard since
	heard  atomic.Int64 // when it was asked for, in microseconds
	silent atomic.Int64 // when the database was last known to be away, likewise
}

func newLiveSessions(now time.Time, maxBytes int64) *liveSessions {
	l := &liveSessions{max: max(maxBytes/entryBytes, 1), epoch: -1, forgotten: map[secret.UUID]int64{},
		unread: map[secret.UUID]struct{}{}, changed: make(chan struct{}, 1)}
	l.heard.Store(db.Micros(now))
	return l
}

// trusted tells whether memory may be believed at all: while we hear of changes;
// and while the database is away from a process that was alone on it when it
// last heard, for nobody can change anything then. It also says no when the
// clock was set back by as much: how long ago we heard is not known then.
func (l *liveSessions) trusted(now time.Time, offline time.Duration) bool {
	if l.deaf.Load() {
		return false
	}
	us := db.Micros(now)
	ago := us - l.heard.Load()
	if ago < staleAfter.Microseconds() {
		return ago > -staleAfter.Microseconds()
	}
	return l.alone.Load() && ago < offline.Microseconds() && us-l.silent.Load() < staleAfter.Microseconds()
}

// put keeps e. Where its user was forgotten after generation, it does not count
// before it is read anew, and put tells false.
func (l *liveSessions) put(e *liveEntry, generation int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.stale = l.floor > generation || l.forgotten[e.user] > generation
	if l.table.size.Load() >= l.max {
		l.members++ // whoever is reading all sessions will not have all
		l.complete.Store(false)
		l.table.dropAny()
	}
	l.table.put(e)
	return !e.stale
}

func (l *liveSessions) now() (generation int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.generation
}

// maxForgotten bounds the memory of who was forgotten when.
const maxForgotten = 4096

// forget makes every session of the user count for nothing until it is read
// anew.
func (l *liveSessions) forget(userID string) {
	user, ok := secret.ParseUUID(userID)
	if !ok {
		return // nobody has such an id, and no session
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	if len(l.forgotten) >= maxForgotten {
		clear(l.forgotten)
		l.floor = l.generation
	}
	l.forgotten[user] = l.generation
	left := false
	l.table.ofUser(&user, func(e *liveEntry) { e.stale, left = true, true })
	if left && len(l.unread) < maxForgotten { // beyond that they are read when they are asked for
		l.unread[user] = struct{}{}
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

// takeUnread gives the users whose sessions have to be read anew.
func (l *liveSessions) takeUnread() map[secret.UUID]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	users := l.unread
	l.unread = map[secret.UUID]struct{}{}
	return users
}

// forgetAll is forget for everyone, after changes may have been missed.
func (l *liveSessions) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	l.floor = l.generation
	clear(l.forgotten)
	l.table.each(func(e *liveEntry) bool { e.stale = true; return false })
}

// setAlone notes whether other processes may issue sessions too. Whoever is alone
// again has to read those that were issued meanwhile.
func (l *liveSessions) setAlone(alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if alone && l.alone.Load() {
		return
	}
	l.members++
	l.alone.Store(alone)
	l.complete.Store(false)
}

func (l *liveSessions) membership() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.members
}

// setComplete notes that the table has every session of the database, unless
// somebody else may have added some since members was read.
func (l *liveSessions) setComplete(members int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.members == members && l.alone.Load() {
		l.complete.Store(true)
	}
}

// idleOf is the idle limit of a session; 0: there is none.
func (p *Policy) idleOf(e *liveEntry) time.Duration {
	if idle := p.SecondFactorIdle; e.strong != 0 && idle > 0 && (p.TokenIdle == 0 || idle < p.TokenIdle) {
		return idle
	}
	return p.TokenIdle
}

func (e *liveEntry) valid(now int64, idle time.Duration) bool {
	return now < e.expires && (idle == 0 || now < e.seen+idle.Microseconds())
}

// session gives what others see of an entry.
func (s *Service) session(e *liveEntry) Session {
	se := Session{
		ID: e.id.String(), UserID: e.user.String(), Role: s.live.table.roles.name(e.role), Remembered: e.remembered, Methods: e.methods,
		CreatedAt: db.Time(e.created), AuthenticatedAt: db.Time(e.authenticated), LastSeenAt: db.Time(e.seen), ExpiresAt: db.Time(e.expires),
	}
	if e.strong != 0 {
		se.StrongAt = db.Time(e.strong)
	}
	if idle := s.policy.idleOf(e); idle > 0 {
		se.IdleExpiresAt = se.LastSeenAt.Add(idle)
	}
	return se
}

// verdict is what memory knows of a token.
type verdict uint8

const (
	unsure  verdict = iota // the database has to be asked
	live                   // it is good
	invalid                // it is not, or no longer
)

// inMemory gives the session of a token as memory has it, and notes its use. An
// end that this process has seen in its own clock may have been put off by a use
// on another one.
func (s *Service) inMemory(now time.Time, hash *secret.Hash) (e liveEntry, v verdict) {
	l := s.live
	if !l.trusted(now, s.policy.OfflineChecks) {
		return e, unsure
	}
	us, authority := db.Micros(now), l.complete.Load()
	known := l.table.use(hash, func(in *liveEntry) {
		switch {
		case in.stale:
		case in.valid(us, s.policy.idleOf(in)):
			in.seen = max(in.seen, us)
			v = live
		case authority || us >= in.expires:
			v = invalid
		}
		e = *in
	})
	if !known && authority && l.complete.Load() { // still: one may just have made room for another
		v = invalid
	}
	return e, v
}

// liveSession finds the session of a token, in memory or in the database; ok is
// false where there is none, or it is over.
func (s *Service) liveSession(ctx context.Context, now time.Time, hash *secret.Hash) (e liveEntry, ok bool, err error) {
	switch e, v := s.inMemory(now, hash); v {
	case live:
		return e, true, nil
	case invalid:
		s.expire(ctx, now, &e)
		return e, false, nil
	case unsure:
	}
	s.metrics.lookups.Inc()
	for range 4 {
		e, known, fresh, err := s.reread(ctx, hash)
		switch {
		case err != nil:
			return e, false, err
		case !known:
			return e, false, nil
		case !e.valid(db.Micros(now), s.policy.idleOf(&e)):
			s.expire(ctx, now, &e)
			return e, false, nil
		}
		e.seen = max(e.seen, db.Micros(now)) // also when memory is not trusted: its use must count
		s.live.table.use(hash, func(in *liveEntry) { in.seen = max(in.seen, e.seen) })
		if fresh {
			return e, true, nil
		}
	}
	return e, false, fmt.Errorf("load session: %w: sessions change too fast", db.ErrUnavailable)
}

// reread brings memory up to date with the database on one token. fresh is false
// where its user was forgotten again meanwhile.
func (s *Service) reread(ctx context.Context, hash *secret.Hash) (e liveEntry, known, fresh bool, err error) {
	generation := s.live.now()
	err = s.db.Query(ctx, selectSession, []any{hash[:]}, func(scan func(...any) error) (err error) {
		known = true
		e, err = s.scanSession(scan)
		return err
	})
	switch {
	case err != nil:
		return e, false, false, fmt.Errorf("load session: %w", err)
	case !known:
		s.live.table.drop(hash)
		return e, false, false, nil
	}
	s.live.table.use(hash, func(in *liveEntry) { e.seen = max(e.seen, in.seen) }) // memory may have seen later
	return e, true, s.live.put(&e, generation), nil
}

// expireWithin bounds how long a refusal waits for the database.
const expireWithin = time.Second

// expire takes away a session whose end was seen: a clock that is set back must
// not bring it to life again. Where that cannot be written now, it is left to
// [Service.Sweep].
func (s *Service) expire(ctx context.Context, now time.Time, e *liveEntry) {
	if e.id == (secret.UUID{}) {
		return // there was none
	}
	s.live.table.use(&e.hash, func(in *liveEntry) { in.stale = true })
	var unusedSince time.Time // longer ago than any use
	if idle := s.policy.idleOf(e); idle > 0 {
		unusedSince = now.Add(-idle)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), expireWithin)
	defer cancel()
	n, err := s.db.Exec(ctx, deleteExpired, e.hash[:], db.Micros(now), db.Micros(unusedSince))
	if err == nil && n > 0 {
		s.live.table.drop(&e.hash)
	}
}
