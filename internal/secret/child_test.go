package secret_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"propusk/internal/secret"
)

// self is this test binary, which TestMain makes a child process of a pool.
func self() *exec.Cmd {
	return &exec.Cmd{Path: "/proc/self/exe", Args: os.Args[:1:1], Env: []string{}, Stderr: os.Stderr}
}

// log is what a pool has logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// childPool is one that hashes in a child process.
func childPool(t testing.TB, cost secret.Argon2, workers, queue int, command func() *exec.Cmd) (*secret.Hasher, *log) {
	t.Helper()
	l := new(log)
	h := secret.NewHasher(secret.HasherOptions{
		Cost: cost, Workers: workers, Queue: queue, Command: command, Log: slog.New(slog.NewTextHandler(l, nil)),
	})
	t.Cleanup(h.Close)
	h.LosePatience(time.Minute) // beside other tests, whose priority is higher, it may not get a core for seconds
	return h, l
}

func TestChildMakesTheSameHashes(t *testing.T) {
	cost := secret.Argon2{Memory: 64, Passes: 2, Threads: 2}
	there, _ := childPool(t, cost, 2, 100, self)
	here := pool(t, cost, 2, 100)
	for password, phc := range reference {
		if ok, rehash := verify(t, there, password, phc); !ok || !rehash {
			t.Errorf("%.30q: ok %t, rehash %t", password, ok, rehash)
		}
		if ok, _ := verify(t, there, password+"x", phc); ok {
			t.Errorf("%.30q and a letter: ok", password)
		}
		if ok, rehash := verify(t, here, password, hash(t, there, password)); !ok || rehash {
			t.Errorf("%.30q, hashed there: ok %t, rehash %t", password, ok, rehash)
		}
		if ok, rehash := verify(t, there, password, hash(t, here, password)); !ok || rehash {
			t.Errorf("%.30q, hashed here: ok %t, rehash %t", password, ok, rehash)
		}
	}
	if ok, _ := verify(t, there, plain, ""); ok {
		t.Error("no hash verifies")
	}
	var all sync.WaitGroup
	for i := range 50 { // each gets its own
		all.Go(func() {
			phc, err := there.Hash(t.Context(), secret.Who{}, secret.NewText(fmt.Sprint("password ", i)))
			if err != nil {
				t.Error(err)
				return
			}
			if ok, _ := verify(t, here, fmt.Sprint("password ", i), phc); !ok {
				t.Errorf("password %d got another's hash", i)
			}
		})
	}
	all.Wait()
	if f := there.Figures(); f.Restarts != 0 || f.InProcess != 0 {
		t.Errorf("%d restarts, %d hashed in this process", f.Restarts, f.InProcess)
	}
}

func TestPasswordIsNeitherAnArgumentNorInTheEnvironmentOfTheChild(t *testing.T) {
	h, l := childPool(t, cheapest, 1, 0, self)
	hash(t, h, plain)
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", h.Child(), file))
		if err != nil || tells(string(b)) != "" || file == "environ" && len(b) > 0 {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	if l.String() != "" {
		t.Errorf("logged: %s", l)
	}
}

func TestEveryThreadOfTheChildHasTheLowestPriority(t *testing.T) {
	h, _ := childPool(t, cheapest, 2, 0, self)
	for range 20 {
		hash(t, h, plain)
	}
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", h.Child()))
	if err != nil || len(stats) == 0 {
		t.Fatal(stats, err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := bytes.Cut(b, []byte(") "))
		if nice := strings.Fields(string(rest))[16]; nice != "19" {
			t.Errorf("%s: nice %s", name, nice)
		}
	}
}

// later verifies against a hash that takes about half a second, and gives a
// function that waits for the outcome. It returns when the child is at it.
func later(t *testing.T, h *secret.Hasher) (wait func() (ok bool, err error)) {
	t.Helper()
	done := make(chan struct{})
	var ok bool
	var err error
	go func() {
		defer close(done)
		ok, _, err = h.Verify(context.WithoutCancel(t.Context()), secret.Who{}, secret.NewText("correct horse battery staple"), slowly)
	}()
	until(t, "the child is at work", func() bool { return h.InFlight() > 0 })
	return func() (bool, error) { <-done; return ok, err }
}

// slowly is a hash of that password that takes long to check.
const slowly = "$argon2id$v=19$m=65536,t=20,p=1$c2FsdHNhbHRzYWx0c2FsdA$AlVdGsDR3MIibI0o6KLxWim0aU/jZReIjROhX7dYVfM"

func TestHashSurvivesTheEndOfTheChild(t *testing.T) {
	h, l := childPool(t, cheapest, 1, 0, self)
	hash(t, h, plain)
	wait := later(t, h)
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if ok, err := wait(); !ok || err != nil {
		t.Errorf("ok %t, %v", ok, err)
	}
	if f := h.Figures(); f.Restarts != 1 || f.InProcess != 0 || strings.Count(l.String(), "\n") != 1 {
		t.Errorf("%d restarts, %d hashed in this process; logged: %s", f.Restarts, f.InProcess, l)
	}
}

// What ends every child must not come to this process, and a child that ends is
// not a wrong password.
func TestHashThatEndsEveryChildIsGivenUp(t *testing.T) {
	h, _ := childPool(t, cheapest, 1, 0, self)
	wait := later(t, h)
	var stop atomic.Bool
	var killer sync.WaitGroup
	killer.Go(func() {
		for !stop.Load() {
			if h.InFlight() > 0 && h.Child() > 0 {
				_ = h.Signal(syscall.SIGKILL) // it may have ended
			}
			time.Sleep(time.Millisecond)
		}
	})
	ok, err := wait()
	stop.Store(true)
	killer.Wait()
	if f := h.Figures(); ok || !errors.Is(err, secret.ErrBusy) || f.InProcess != 0 || f.Refused["fault"] != 1 {
		t.Errorf("ok %t, %v; figures %+v", ok, err, f)
	}
	if ok, _ := verify(t, h, plain, hash(t, h, plain)); !ok { // it has recovered
		t.Error("it does not verify")
	}
}

// stop has the child hang. A signal is taken by one of its threads in its own
// time; the others answer until then.
func stop(t *testing.T, h *secret.Hasher) {
	t.Helper()
	if err := h.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", h.Child()))
		if err != nil || len(stats) == 0 {
			t.Fatalf("the threads of the child are not found: %v", err)
		}
		if !slices.ContainsFunc(stats, runs) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the child does not stop")
}

// runs tells whether a thread, by its stat (proc(5)), is not stopped.
func runs(stat string) bool {
	b, err := os.ReadFile(stat)
	_, state, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(state, "T")
}

func TestChildThatHangsHoldsNobodyUp(t *testing.T) {
	h, _ := childPool(t, cheapest, 1, 1, self)
	hash(t, h, plain)
	stop(t, h)
	for range 2 { // the first is with the child, the second in the queue
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		if _, err := h.Hash(ctx, secret.Who{}, secret.NewText(plain)); !errors.Is(err, secret.ErrBusy) || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		cancel()
	}
	start := time.Now()
	h.Close()
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("closing took %s", took)
	}
}

func TestChildThatHangsIsReplaced(t *testing.T) {
	h, l := childPool(t, cheapest, 1, 1, self)
	h.LosePatience(2 * time.Second)
	hash(t, h, plain)
	stop(t, h)
	hash(t, h, plain)
	if f := h.Figures(); f.Restarts != 1 || f.InProcess != 0 {
		t.Errorf("%d restarts, %d hashed in this process; logged: %s", f.Restarts, f.InProcess, l)
	}
}

// A Ctrl-C goes to all processes of the terminal, and systemd tells all of the
// service to stop. Who waits for a hash then still gets it.
func TestSignalsToTheGroupDoNotEndTheChild(t *testing.T) {
	h, _ := childPool(t, cheapest, 1, 0, self)
	h.LetEnd(time.Minute)
	hash(t, h, plain)
	wait := later(t, h)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := h.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.Close() // the stop itself
	}()
	if ok, err := wait(); !ok || err != nil {
		t.Errorf("ok %t, %v", ok, err)
	}
	<-closed
	if f := h.Figures(); f.Restarts != 0 || f.InProcess != 0 {
		t.Errorf("%d restarts, %d hashed in this process", f.Restarts, f.InProcess)
	}
	if _, err := h.Hash(t.Context(), secret.Who{}, secret.NewText(plain)); !errors.Is(err, secret.ErrBusy) {
		t.Errorf("after it was closed: %v", err)
	}
}

func TestWithoutAChildThisProcessHashes(t *testing.T) {
	for name, command := range map[string]func() *exec.Cmd{
		"no such program": func() *exec.Cmd { return &exec.Cmd{Path: "/nonexistent"} },
		"another program": func() *exec.Cmd { return &exec.Cmd{Path: "/bin/false"} },
		"one that talks":  func() *exec.Cmd { return &exec.Cmd{Path: "/bin/echo", Args: []string{"echo"}} },
	} {
		h, l := childPool(t, cheapest, 2, 2, command)
		for range 5 {
			if ok, _ := verify(t, h, plain, hash(t, h, plain)); !ok {
				t.Errorf("%s: it does not verify", name)
			}
		}
		if f := h.Figures(); f.InProcess != 10 || strings.Count(l.String(), "\n") != 1 {
			t.Errorf("%s: %d hashed in this process; logged: %s", name, f.InProcess, l)
		}
	}
}

func TestChildComesWithWorkAndGoesWithoutIt(t *testing.T) {
	h, l := childPool(t, cheapest, 1, 0, self)
	if h.Child() != 0 {
		t.Error("there is a child before there is work")
	}
	for range 3 {
		hash(t, h, plain)
		pid := h.Child()
		h.Dismiss()
		until(t, "the child is gone", func() bool { return syscall.Kill(pid, 0) != nil })
	}
	if f := h.Figures(); f.Restarts != 0 || l.String() != "" {
		t.Errorf("%d restarts; logged: %s", f.Restarts, l)
	}
}

func TestClosedPoolLeavesNothingOpen(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	use := func() {
		h, _ := childPool(t, cheapest, 1, 0, self)
		hash(t, h, plain)
		h.Close()
		h.Close() // twice does no harm
	}
	use()
	before := open()
	for range 5 {
		use()
	}
	if after := open(); after > before {
		t.Errorf("%d files are open, before there were %d", after, before)
	}
}

// orphan is the argument that makes this binary a program with a pool, which
// tells its child's process id and then waits for the end.
const orphan = "have-a-child"

func haveAChild() {
	h := secret.NewHasher(secret.HasherOptions{Cost: cheapest, Workers: 1, Command: self, Log: slog.New(slog.DiscardHandler)})
	if _, err := h.Hash(context.Background(), secret.Who{}, secret.NewText(plain)); err != nil {
		panic(err)
	}
	fmt.Println(h.Child())
	_, _, _ = h.Verify(context.Background(), secret.Who{}, secret.NewText(plain), strings.Replace(slowly, "t=20", "t=64", 1))
	select {}
}

func TestKilledParentLeavesNoChild(t *testing.T) {
	cmd := exec.Command(os.Args[0], orphan)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	child, _ := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || child == 0 {
		t.Fatalf("%q, %v", line, err)
	}
	time.Sleep(50 * time.Millisecond) // it is in the middle of a hash
	if syscall.Kill(child, 0) != nil {
		t.Fatal("there is no child")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	until(t, "the child is gone", func() bool { return ended(child) })
}

// ended tells whether a process is no more, or only waits for init to notice.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(b, []byte(") "))
	return err != nil || bytes.HasPrefix(state, []byte("Z"))
}

// What the child is asked comes from its parent alone, but costs what it says:
// the bounds are checked on either side.
func TestChildTakesOnlyWhatIsInBounds(t *testing.T) {
	frame := func(memory, passes uint32, lanes, size, salt byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, 7)
		b = binary.BigEndian.AppendUint32(b, memory)
		b = binary.BigEndian.AppendUint32(b, passes)
		b = append(b, lanes, size, salt)
		return append(b, "0123456789abcdef"+plain...)
	}
	for name, c := range map[string]struct {
		frame []byte
		size  int // of the key; -1: the call is refused
	}{
		"the least":         {frame(8, 1, 1, 16, 8), 16},
		"usual":             {frame(64, 2, 1, 32, 16), 32},
		"no memory":         {frame(0, 1, 1, 32, 16), -1},
		"little for lanes":  {frame(64, 1, 9, 32, 16), -1},
		"4 GiB and more":    {frame(4<<20+1, 1, 1, 32, 16), -1},
		"4 TiB":             {frame(1<<32-1, 1, 1, 32, 16), -1},
		"no pass":           {frame(64, 0, 1, 32, 16), -1},
		"many passes":       {frame(64, 65, 1, 32, 16), -1},
		"no lane":           {frame(64, 1, 0, 32, 16), -1},
		"a short key":       {frame(64, 1, 1, 15, 16), -1},
		"a long key":        {frame(64, 1, 1, 65, 16), -1},
		"a short salt":      {frame(64, 1, 1, 32, 7), -1},
		"a long salt":       {frame(64, 1, 1, 32, 65), -1},
		"more salt than is": {frame(64, 1, 1, 32, 64), -1},
	} {
		reply, err := ask(t, append(binary.BigEndian.AppendUint32(nil, uint32(len(c.frame))), c.frame...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := []byte{0, 0, 0, 7, 1}
		if c.size > 0 {
			want[4] = 0
		}
		if !bytes.HasPrefix(reply, want) || len(reply) != 9+max(c.size, 0) {
			t.Errorf("%s: %x", name, reply)
		}
	}
	for name, sent := range map[string][]byte{
		"half a length": {0, 0}, "half a frame": {0, 0, 0, 60, 1, 2, 3}, "too short": {0, 0, 0, 3, 1, 2, 3}, "4 GiB": bytes.Repeat([]byte{255}, 99),
	} {
		if reply, err := ask(t, sent); err == nil || len(reply) > 0 {
			t.Errorf("%s: %x, %v", name, reply, err)
		}
	}
	if reply, err := ask(t, nil); err != nil || len(reply) > 0 {
		t.Errorf("nothing: %x, %v", reply, err)
	}
}

// ask sends to a child, and gives what it answers behind its greeting, without
// the length. The error is how the child ended.
func ask(t *testing.T, sent []byte) (reply []byte, err error) {
	t.Helper()
	cmd := self()
	cmd.Args = append(cmd.Args, secret.WorkerArg, "2", "64")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(sent), io.Discard
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	greeting := []byte("\x00\x00\x00\x19\x00\x00\x00\x00\x00\x00\x00\x00\x00propusk hashes 2")
	rest, greeted := bytes.CutPrefix(out, greeting)
	if !greeted {
		t.Fatalf("it said %q", out)
	}
	return rest[min(len(rest), 4):], err
}

func TestHashWorkerIsNotForPeople(t *testing.T) {
	for _, args := range [][]string{nil, {"2"}, {"0", "64"}, {"-1", "64"}, {"1025", "64"}, {"two", "64"}, {"2", "-64"}} {
		if err := secret.ServeHashes(args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
