package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

const (
	// leastPatience is the least time without an answer after which the child is
	// taken to hang: on the lowest priority, on a machine that is busy with other
	// things, a hash takes its time.
	leastPatience = 10 * time.Second
	// longestEnd is how long it may take to end when its input has.
	longestEnd = 5 * time.Second
)

var errChildEnded = errors.New("the hashing process ended")

// child is the parent's end of the process that hashes.
type child struct {
	cmd    *exec.Cmd
	in     *os.File // what it reads
	ready  chan struct{}
	reaped chan error    // how it ended
	gone   chan struct{} // closed when it has ended, and its keeper knows

	writing sync.Mutex
	buf     []byte

	mu    sync.Mutex
	last  uint32                 // number of a call
	calls map[uint32]chan []byte // each gets its reply, without the number
}

// startChild starts the process, and has ended called once when it is no more.
func startChild(cmd *exec.Cmd, patience time.Duration, ended func(*child, error)) (*child, error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inRead.Close(), inWrite.Close())
	}
	cmd.Stdin, cmd.Stdout = inRead, outWrite
	diesWithParent(cmd)
	c := &child{
		cmd: cmd, in: inWrite, ready: make(chan struct{}), reaped: make(chan error, 1), gone: make(chan struct{}),
		calls: map[uint32]chan []byte{},
	}
	started := make(chan error)
	go func() {
		// The kernel's "when the parent dies" means the thread that started the
		// child. This one does nothing else, so it lives as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.reaped <- cmd.Wait()
		}
	}()
	err = <-started
	_, _ = inRead.Close(), outWrite.Close() // the child has its own; nothing was written
	if err != nil {
		return nil, errors.Join(err, inWrite.Close(), outRead.Close())
	}
	go func() {
		unready := time.AfterFunc(patience, c.kill)
		err := c.listen(outRead, unready)
		unready.Stop()
		c.kill() // whatever it says from now on is not heard
		if how := <-c.reaped; how != nil {
			err = how
		}
		_, _ = c.in.Close(), outRead.Close() // it is gone; there is nothing left to lose
		ended(c, err)
		close(c.gone)
	}()
	return c, nil
}

// listen hands replies to those who wait for them, until there are no more.
func (c *child) listen(out *os.File, unready *time.Timer) error {
	buf := make([]byte, maxReply)
	hello, err := readFrame(out, buf, replyHead)
	if err != nil {
		return err
	}
	if string(hello[replyHead:]) != greeting {
		return errors.New("it is not one of ours")
	}
	unready.Stop()
	close(c.ready)
	for {
		frame, err := readFrame(out, buf, replyHead)
		if err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(frame)
		c.mu.Lock()
		reply := c.calls[id]
		delete(c.calls, id)
		c.mu.Unlock()
		if reply == nil {
			return fmt.Errorf("it answers call %d, which nobody made", id)
		}
		reply <- append([]byte(nil), frame[4:]...)
		clear(frame)
	}
}

// isReady tells whether it has come so far as to say so.
func (c *child) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// awaitReady waits until it is ready, or has ended.
func (c *child) awaitReady() error {
	select {
	case <-c.ready:
		return nil
	case <-c.gone:
		return errChildEnded
	}
}

// derive has the child derive a key, and tells how long that took it. One that does not answer within patience is
// killed: there is no other way to take a call back, and the next child is ready
// in a moment.
func (c *child) derive(in call, patience time.Duration) (key []byte, took time.Duration, err error) {
	reply := make(chan []byte, 1)
	c.mu.Lock()
	if c.last++; c.last == 0 { // the greeting's
		c.last++
	}
	id := c.last
	c.calls[id] = reply
	c.mu.Unlock()
	impatience := time.AfterFunc(patience, c.kill)
	defer impatience.Stop()
	c.write(in, id)
	select {
	case r := <-reply:
		return in.key(r)
	case <-c.gone:
	}
	select {
	case r := <-reply: // its last words
		return in.key(r)
	default:
		return nil, 0, errChildEnded
	}
}

// write sends a call. Whether that succeeds shows in whether a reply comes: what
// cannot be written has no reader, and that one is gone.
func (c *child) write(in call, id uint32) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.buf = in.append(c.buf[:0], id)
	_, _ = c.in.Write(c.buf) // see above
	clear(c.buf)
}

// key reads a reply.
func (in call) key(reply []byte) (key []byte, took time.Duration, err error) {
	if status, key := reply[0], reply[5:]; status == replyKey && len(key) == in.size {
		return key, time.Duration(binary.BigEndian.Uint32(reply[1:])) * time.Microsecond, nil
	}
	return nil, 0, errors.New("the hashing process does not take these parameters")
}

// end has it finish what it has begun, and end.
func (c *child) end(within time.Duration) {
	_ = c.in.Close() // what matters is that it is closed
	late := time.AfterFunc(within, c.kill)
	go func() {
		<-c.gone
		late.Stop()
	}()
}

func (c *child) kill() { _ = c.cmd.Process.Kill() } // its only error is that it has ended
