package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// build builds the program as a release is built, from the module that the
// present directory is in.
func build(ctx context.Context, into string) (string, error) {
	binary := filepath.Join(into, "propusk")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "propusk/cmd/propusk") //nolint:gosec // a path of our own
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return binary, nil
}

// program is a running `propusk serve`.
type program struct {
	cmd   *exec.Cmd
	addr  string // of the service
	ops   string // of the operations listener
	log   string // file
	ended chan struct{}
}

// launch starts the program and does not wait for it: see ready.
func launch(ctx context.Context, binary, argon2 string, at place) (*program, error) {
	addr, ops, err := freePorts(ctx)
	if err != nil {
		return nil, err
	}
	p := &program{addr: addr, ops: ops, log: filepath.Join(at.dir, "log"), ended: make(chan struct{})}
	// Appending, so that the file can be emptied while the program runs.
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                                                        //nolint:errcheck // nothing was written by us
	p.cmd = exec.CommandContext(ctx, binary, "serve", "--listen", addr, "--ops-listen", ops, //nolint:gosec // the program under test
		"--master-key-file", filepath.Join(at.dir, "master.key"), "--argon2", argon2)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.SysProcAttr = at.dir, log, dieWithParent()
	// Every setting else is the default, whatever the developer's own are; the
	// database's password is not for everyone who can list processes.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PROPUSK_") })
	p.cmd.Env = append(p.cmd.Env, "PROPUSK_DATABASE="+at.database)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // stop and ready look at its state
		close(p.ended)
	}()
	return p, nil
}

// freePorts finds two free ones. Somebody else may take them before the program
// does; it then fails, and says so.
func freePorts(ctx context.Context) (a, b string, err error) {
	var config net.ListenConfig
	first, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	second, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", errors.Join(err, first.Close())
	}
	return first.Addr().String(), second.Addr().String(), errors.Join(first.Close(), second.Close())
}

const (
	startWithin = 30 * time.Second
	stopWithin  = 15 * time.Second
	pollEvery   = 200 * time.Microsecond
)

// ready waits for the first good answer to GET /readyz.
func (p *program) ready(ctx context.Context) error { return p.readyFor(ctx, get("/readyz", "")) }

// readyFor waits for the first good answer to the request.
func (p *program) readyFor(ctx context.Context, request []byte) error {
	deadline := time.Now().Add(startWithin)
	for {
		if p.answers(ctx, request) {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the program ended: %s\n%s", p.cmd.ProcessState, p.logTail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the program gave no good answer within %s\n%s", startWithin, p.logTail())
		}
	}
}

func (p *program) answers(ctx context.Context, request []byte) bool {
	c, err := dial(ctx, p.addr)
	if err != nil {
		return false
	}
	defer c.Close() //nolint:errcheck // one answer was all that was wanted
	_ = c.SetDeadline(time.Now().Add(startWithin))
	status, _, err := c.do(request)
	return err == nil && status == 200
}

func (p *program) logTail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// emptyLog keeps the file small, and tells how large it was.
func (p *program) emptyLog() (int64, error) {
	info, err := os.Stat(p.log)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Truncate(p.log, 0)
}

// stop asks the program to end, and makes it if it does not.
func (p *program) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
		p.kill()
		return fmt.Errorf("the program did not stop within %s", stopWithin)
	}
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// profile keeps a CPU profile of the next seconds in a file.
func (p *program) profile(ctx context.Context, seconds int, file string) error {
	c, err := dial(ctx, p.ops)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // all that was wanted has been read
	request := fmt.Sprintf("GET /debug/pprof/profile?seconds=%d HTTP/1.0\r\n\r\n", seconds)
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	all, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	head, body, found := bytes.Cut(all, []byte("\r\n\r\n"))
	if !found || !bytes.Contains(head, []byte(" 200 ")) {
		return fmt.Errorf("profile: %.300s", all)
	}
	return os.WriteFile(file, body, 0o600)
}
