//go:build measure && linux

package argon2_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"propusk/internal/secret/argon2"
)

// TestMeasure prints what each way of hashing makes of one and of two cores, at
// m=19456, t=2, p=1. On a machine that others use too, only two things can be
// compared: the best of many short rounds, and the ratio to x/crypto's figure of
// the same round. CPU time leaves out what the others took.
//
//	ROUNDS=100 go test -tags measure -run TestMeasure -v ./internal/secret/argon2
func TestMeasure(t *testing.T) {
	rounds := 60
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		rounds = n
	}
	in := argon2.Input{Password: []byte("password"), Salt: []byte("saltsaltsaltsalt"), Passes: 2, Memory: 19456, Lanes: 1, KeySize: 32}
	type way struct {
		name string
		hash func(m *argon2.Memory)
	}
	ways := []way{{"x/crypto", func(*argon2.Memory) { xKey(in) }}}
	for name, compress := range argon2.Compressors() {
		ways = append(ways,
			way{name + ", memory reused", func(m *argon2.Memory) { argon2.Derive(m, compress, in) }},
			way{name + ", and wiped each time", func(m *argon2.Memory) { argon2.Derive(m, compress, in); m.Wipe() }},
			way{name + ", fresh memory", func(m *argon2.Memory) { m.Release(); argon2.Derive(m, compress, in) }},
		)
	}
	slices.SortFunc(ways[1:], func(a, b way) int { return slices.Compare([]byte(a.name), []byte(b.name)) })
	fmt.Printf("%-34s %8s %8s %8s %8s %10s %22s\n", "", "best/s", "median/s", "best/s", "median/s", "of x/crypto", "5 % … 95 % of rounds")
	fmt.Printf("%-34s %8s %8s %8s %8s %10s\n", "", "wall", "wall", "CPU", "CPU", "CPU, median")
	for threads := 1; threads <= 2; threads++ {
		const hashes = 3 // of a thread in a round
		wall, cpu, ratio := make([][]float64, len(ways)), make([][]float64, len(ways)), make([][]float64, len(ways))
		memories := []*argon2.Memory{new(argon2.Memory), new(argon2.Memory)}
		for round := range rounds + 1 {
			spent := make([]float64, len(ways))
			for k := range ways {
				i := k
				if round%2 == 1 {
					i = len(ways) - 1 - k
				}
				started, cpuBefore := time.Now(), cpuTime()
				var all sync.WaitGroup
				for thread := range threads {
					all.Go(func() {
						runtime.LockOSThread()
						for range hashes {
							ways[i].hash(memories[thread])
						}
					})
				}
				all.Wait()
				spent[i] = (cpuTime() - cpuBefore).Seconds()
				if round > 0 {
					n := float64(threads * hashes)
					wall[i] = append(wall[i], n/time.Since(started).Seconds())
					cpu[i] = append(cpu[i], n/spent[i])
				}
			}
			for i := range ways {
				if round > 0 {
					ratio[i] = append(ratio[i], spent[0]/spent[i])
				}
			}
		}
		fmt.Printf("%d thread(s), %d rounds\n", threads, rounds)
		for i, w := range ways {
			for _, s := range [][]float64{wall[i], cpu[i], ratio[i]} {
				slices.Sort(s)
			}
			fmt.Printf("  %-32s %8.0f %8.0f %8.0f %8.0f %10.2f %14.2f … %.2f\n", w.name, at(wall[i], 1), at(wall[i], 0.5),
				at(cpu[i], 1), at(cpu[i], 0.5), at(ratio[i], 0.5), at(ratio[i], 0.05), at(ratio[i], 0.95))
		}
		for _, m := range memories {
			m.Release()
		}
	}
}

func at(sorted []float64, share float64) float64 { return sorted[int(share*float64(len(sorted)-1))] }

func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
