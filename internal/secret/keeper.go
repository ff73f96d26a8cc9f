package secret

import (
	"errors"
	"log/slog"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// childRest is how long the child process stays when nothing is hashed.
	childRest = time.Minute
	// hopelessAfter is after how many failed starts in a row this process hashes
	// itself, and retryAfter for how long.
	hopelessAfter = 2
	retryAfter    = time.Minute
)

var (
	errNoChild = errors.New("no hashing process can be started")
	errClosed  = errors.New("the hashing pool is closed")
)

// keeper starts the child process when there is something to hash, and ends it
// when there has been nothing for a while.
type keeper struct {
	command func() *exec.Cmd
	args    []string
	log     *slog.Logger
	// patience is the least time without an answer after which a child is taken
	// to hang.
	patience time.Duration
	// endsWithin is how long one may take to end that was told to.
	endsWithin time.Duration

	restarts, inProcess atomic.Int64

	mu      sync.Mutex
	child   *child
	all     sync.WaitGroup // children that are not gone
	died    bool           // the last one, unasked
	failed  int            // starts, one after another
	until   time.Time      // no other is tried
	warned  bool
	working int         // calls of children
	rest    *time.Timer // runs out when there have been none for childRest
	closed  bool
}

func newKeeper(o HasherOptions) *keeper {
	k := &keeper{command: o.Command, log: o.Log, patience: leastPatience, endsWithin: longestEnd, args: []string{
		WorkerArg, strconv.Itoa(o.Workers), strconv.FormatUint(uint64(o.Cost.Memory), 10),
	}}
	k.rest = time.AfterFunc(childRest, k.dismiss)
	k.rest.Stop()
	return k
}

// do calls fn with a child that is ready.
func (k *keeper) do(fn func(*child) error) error {
	c, err := k.take()
	if err != nil {
		return err
	}
	defer k.put()
	if err := c.awaitReady(); err != nil {
		return err
	}
	return fn(c)
}

func (k *keeper) take() (*child, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return nil, errClosed
	case k.child == nil && clock().Before(k.until):
		return nil, errNoChild
	case k.child == nil:
		if err := k.start(); err != nil {
			k.fail(err)
			return nil, errChildEnded
		}
	}
	k.working++
	k.rest.Stop()
	return k.child, nil
}

func (k *keeper) put() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.working--; k.working == 0 && !k.closed {
		k.rest.Reset(childRest)
	}
}

// start needs the lock.
func (k *keeper) start() error {
	if k.died {
		k.restarts.Add(1)
		k.died = false
	}
	cmd := k.command()
	cmd.Args = append(cmd.Args, k.args...)
	c, err := startChild(cmd, k.patience, k.ended)
	if err == nil {
		k.child = c
		k.all.Add(1)
	}
	return err
}

// ended is told of each child once.
func (k *keeper) ended(c *child, err error) {
	defer k.all.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.child != c { // it was told to
		return
	}
	k.child, k.died = nil, true
	if !c.isReady() {
		k.fail(err)
		return
	}
	// It could be started: whatever has ended it, such as a hash for which there
	// is not enough memory, must not come to this process.
	k.failed = 0
	k.log.Warn("the hashing process ended; another one is started for the next password", slog.String("error", err.Error()))
}

// fail counts a start that failed. It needs the lock.
func (k *keeper) fail(err error) {
	if k.failed++; k.failed < hopelessAfter {
		return
	}
	k.until = clock().Add(retryAfter)
	if k.warned {
		return
	}
	k.warned = true
	k.log.Warn("no hashing process can be started: passwords are hashed in this one, where many logins slow all else down",
		slog.String("error", err.Error()))
}

// hopeless tells whether the last starts have failed.
func (k *keeper) hopeless() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed >= hopelessAfter && !k.closed
}

// dismiss ends a child that has nothing to do.
func (k *keeper) dismiss() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.working == 0 && k.child != nil {
		k.child.end(k.endsWithin)
		k.child = nil
	}
}

// close ends the child when it has answered what it was asked.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	k.rest.Stop()
	if k.child != nil {
		k.child.end(k.endsWithin)
		k.child = nil
	}
	k.mu.Unlock()
	k.all.Wait()
}
