package secret

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"propusk/internal/secret/argon2"
)

const (
	saltSize = 16
	keySize  = 32
)

// Argon2 are the cost parameters of Argon2id (RFC 9106).
type Argon2 struct {
	Memory  uint32 // KiB
	Passes  uint32
	Threads uint8 // lanes
}

// ErrBusy means that a password could not be hashed in time, because too many
// others wait.
var ErrBusy = errors.New("too many passwords wait to be hashed")

// restAfter is how long the workers keep their memory when nobody logs in.
const restAfter = 5 * time.Second

// Hasher hashes passwords with Argon2id, on so many at once as it has workers:
// each takes [Argon2.Memory] and a core, and more at once than cores only makes
// all of them slower. Callers beyond that wait; beyond its queue they are
// refused. A worker uses its memory again from hash to hash, and lets go of it
// after a rest.
type Hasher struct {
	cost    Argon2
	workers chan *argon2.Memory // those that are idle
	waiting atomic.Int64
	queue   int64
	dummy   string
	hashed  atomic.Int64

	mu   sync.Mutex
	rest *time.Timer // runs out when nothing has been hashed for restAfter
}

// Who is a temporary stub.
type Who struct {
	Known                  bool
	Network, Wide, Account string
}

// BusyError is a temporary stub.
type BusyError struct{ RetryAfter time.Duration }

func (e *BusyError) Error() string { return ErrBusy.Error() }

// Room is a temporary stub.
func (h *Hasher) Room(Who) error { return nil }

// Pace is a temporary stub.
func (h *Hasher) Pace() time.Duration { return 8 * time.Millisecond }

// NewHasher makes a pool of so many workers and places to wait.
func NewHasher(cost Argon2, workers, queue int) *Hasher {
	h := &Hasher{cost: cost, workers: make(chan *argon2.Memory, workers), queue: int64(queue)}
	for range workers {
		h.workers <- new(argon2.Memory)
	}
	// Nobody's password: a salt and a key that no hash was made of. Verifying
	// against it costs what verifying against a real one does, and is never true.
	var salt [saltSize]byte
	var key [keySize]byte
	_, _ = rand.Read(salt[:]) // never fails: crypto/rand ends the program instead
	_, _ = rand.Read(key[:])
	h.dummy = encode(cost, salt[:], key[:])
	return h
}

// Cost gives the parameters of new hashes.
func (h *Hasher) Cost() Argon2 { return h.cost }

// Hash hashes the password into a PHC string
// ($argon2id$v=19$m=…,t=…,p=…$salt$hash). It gives [ErrBusy] when there is no
// place, or none in time.
func (h *Hasher) Hash(ctx context.Context, _ Who, password Text) (string, error) {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails: crypto/rand ends the program instead
	key, err := h.derive(ctx, password, salt[:], h.cost, keySize)
	if err != nil {
		return "", err
	}
	return encode(h.cost, salt[:], key), nil
}

// Verify tells whether the password is the one that phc was made of, and
// whether its hash ought to be made anew because the parameters have changed.
// With an empty phc (no user, or a user without a password) it does the same
// work and tells false.
func (h *Hasher) Verify(ctx context.Context, _ Who, password Text, phc string) (ok, rehash bool, err error) {
	if phc == "" {
		phc = h.dummy
	}
	cost, salt, want, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	got, err := h.derive(ctx, password, salt, cost, uint32(len(want))) //nolint:gosec // decode bounds it
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want) == 1
	return ok, ok && (cost != h.cost || len(salt) != saltSize || len(want) != keySize), nil
}

// Stats tells how many wait now and how many hashes have been made.
func (h *Hasher) Stats() (waiting, hashed int64) { return h.waiting.Load(), h.hashed.Load() }

func (h *Hasher) derive(ctx context.Context, password Text, salt []byte, c Argon2, size uint32) ([]byte, error) {
	m, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer h.leave(m, c)
	h.hashed.Add(1)
	return argon2.IDKey(m, []byte(password.Reveal()), salt, c.Passes, c.Memory, c.Threads, size), nil
}

// enter waits for an idle worker.
func (h *Hasher) enter(ctx context.Context) (*argon2.Memory, error) {
	if ctx.Err() != nil { // nobody waits for it any more
		return nil, tooLate(ctx)
	}
	select {
	case m := <-h.workers:
		return m, nil
	default:
	}
	if h.waiting.Add(1) > h.queue {
		h.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer h.waiting.Add(-1)
	select {
	case m := <-h.workers:
		return m, nil
	case <-ctx.Done():
		return nil, tooLate(ctx)
	}
}

func tooLate(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrBusy
	}
	return ctx.Err()
}

// leave makes the worker idle again. Unless somebody waits, whose hash would
// overwrite it anyway, what the hash has left in its memory is wiped.
func (h *Hasher) leave(m *argon2.Memory, c Argon2) {
	switch {
	case c.Memory > h.cost.Memory: // one costly hash of old must not keep its memory for good
		m.Release()
	case h.waiting.Load() == 0:
		m.Wipe()
	}
	h.workers <- m
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rest == nil {
		h.rest = time.AfterFunc(restAfter, h.release)
	} else {
		h.rest.Reset(restAfter)
	}
}

// release gives the memory of every idle worker back to the operating system.
func (h *Hasher) release() {
	var idle []*argon2.Memory
	for len(idle) < cap(h.workers) {
		select {
		case m := <-h.workers:
			m.Release()
			idle = append(idle, m)
			continue
		default:
		}
		break
	}
	for _, m := range idle {
		h.workers <- m
	}
}

var b64 = base64.RawStdEncoding.Strict()

// encode gives the PHC string format that the reference implementation of
// Argon2 writes and reads.
func encode(c Argon2, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, c.Memory, c.Passes, c.Threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// decode reads a PHC string. Bounds keep a row that somebody has tampered with
// from costing more than the largest setting would.
func decode(phc string) (c Argon2, salt, key []byte, err error) {
	bad := errors.New("stored password hash cannot be read")
	var version int
	var s, k string
	n, err := fmt.Sscanf(phc, "$argon2id$v=%d$m=%d,t=%d,p=%d$", &version, &c.Memory, &c.Passes, &c.Threads)
	if err != nil || n != 4 || version != argon2.Version {
		return c, nil, nil, bad
	}
	if s, k, err = lastTwo(phc); err != nil {
		return c, nil, nil, bad
	}
	if salt, err = b64.DecodeString(s); err != nil {
		return c, nil, nil, bad
	}
	if key, err = b64.DecodeString(k); err != nil {
		return c, nil, nil, bad
	}
	if c.Memory < 8*uint32(c.Threads) || c.Memory > 4<<20 || c.Passes < 1 || c.Passes > 64 || c.Threads < 1 ||
		len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 || encode(c, salt, key) != phc {
		return c, nil, nil, bad
	}
	return c, salt, key, nil
}

func lastTwo(phc string) (salt, key string, err error) {
	dollar := 0
	for i := len(phc) - 1; i >= 0; i-- {
		if phc[i] != '$' {
			continue
		}
		if dollar++; dollar == 1 {
			key = phc[i+1:]
		} else {
			return phc[i+1 : len(phc)-len(key)-1], key, nil
		}
	}
	return "", "", errors.New("too few parts")
}
