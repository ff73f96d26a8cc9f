//go:build faults

package faults_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is a running `propusk serve`.
type program struct {
	cmd       *exec.Cmd
	addr, ops string // of the listeners
	log       string // file
	ended     chan struct{}
}

var listens = regexp.MustCompile(`^propusk \S+ listens on http://(\S+) \(operations: http://(\S+)\)`)

// serve starts the program on a database and ends it in t.Cleanup, where it must
// leave no process behind, nor a word of a panic.
func serve(t *testing.T, database string, args ...string) *program {
	t.Helper()
	dir := t.TempDir()
	if database == "" {
		database = "sqlite:" + filepath.Join(dir, "propusk.db")
	}
	p := &program{log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // nothing was written by us
	p.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0",
		"--master-key-file", filepath.Join(dir, "master.key")}, args...)...)
	p.cmd.Dir, p.cmd.Stderr = dir, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// All other settings are the defaults, whatever the developer's own are.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PROPUSK_") })
	p.cmd.Env = append(p.cmd.Env, "PROPUSK_DATABASE="+database)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		first, _ := r.ReadString('\n')
		said <- first
		_, _ = io.Copy(io.Discard, r)
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop(t) })
	select {
	case first := <-said:
		m := listens.FindStringSubmatch(first)
		if m == nil {
			t.Fatalf("the program does not start: %q\n%s", first, p.logTail())
		}
		p.addr, p.ops = m[1], m[2]
	case <-time.After(30 * time.Second):
		t.Fatalf("the program does not get to listen\n%s", p.logTail())
	}
	return p
}

func (p *program) pid() int { return p.cmd.Process.Pid }

func (p *program) logTail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-3000):])
}

// stop asks the program to end, and makes it if it does not. Every process of
// it must go with it.
func (p *program) stop(t *testing.T) {
	tree := processTree(p.pid())
	select {
	case <-p.ended:
		t.Errorf("the program ended by itself: %s\n%s", p.cmd.ProcessState, p.logTail())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Error("the program does not stop")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	deadline := time.Now().Add(2 * time.Second)
	for _, pid := range tree {
		for startTime(pid) != 0 && pid != p.pid() && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if startTime(pid) != 0 && pid != p.pid() {
			t.Errorf("the program has ended, and its process %d has not", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	text, _ := os.ReadFile(p.log)
	for _, bad := range []string{"panic", "goroutine ", "fatal error"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("the log holds %q:\n%s", bad, p.logTail())
		}
	}
}

// fetch gives the answer of the operations listener.
func (p *program) fetch(t *testing.T, path string) string {
	t.Helper()
	a := once(p.ops, ask("GET", path, "", "Connection: close"))
	if !a.holds(200, "") {
		t.Errorf("%s: %s", path, a)
	}
	return string(a.body)
}

// metric adds up a metric over its labels; 0 where there is none.
func (p *program) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(p.fetch(t, "/metrics")) {
		rest, found := strings.CutPrefix(line, name)
		if !found || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			t.Errorf("metric %s: %v", name, err)
		}
		sum += v
	}
	return sum
}

// goroutines is how many there are when nobody is connected; it waits for those
// who are about to end.
func (p *program) goroutines(t *testing.T, atMost int, wait time.Duration) (n int) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for {
		n = int(p.metric(t, "go_goroutines"))
		if n <= atMost || time.Now().After(deadline) {
			return n
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// noPanic is a verdict that every part ends with.
func (p *program) noPanic(t *testing.T, v *verdicts) {
	t.Helper()
	v.atMost("handlers that panicked", p.metric(t, "propusk_panics_total"), 0, "")
}
