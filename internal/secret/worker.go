package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"propusk/internal/secret/argon2"
)

// WorkerArg is the first argument of a program that is to hash passwords for
// its parent. Behind it stand how many at one time, and the memory in KiB that a
// worker may keep from hash to hash.
const WorkerArg = "hash-worker"

// Parent and child speak in frames: the length of the rest in four bytes, the
// number of the call in four, and
//
//	from the parent  memory (4), passes (4), lanes (1), size of the key (1),
//	                 length of the salt (1), salt, password
//	from the child   0, how long it took in microseconds (4), and the key;
//	                 or 1: these parameters are out of bounds
//
// All numbers are big-endian. The child's first frame is number 0, and says that
// it is ready.
const (
	callHead  = 4 + 4 + 4 + 1 + 1 + 1 // after the length
	replyHead = 4 + 1 + 4
	maxCall   = callHead + 64 + maxHashed
	maxReply  = replyHead + 64

	maxWorkers = 1024

	replyKey     = 0
	replyRefused = 1

	greeting = "propusk hashes 2"
)

// wipeAfter is how long a worker keeps what a hash has left in its memory when
// no other follows. The parent sends the next within a tenth of a millisecond
// when one waits, and wiping takes as long as a twelfth of a hash.
const wipeAfter = 20 * time.Millisecond

// call is what a key is derived from.
type call struct {
	cost     Argon2
	salt     []byte
	password Text
	size     int
}

// append appends the call's frame.
func (in call) append(b []byte, id uint32) []byte {
	be := binary.BigEndian
	password := in.password.Reveal()
	b = be.AppendUint32(b, uint32(callHead+len(in.salt)+len(password))) //nolint:gosec // derive bounds them
	b = be.AppendUint32(b, id)
	b = be.AppendUint32(b, in.cost.Memory)
	b = be.AppendUint32(b, in.cost.Passes)
	b = append(b, in.cost.Threads, byte(in.size), byte(len(in.salt))) //nolint:gosec // at most 64
	b = append(b, in.salt...)
	return append(b, password...)
}

// readFrame reads a frame into buf, which it must fit in.
func readFrame(r io.Reader, buf []byte, least int) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(buf))
	if n < least || n > len(buf) {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// ServeHashes is the whole work of the child process: it hashes what it is asked
// for on in, so many at one time, and answers on out, until in ends. It takes
// the lowest priority that still gets a share of a busy machine, and outlives an
// interrupt that a terminal sends to the whole group: its parent ends it by
// closing in, when nobody waits for a hash any more.
func ServeHashes(args []string, in io.Reader, out io.Writer) error {
	var n int
	var keep uint32
	if got, err := fmt.Sscanf(strings.Join(args, " "), "%d %d", &n, &keep); got != 2 || err != nil || n < 1 || n > maxWorkers {
		return fmt.Errorf("%s: propusk starts this itself, and not so", WorkerArg)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	runtime.GOMAXPROCS(n + 1)
	yieldToOthers()
	keepOutOfDumps()
	s := &hashServer{in: in, out: out, keep: keep}
	s.reply(binary.BigEndian.AppendUint32(nil, 0), replyKey, 0, []byte(greeting))
	var all sync.WaitGroup
	for range n {
		all.Go(s.work)
	}
	all.Wait()
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", WorkerArg, s.err)
}

// hashServer is what the child's workers share.
type hashServer struct {
	keep uint32 // KiB

	reading sync.Mutex
	in      io.Reader
	err     error // that ended it

	writing sync.Mutex
	out     io.Writer
	frame   []byte
}

// work is a worker: it takes calls itself, so that none is handed from one
// thread to another.
func (s *hashServer) work() {
	buf := make([]byte, maxCall)
	m := newRestful()
	defer m.end()
	for {
		frame, ok := s.next(buf)
		if !ok {
			return
		}
		id, c, salt, password, size := parseCall(frame)
		if password == nil {
			s.reply(id, replyRefused, 0, nil)
		} else {
			m.mu.Lock()
			begun := clock()
			key := argon2.IDKey(m.memory, password, salt, c.Passes, c.Memory, c.Threads, size)
			s.reply(id, replyKey, clock().Sub(begun), key)
			clear(key)
			if c.Memory > s.keep { // one costly hash of old must not keep its memory for good
				m.memory.Release()
			}
			m.mu.Unlock()
			m.rest()
		}
		clear(frame)
	}
}

// parseCall gives no password for a call that is out of bounds.
func parseCall(frame []byte) (id []byte, c Argon2, salt, password []byte, size uint32) {
	be := binary.BigEndian
	id, c = frame[:4], Argon2{Memory: be.Uint32(frame[4:]), Passes: be.Uint32(frame[8:]), Threads: frame[12]}
	n := int(frame[14])
	if rest := frame[callHead:]; n <= len(rest) && c.allowed(n, int(frame[13])) {
		salt, password = rest[:n], rest[n:]
	}
	return id, c, salt, password, uint32(frame[13])
}

func (s *hashServer) next(buf []byte) (frame []byte, ok bool) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.err == nil {
		frame, s.err = readFrame(s.in, buf, callHead)
	}
	return frame, s.err == nil
}

// reply answers a call. A parent that does not listen any more has closed in as
// well.
func (s *hashServer) reply(id []byte, status byte, took time.Duration, key []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	b := binary.BigEndian.AppendUint32(s.frame[:0], uint32(replyHead+len(key))) //nolint:gosec // at most 64
	b = append(append(b, id...), status)
	b = binary.BigEndian.AppendUint32(b, uint32(min(took.Microseconds(), math.MaxUint32))) //nolint:gosec // bounded here
	b = append(b, key...)
	_, _ = s.out.Write(b) // see above
	clear(b)
	s.frame = b
}

// restful is the memory of a worker, which is wiped and given back while the
// worker rests.
type restful struct {
	mu     sync.Mutex // whoever uses memory
	memory *argon2.Memory
	timer  *time.Timer
	wiped  bool
}

func newRestful() *restful {
	m := &restful{memory: new(argon2.Memory)}
	m.timer = time.AfterFunc(time.Hour, m.tidy)
	m.timer.Stop()
	return m
}

// rest is called after each hash.
func (m *restful) rest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wiped = false
	m.timer.Reset(wipeAfter)
}

func (m *restful) tidy() {
	if !m.mu.TryLock() { // it is at work again
		return
	}
	defer m.mu.Unlock()
	if m.wiped {
		m.memory.Release()
		return
	}
	m.memory.Wipe()
	m.wiped = true
	m.timer.Reset(restAfter)
}

func (m *restful) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer.Stop()
	m.memory.Release()
}
