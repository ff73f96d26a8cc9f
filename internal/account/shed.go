package account

import (
	"sync"
	"time"

	"propusk/internal/db"
)

// What is refused in a flood has to cost next to nothing, or the refusals keep
// from their work those who hash, and those who check tokens.

// emptyFor is how long an empty budget is remembered here at most, before the
// database is asked again: another process may have filled it.
const emptyFor = time.Second

// maxEmpty bounds the memory of empty budgets.
const maxEmpty = 8192

// emptyBudgets remembers what the database has said of empty budgets a moment
// ago. One that is empty stays so until its time: whoever fills it before, here,
// says so.
type emptyBudgets struct {
	mu    sync.Mutex
	byKey map[string]emptyBudget
}

type emptyBudget struct {
	since int64 // microseconds
	until int64
}

func (e *emptyBudgets) note(key []byte, now time.Time, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byKey == nil || len(e.byKey) >= maxEmpty {
		e.byKey = map[string]emptyBudget{}
	}
	e.byKey[string(key)] = emptyBudget{since: db.Micros(now), until: db.Micros(now.Add(wait))}
}

func (e *emptyBudgets) filled(key []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byKey, string(key))
}

func (e *emptyBudgets) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.byKey)
}

// wait gives for how long the budget is empty, and 0 where that is not known.
func (e *emptyBudgets) wait(key []byte, now time.Time) time.Duration {
	us := db.Micros(now)
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.byKey[string(key)]
	if !ok {
		return 0
	}
	if us < b.since || us >= b.until || us-b.since >= emptyFor.Microseconds() {
		delete(e.byKey, string(key))
		return 0
	}
	return time.Duration(b.until-us) * time.Microsecond
}

// Shed tells at once, before a body is read, whether an attempt to log in or to
// register would be refused whoever it is for: because there is no place for
// the caller's network in the hashing queue. err is that refusal, nil where
// there is a place.
func (s *Service) Shed(caller Caller, registration bool) error {
	if len(caller.Devices) > 0 {
		return nil // it may be known: the account will tell
	}
	err := overloaded(s.hasher.Room(hashingFor(caller, "", false)))
	if err == nil {
		return nil
	}
	if registration {
		s.metrics.registrations.WithLabelValues(outcome(err)).Inc()
	} else {
		s.metrics.logins.WithLabelValues(outcome(err)).Inc()
	}
	return err
}
