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
	through := func(command func() *exec.Cmd) func(context.Context) int {
		h, _ := childPool(t, cost, workers, 256, command)
		if command != nil {
			t.Cleanup(func() { fmt.Println("  peak of the child:", peak(h.Child())) })
		}
		return func(ctx context.Context) int { return flood(ctx, h, 8*workers) }
	}
	ways := []struct {
		name string
		run  func(context.Context) int
	}{
		{"idle", func(ctx context.Context) int { <-ctx.Done(); return 0 }},
		{"bare hash", func(ctx context.Context) int { return bare(ctx, workers, cost) }},
		{"pool, this process", through(nil)},
		{"pool, child", through(self)},
	}
	for _, p := range strings.Fields(os.Getenv("PRIORITIES")) {
		ways = append(ways, struct {
			name string
			run  func(context.Context) int
		}{"pool, child " + p, through(func() *exec.Cmd { c := self(); c.Env = append(c.Env, "PRIORITY="+p); return c })})
	}
	rates, late := make([][]float64, len(ways)), make([][]time.Duration, len(ways))
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
			start := time.Now()
			n := ways[i].run(ctx)
			rate := float64(n) / time.Since(start).Seconds()
			close(stop)
			ticker.Wait()
			cancel()
			if round > 0 { // the first warms up
				rates[i] = append(rates[i], rate)
				late[i] = append(late[i], waits...)
			}
		}
	}
	fmt.Printf("%d rounds of %s, %d workers\n%-26s %8s %8s %8s %8s %8s %8s %8s %8s\n", rounds, length, workers, "", "best/s", "p95/s", "median/s", "of bare", "p50", "p99", "p99.9", "most")
	for i, w := range ways {
		ratio := make([]float64, rounds)
		for r := range ratio {
			ratio[r] = rates[i][r] / rates[1][r]
		}
		slices.Sort(ratio)
		slices.Sort(rates[i])
		slices.Sort(late[i])
		q := func(share float64) time.Duration {
			return late[i][int(share*float64(len(late[i])-1))].Round(time.Microsecond)
		}
		fmt.Printf("%-26s %8.1f %8.1f %8.1f %8.3f %8s %8s %8s %8s\n", w.name, rates[i][rounds-1], rates[i][rounds*95/100], rates[i][rounds/2], ratio[rounds/2],
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

func bare(ctx context.Context, goroutines int, c secret.Argon2) (hashes int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			m := new(argon2.Memory)
			defer m.Release()
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
