package secret

import (
	"context"
	"syscall"
	"time"
)

// Queue is the queue alone, for tests that need no time and no goroutines.
type Queue struct{ q queue }

// Ticket is one that waits in it.
type Ticket = ticket

// NewQueue makes one.
func NewQueue(places int) *Queue { return &Queue{newQueue(places, usualPerAccount)} }

func (q *Queue) Len() int               { return q.q.len() }
func (q *Queue) Refusal(who Who) string { return q.q.refusal(who) }
func (q *Queue) Pop() *Ticket           { return q.PopAt(time.Time{}) }
func (q *Queue) Remove(t *Ticket)       { q.q.remove(t) }

// Before is how many may be called before one more of who.
func (q *Queue) Before(who Who) int {
	n, _ := q.q.before(who)
	return n
}

// Wait is how long that may take.
func (q *Queue) Wait(who Who) time.Duration {
	_, wait := q.q.before(who)
	return wait
}

// PopAt is Pop at an instant.
func (q *Queue) PopAt(now time.Time) *Ticket { return q.q.pop(now) }

// Push adds a ticket without asking whether there is a place.
func (q *Queue) Push(who Who) *Ticket {
	t := &ticket{who: who}
	q.q.push(t)
	return t
}

// Groups is how many groups the queue remembers.
func (q *Queue) Groups() int {
	n := len(q.q.accounts)
	var count func(g *group)
	count = func(g *group) {
		n += len(g.members)
		for _, m := range g.members {
			count(m)
		}
	}
	for i := range q.q.lanes {
		count(&q.q.lanes[i])
	}
	return n
}

// Child is the process id of the child, 0 if there is none.
func (h *Hasher) Child() int {
	h.keeper.mu.Lock()
	defer h.keeper.mu.Unlock()
	if h.keeper.child == nil {
		return 0
	}
	return h.keeper.child.cmd.Process.Pid
}

// Signal sends the child a signal.
func (h *Hasher) Signal(s syscall.Signal) error { return syscall.Kill(h.Child(), s) }

// Dismiss is what happens when nothing has been hashed for a minute.
func (h *Hasher) Dismiss() { h.keeper.dismiss() }

// Believe makes the pool believe that a hash takes so long.
func (h *Hasher) Believe(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pace.add(h.cost, d, clock())
}

// Who is whom it is for.
func (t *ticket) Who() Who { return t.who }

// LosePatience makes the pool take a child to hang sooner. Call it before the
// first hash.
func (h *Hasher) LosePatience(after time.Duration) { h.keeper.patience = after }

// LetEnd gives the child so long to end what it has begun.
func (h *Hasher) LetEnd(within time.Duration) { h.keeper.endsWithin = within }

// InFlight is how many calls the child has not answered.
func (h *Hasher) InFlight() int {
	h.keeper.mu.Lock()
	c := h.keeper.child
	h.keeper.mu.Unlock()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// BelieveOf is Believe for other parameters.
func (h *Hasher) BelieveOf(c Argon2, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pace.add(c, d, clock())
}

// Occupy takes a worker, as a hash that lasts until Vacate. It panics where none
// is idle.
func (h *Hasher) Occupy() {
	if h.idleWorkers() == 0 {
		panic("no worker is idle")
	}
	if err := h.enter(context.Background(), Who{}); err != nil {
		panic(err)
	}
}

func (h *Hasher) idleWorkers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.idle
}

// Vacate gives it back.
func (h *Hasher) Vacate() { h.leave() }
