package secret

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"propusk/internal/secret/argon2"
)

// ErrBusy means that a password could not be hashed in time, because too many
// others wait. What is returned is a [*BusyError].
var ErrBusy = errors.New("too many passwords wait to be hashed")

// BusyError is an ErrBusy that says when to come back.
type BusyError struct{ RetryAfter time.Duration }

func (*BusyError) Error() string { return ErrBusy.Error() }

// Is makes every BusyError an [ErrBusy].
func (*BusyError) Is(target error) bool { return target == ErrBusy }

// restAfter is how long the workers keep their memory when nobody logs in.
const restAfter = 5 * time.Second

// HasherOptions are what a [Hasher] needs.
type HasherOptions struct {
	Cost    Argon2        // of new hashes
	Workers int           // passwords hashed at one time
	Queue   int           // places to wait
	Account int           // of these, for one account's passwords from known devices, and as many from others; 0: 8
	MaxWait time.Duration // the longest wait that is begun; 0: only the caller's deadline counts
	// Command gives this program anew, to run as the child process that hashes;
	// the arguments are put behind its own. Nil: this process hashes.
	Command func() *exec.Cmd
	Log     *slog.Logger // what becomes of the child; needed with Command
}

// Hasher hashes passwords with Argon2id, on so many at once as it has workers:
// each takes [Argon2.Memory] and a core, and more at once than cores only makes
// all of them slower. Callers beyond that wait, in a queue that is fair between
// them; who finds no place in it, or none in time, is refused at once. A worker
// uses its memory again from hash to hash, and lets go of it after a rest.
type Hasher struct {
	cost    Argon2
	workers int
	maxWait time.Duration
	dummy   string
	keeper  *keeper // of the child process; nil without

	mu      sync.Mutex
	idle    int // workers
	queue   queue
	pace    pace
	figures HasherFigures

	local localMemories
	cores chan struct{} // a place for each hash in this process
}

// ahead is how many hashes for each worker lie ready in the pipe to the child: on
// a busy machine this process does not always get a core in the moment in which
// a worker is done, and that one would wait.
const ahead = 1

// NewHasher makes a pool. Close it.
func NewHasher(o HasherOptions) *Hasher {
	h := &Hasher{
		cost: o.Cost, workers: o.Workers, maxWait: o.MaxWait, idle: o.Workers, queue: newQueue(o.Queue, cmp.Or(o.Account, usualPerAccount)),
		pace: pace{cost: o.Cost}, figures: newFigures(), local: localMemories{keep: o.Cost.Memory},
	}
	h.cores = make(chan struct{}, o.Workers)
	if o.Command != nil {
		h.keeper = newKeeper(o)
		h.idle += o.Workers * ahead
	}
	// Nobody's password: a salt and a key that no hash was made of. Verifying
	// against it costs what verifying against a real one does, and is never true.
	var salt [saltSize]byte
	var key [keySize]byte
	_, _ = rand.Read(salt[:]) // never fails: crypto/rand ends the program instead
	_, _ = rand.Read(key[:])
	h.dummy = encode(o.Cost, salt[:], key[:])
	return h
}

// Close ends the child process. Hashes still asked for end with [ErrBusy].
func (h *Hasher) Close() {
	if h.keeper != nil {
		h.keeper.close()
	}
	h.local.close()
}

// Cost gives the parameters of new hashes.
func (h *Hasher) Cost() Argon2 { return h.cost }

// Pace is how long a hash takes, without waiting: the running average, and of
// several sets of parameters in use that of the slowest. Before the first hash
// it is an estimate.
func (h *Hasher) Pace() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pace.slowest(clock())
}

// Room tells at once, before anything is done for the caller, whether there is a
// place for him now: nil, or a [*BusyError]. A place that there is may be taken
// by the time it is asked for.
func (h *Hasher) Room(who Who) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free() {
		return nil
	}
	return h.refusal(who, h.maxWait)
}

// Place is one in the queue, kept for a caller who has to be looked up first.
type Place struct {
	h    *Hasher
	who  Who
	held bool
}

// Reserve keeps a place for the caller's network until it is used, as
// [Who.Place], or released; or tells as [Hasher.Room] does that there is none.
// So no more are looked up than can be hashed.
func (h *Hasher) Reserve(who Who) (*Place, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held() >= h.idle || h.queue.len() > 0 {
		if err := h.refusal(who, h.maxWait); err != nil {
			return nil, err
		}
	}
	h.queue.hold(who, 1)
	return &Place{h: h, who: who, held: true}, nil
}

func (h *Hasher) held() int { return h.queue.held[knownLane] + h.queue.held[unknownLane] }

// Release gives the place back, if it was not used.
func (p *Place) Release() {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	p.release()
}

func (p *Place) release() {
	if p.held {
		p.held = false
		p.h.queue.hold(p.who, -1)
	}
}

// derive waits for a worker and has it derive the key.
func (h *Hasher) derive(ctx context.Context, who Who, c call) ([]byte, error) {
	if len(c.password.Reveal()) > maxHashed {
		return nil, errors.New("password is too long to be hashed")
	}
	if err := h.enter(ctx, who); err != nil {
		return nil, err
	}
	key, err := h.work(ctx, c)
	if err != nil {
		err = &begunError{err}
	}
	return key, err
}

// begunError is one after a worker was given the hash: it may have been made,
// though nobody has the key.
type begunError struct{ error }

func (e *begunError) Unwrap() error { return e.error }

// Unhashed tells whether err means that a password was refused before anything
// was done for it: not that somebody went away who had asked for it, nor that a
// hash was begun.
func Unhashed(err error) bool {
	var begun *begunError
	return errors.Is(err, ErrBusy) && !errors.As(err, &begun)
}

// work has the key derived; a worker is the caller's.
func (h *Hasher) work(ctx context.Context, c call) ([]byte, error) {
	if h.keeper == nil {
		defer h.leave()
		return h.here(c), nil
	}
	// Who goes away must not take the worker with him while it is at work: that
	// one is busy until the child answers.
	type result struct {
		key []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer h.leave()
		key, err := h.there(ctx, c)
		done <- result{key, err}
	}()
	select {
	case r := <-done:
		return r.key, r.err
	case <-ctx.Done():
		return nil, h.tooLate(ctx)
	}
}

// here derives the key in this process.
func (h *Hasher) here(c call) []byte {
	h.cores <- struct{}{}
	defer func() { <-h.cores }()
	m := h.local.take()
	start := clock()
	key := argon2.IDKey(m, []byte(c.password.Reveal()), c.salt, c.cost.Passes, c.cost.Memory, c.cost.Threads, uint32(c.size)) //nolint:gosec // decode bounds it
	h.timed(c.cost, clock().Sub(start))
	h.local.put(m, c.cost, h.waits())
	return key
}

// there derives the key in the child process. If that ends meanwhile, another is
// asked, once: what ends twice may be ended by this very hash.
func (h *Hasher) there(ctx context.Context, c call) (key []byte, err error) {
	for range 2 {
		if ctx.Err() != nil {
			return nil, h.tooLate(ctx)
		}
		err = h.keeper.do(func(child *child) (err error) {
			var took time.Duration
			if key, took, err = child.derive(c, h.patience(c.cost)); err == nil {
				h.timed(c.cost, took)
			}
			return err
		})
		if !errors.Is(err, errChildEnded) {
			break
		}
	}
	switch {
	case errors.Is(err, errNoChild), errors.Is(err, errChildEnded) && h.keeper.hopeless():
		h.keeper.inProcess.Add(1)
		return h.here(c), nil
	case errors.Is(err, errChildEnded), errors.Is(err, errClosed):
		h.mu.Lock()
		defer h.mu.Unlock()
		return nil, h.busy(refusedFault)
	}
	return key, err
}

// patience is how long the child may take for a hash before it is taken to hang.
func (h *Hasher) patience(c Argon2) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(10*h.pace.one(c), h.keeper.patience)
}

func (h *Hasher) timed(c Argon2, took time.Duration) {
	now := clock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pace.add(c, took, now)
}

// arrival is what is known of one who waits.
type arrival struct {
	ctx context.Context //nolint:containedctx // of a caller who is inside enter until it is called
	at  time.Time
}

// enter waits for an idle worker.
func (h *Hasher) enter(ctx context.Context, who Who) error {
	now := clock()
	limit := h.maxWait
	h.mu.Lock()
	if who.Place != nil {
		who.Place.release()
		who.Place = nil
	}
	if ctx.Err() != nil { // nobody waits for it any more
		defer h.mu.Unlock()
		return h.late(ctx)
	}
	if h.free() {
		h.idle--
		h.begin(0)
		h.mu.Unlock()
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok { // by which it has to be hashed
		left := max(deadline.Sub(now)-h.pace.mean(), 1)
		if limit == 0 || left < limit {
			limit = left
		}
	}
	if err := h.refusal(who, limit); err != nil {
		h.mu.Unlock()
		return err
	}
	t := &ticket{who: who, called: make(chan struct{}), asked: arrival{ctx, now}}
	h.queue.push(t)
	h.mu.Unlock()
	return h.wait(ctx, t)
}

func (h *Hasher) wait(ctx context.Context, t *ticket) error {
	var over <-chan time.Time
	if h.maxWait > 0 {
		timer := time.NewTimer(h.maxWait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-t.called:
		return nil
	case <-ctx.Done():
	case <-over:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.group != nil {
		h.queue.remove(t)
	} else {
		select {
		case <-t.called: // at this very moment
			if ctx.Err() == nil {
				return nil
			}
			h.next()
		default: // it was passed over, since its time was up
		}
	}
	if ctx.Err() != nil {
		return h.late(ctx)
	}
	return h.busy(refusedWait)
}

// free tells whether a worker is idle and nobody was there before.
func (h *Hasher) free() bool { return h.idle > 0 && h.queue.len() == 0 }

func (h *Hasher) waits() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.len() > 0
}

// leave makes the worker idle again, or gives it to the next.
func (h *Hasher) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next()
}

func (h *Hasher) next() {
	for {
		t := h.queue.pop(clock())
		if t == nil {
			h.idle++
			return
		}
		if t.asked.ctx.Err() == nil { // or else it would be hashed for nobody
			h.begin(clock().Sub(t.asked.at))
			close(t.called)
			return
		}
	}
}

// refusal is the error for one more caller who can wait so long, and nil if he
// may wait.
func (h *Hasher) refusal(who Who, limit time.Duration) error {
	if why := h.queue.refusal(who); why != "" {
		return h.busy(why)
	}
	if limit > 0 {
		before, wait := h.queue.before(who)
		// What was lately so will not be just so: a quarter is for that.
		if max(h.soonest(before), wait+wait/4) > limit {
			return h.busy(refusedWait)
		}
	}
	return nil
}

// soonest is how long one waits who has so many before him.
func (h *Hasher) soonest(before int) time.Duration {
	return h.pace.mean() * time.Duration(before+1) / time.Duration(h.workers)
}

// busy counts a refusal. Who is refused may come back when those who wait now
// have been served.
func (h *Hasher) busy(why string) error {
	h.figures.Refused[why]++
	return &BusyError{RetryAfter: min(max(h.soonest(h.queue.len()), time.Second), time.Minute)}
}

func (h *Hasher) tooLate(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.late(ctx)
}

// late is the error for a caller whose context has ended.
func (h *Hasher) late(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return h.busy(refusedWait)
	}
	return ctx.Err()
}

// localMemories are those of the workers of this process.
type localMemories struct {
	keep uint32 // KiB that an idle worker may hold

	mu     sync.Mutex
	idle   []*argon2.Memory
	timer  *time.Timer // runs out when nothing has been hashed for restAfter
	closed bool
}

func (l *localMemories) take() *argon2.Memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		m := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return m
	}
	return new(argon2.Memory)
}

// put gives a memory back. Unless somebody waits, whose hash would overwrite it
// anyway, what the hash has left in it is wiped.
func (l *localMemories) put(m *argon2.Memory, c Argon2, waits bool) {
	switch {
	case c.Memory > l.keep: // one costly hash of old must not keep its memory for good
		m.Release()
	case !waits:
		m.Wipe()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		m.Release()
		return
	}
	l.idle = append(l.idle, m)
	if l.timer == nil {
		l.timer = time.AfterFunc(restAfter, l.release)
	} else {
		l.timer.Reset(restAfter)
	}
}

// release gives the memory of every idle worker back to the operating system.
func (l *localMemories) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.idle {
		m.Release()
	}
	l.idle = nil
}

func (l *localMemories) close() {
	l.release()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
