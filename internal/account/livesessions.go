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

func (e *liveEntry) valid(now int64, idle time.Duration) bool {
	return now < e.expires && (idle == 0 || now < e.seen+idle.Microseconds())
}

// session gives what others see of an entry.
func (s *Service) session(e *liveEntry) Session {
	se := Session{
		ID: e.id.String(), UserID: e.user.String(), Role: s.live.table.roles.name(e.role), Remembered: e.remembered,
		CreatedAt: db.Time(e.created), AuthenticatedAt: db.Time(e.authenticated), LastSeenAt: db.Time(e.seen), ExpiresAt: db.Time(e.expires),
	}
	if idle := s.policy.TokenIdle; idle > 0 {
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
		case in.valid(us, s.policy.TokenIdle):
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
		case !e.valid(db.Micros(now), s.policy.TokenIdle):
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
	if idle := s.policy.TokenIdle; idle > 0 {
		unusedSince = now.Add(-idle)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), expireWithin)
	defer cancel()
	n, err := s.db.Exec(ctx, deleteExpired, e.hash[:], db.Micros(now), db.Micros(unusedSince))
	if err == nil && n > 0 {
		s.live.table.drop(&e.hash)
	}
}

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

// unwritten is a use that the database ought to learn of.
type unwritten struct {
	hash secret.Hash
	seen int64
}

// writeLastSeen drops what has expired from memory, and brings "last seen" into
// the database, many at a time. lag is by how much the database may be behind.
func (s *Service) writeLastSeen(ctx context.Context, lag time.Duration) error {
	now, idle := db.Micros(s.now()), s.policy.TokenIdle
	var all []unwritten
	s.live.table.each(func(e *liveEntry) bool {
		if e.seen > e.written+lag.Microseconds() {
			all = append(all, unwritten{e.hash, e.seen})
		}
		return !e.valid(now, idle)
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
