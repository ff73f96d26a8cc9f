package account

import (
	"context"
	"encoding/binary"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Beat is one look of a node at the others, which it takes every ten seconds.
func Beat(ctx context.Context, s *Service) error { return s.beat(ctx) }

// Complete tells whether the service takes its memory for everything that there
// is.
func Complete(s *Service) bool { return s.live.complete.Load() }

// Away tells whether the service knows that its database is away at this instant
// of its clock.
func Away(s *Service) bool { return s.live.silent.Load() == db.Micros(s.now()) }

// Heard tells whether the service has heard of changes at this instant of its
// clock.
func Heard(s *Service) bool { return s.live.heard.Load() == db.Micros(s.now()) }

// MeetWithin is the longest wait of a new node before it issues or ends a session.
const MeetWithin = meetWithin

// Meets tells whether the service waits for other nodes to hear of it.
func Meets(s *Service) bool {
	m := s.node.meeting.Load()
	if m == nil {
		return false
	}
	select {
	case <-m.over:
		return false
	default:
		return true
	}
}

// Table is the table of sessions, with numbers for tokens and users.
type Table struct{ t liveTable }

func numbered(n int) (h secret.Hash) {
	return secret.HashOf(string(binary.BigEndian.AppendUint32(nil, uint32(n))))
}

func userNumbered(n int) (u secret.UUID) {
	h := numbered(-n)
	copy(u[:], h[:])
	return u
}

// Put adds a session, with a number to know it by.
func (t *Table) Put(token, user, mark int) {
	t.t.put(&liveEntry{hash: numbered(token), user: userNumbered(user), expires: int64(mark)})
}

// Get gives the number, and 0 where there is no such session.
func (t *Table) Get(token int) (mark int) {
	h := numbered(token)
	t.t.use(&h, func(e *liveEntry) { mark = int(e.expires) })
	return mark
}

// Drop takes a session away.
func (t *Table) Drop(token int) {
	h := numbered(token)
	t.t.drop(&h)
}

// DropAny takes some session away.
func (t *Table) DropAny() { t.t.dropAny() }

// OfUser gives the numbers of a user's sessions.
func (t *Table) OfUser(user int) (marks []int) {
	u := userNumbered(user)
	t.t.ofUser(&u, func(e *liveEntry) { marks = append(marks, int(e.expires)) })
	return marks
}

// Sweep takes away every session with an odd number, and gives how many are left.
func (t *Table) Sweep() (left int) {
	t.t.each(func(e *liveEntry) bool {
		if e.expires%2 == 0 {
			left++
		}
		return e.expires%2 != 0
	})
	return left
}

// Size is how many sessions there are.
func (t *Table) Size() int { return int(t.t.size.Load()) }
