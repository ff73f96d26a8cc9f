//go:build measure && linux

package secret_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"propusk/internal/secret"
	"propusk/internal/secret/argon2"
)

// TestMeasurePool prints how many hashes a second the pool makes, through the
// child and in this process, beside the bare hash on as many goroutines; and how
// late a look-up at 200 a second is that does what a token check does, while the
// pool is full. On a machine that others use too, only figures of one round can
// be compared, and the best of many short ones.
//
//	ROUNDS=80 LENGTH=150ms go test -tags measure -run TestMeasurePool -v ./internal/secret
func TestMeasurePool(t *testing.T) {
	rounds := 30
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		rounds = n
	}
	length := 500 * time.Millisecond
	if d, err := time.ParseDuration(os.Getenv("LENGTH")); err == nil {
		length = d
	}
	workers := runtime.NumCPU()
	cost := secret.Argon2{Memory: 19456, Passes: 2, Threads: 1}
	type way struct {
		name  string
		run   func(context.Context) int
		child func() int
	}
	none := func() int { return 0 }
	through := func(name string, command func() *exec.Cmd) way {
		h, _ := childPool(t, cost, workers, 256, command)
		w := way{name, func(ctx context.Context) int { return flood(ctx, h, 8*workers) }, none}
		if command != nil {
			w.child = h.Child
			t.Cleanup(func() { fmt.Println("  peak of the child:", peak(h.Child())) })
		}
		return w
	}
	memories := make([]argon2.Memory, workers)
	ways := []way{
		{"idle", func(ctx context.Context) int { <-ctx.Done(); return 0 }, none},
		{"bare hash", func(ctx context.Context) int { return bare(ctx, memories, cost) }, none},
		through("pool, this process", nil),
		through("pool, child", self),
	}
	for _, p := range strings.Fields(os.Getenv("PRIORITIES")) {
		ways = append(ways, through("pool, child "+p, func() *exec.Cmd { c := self(); c.Env = append(c.Env, "PRIORITY="+p); return c }))
	}
	rates, late := make([][]float64, len(ways)), make([][]time.Duration, len(ways))
	perCPU := make([]struct {
		hashes int
		cpu    time.Duration
	}, len(ways))
	for round := range rounds + 1 {
		for i := range ways {
			if round%2 == 1 {
				i = len(ways) - 1 - i
			}
			ctx, cancel := context.WithTimeout(t.Context(), length)
			stop := make(chan struct{})
			var waits []time.Duration
			var ticker sync.WaitGroup
			ticker.Go(func() { waits = lookups(stop) })
			start, cpu := time.Now(), used(ways[i].child())
			n := ways[i].run(ctx)
			rate := float64(n) / time.Since(start).Seconds()
			cpu = used(ways[i].child()) - cpu
			close(stop)
			ticker.Wait()
			cancel()
			if round > 0 { // the first warms up
				rates[i] = append(rates[i], rate)
				perCPU[i].hashes += n
				perCPU[i].cpu += cpu
				late[i] = append(late[i], waits...)
			}
		}
	}
	fmt.Printf("%d rounds of %s, %d workers\n%-26s %8s %8s %8s %8s %8s %8s %8s %8s\n", rounds, length, workers, "", "best/s", "p95/s", "median/s", "CPU each", "p50", "p99", "p99.9", "most")
	for i, w := range ways {
		each := (perCPU[i].cpu / time.Duration(max(perCPU[i].hashes, 1))).Round(10 * time.Microsecond)
		slices.Sort(rates[i])
		slices.Sort(late[i])
		q := func(share float64) time.Duration {
			return late[i][int(share*float64(len(late[i])-1))].Round(time.Microsecond)
		}
		fmt.Printf("%-26s %8.1f %8.1f %8.1f %8s %8s %8s %8s %8s\n", w.name, rates[i][rounds-1], rates[i][rounds*95/100], rates[i][rounds/2], each,
			q(0.5), q(0.99), q(0.999), q(1))
	}
	fmt.Println("  peak of this process:", peak(os.Getpid()))
}

func flood(ctx context.Context, h *secret.Hasher, callers int) (hashes int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := h.Hash(context.Background(), secret.Who{}, secret.NewText(plain)); err == nil {
					mu.Lock()
					hashes++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return hashes
}

func bare(ctx context.Context, memories []argon2.Memory, c secret.Argon2) (hashes int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range memories {
		all.Go(func() {
			m := &memories[i]
			for ctx.Err() == nil {
				argon2.IDKey(m, []byte(plain), []byte("0123456789abcdef"), c.Passes, c.Memory, c.Threads, 32)
				mu.Lock()
				hashes++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return hashes
}

// lookups are 200 a second, with the garbage of a few thousand requests and a
// heap of some size, so that the collector has to run. It gives how long after
// its time each was done.
func lookups(stop chan struct{}) (late []time.Duration) {
	table := map[[32]byte]*[200]byte{}
	for i := range 50_000 {
		table[sha256.Sum256(strconv.AppendInt(nil, int64(i), 10))] = new([200]byte)
	}
	var keep [][]byte
	for due := time.Now(); ; due = due.Add(5 * time.Millisecond) {
		select {
		case <-stop:
			return late
		case <-time.After(time.Until(due)):
		}
		if table[sha256.Sum256([]byte("7"))] == nil {
			panic("not found")
		}
		keep = keep[:0]
		for range 50 {
			keep = append(keep, make([]byte, 8<<10))
		}
		late = append(late, max(time.Since(due), 0))
	}
}

func peak(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if hwm, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(hwm)
		}
	}
	return "unknown"
}

// used is the processor time of this process and of its child.
func used(child int) (sum time.Duration) {
	clocks := []int32{unix.CLOCK_PROCESS_CPUTIME_ID}
	if child > 0 {
		clocks = append(clocks, ^int32(child)<<3|2) // clock_getcpuclockid(3)
	}
	for _, clock := range clocks {
		var ts unix.Timespec
		if err := unix.ClockGettime(clock, &ts); err != nil {
			panic(err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum
}

// TestMeasureTheWay prints what the way to the child and back adds to a hash: the
// fastest of many calls, one at a time, which others on the machine delay least.
func TestMeasureTheWay(t *testing.T) {
	cost := secret.Argon2{Memory: 19456, Passes: 2, Threads: 1}
	h, _ := childPool(t, cost, 1, 16, self)
	m := new(argon2.Memory)
	ways := []func(){
		func() {
			argon2.IDKey(m, []byte(plain), []byte("0123456789abcdef"), cost.Passes, cost.Memory, cost.Threads, 32)
		},
		func() { hash(t, h, plain) },
	}
	took := make([][]time.Duration, len(ways))
	for range 500 {
		for i, run := range ways {
			start := time.Now()
			run()
			took[i] = append(took[i], time.Since(start))
		}
	}
	for i, name := range []string{"bare", "child"} {
		slices.Sort(took[i])
		fmt.Printf("%-6s fastest %s, 2 %% %s, median %s\n", name, took[i][0], took[i][10], took[i][250])
	}
}
