package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startWithin bounds the start of the program: the promise, on a machine that
// is busy with other tests, under the race detector.
const startWithin = 2 * time.Second

// process is a running propusk.
type process struct {
	cmd      *exec.Cmd
	out, err output
	url, ops string        // of the listeners; ops may be "off"
	started  time.Duration // until it said that it listens
	ended    chan struct{}
	code     int // after ended; -1 when a signal ended it
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	grew chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.grew <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var listens = regexp.MustCompile(`^propusk \S+ listens on (\S+) \(operations: (\S+)\)\n.*\n.*\n$`)

// launch starts the program and returns when it listens. Where it ends before,
// or does not come so far, the error has what it wrote.
func launch(dir string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("propusk", args...), ended: make(chan struct{})}
	p.out.grew = make(chan struct{}, 1)
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the code tells all
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	tooLong := time.After(10 * startWithin) // who is late is judged by the caller
	for {
		select {
		case <-p.out.grew:
			if m := listens.FindStringSubmatch(p.out.String()); m != nil {
				p.started = time.Since(begun)
				p.url, p.ops = m[1], m[2]
				return p, nil
			}
		case <-p.ended:
			return p, fmt.Errorf("propusk %s ended with code %d:\n%s%s", strings.Join(args, " "), p.code, p.out.String(), p.err.String())
		case <-tooLong:
			_ = p.end(os.Kill)
			return p, fmt.Errorf("propusk %s does not get to listen:\n%s%s", strings.Join(args, " "), p.out.String(), p.err.String())
		}
	}
}

// end sends a signal and waits until the process has ended.
func (p *process) end(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.wait(15 * time.Second)
}

func (p *process) wait(atMost time.Duration) error {
	select {
	case <-p.ended:
		return p.complaint()
	case <-time.After(atMost):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // where it hangs is in its trace
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		return fmt.Errorf("propusk did not end within %s:\n%s", atMost, p.err.String())
	}
}

// complaint is what must never be on standard error, whatever a script asks.
func (p *process) complaint() error { return noTrace(p.err.String()) }

func noTrace(stderr string) error {
	for _, bad := range []string{"DATA RACE", "panic", "goroutine "} {
		if strings.Contains(stderr, bad) {
			return fmt.Errorf("standard error holds %q:\n%s", bad, stderr)
		}
	}
	return nil
}
