package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"propusk/internal/account"
	"propusk/internal/server"
)

// F17, S-58: a flood has so many refusals a second and no more; what is refused
// beyond that waits, a second at most, and nobody for nothing.
func TestRefusalsLeaveAtABeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r server.Refusals
		begun := time.Now()
		join := func() <-chan struct{} { return r.Join(time.Since(begun)) }
		waits := func(leave <-chan struct{}) time.Duration {
			at := time.Now()
			<-leave
			return time.Since(at)
		}
		soon := account.RefusalPace + server.BatchEvery
		for range 3 {
			if took := waits(join()); took < account.RefusalPace || took > soon {
				t.Errorf("a lone refusal leaves after %s, want %s to %s", took, account.RefusalPace, soon)
			}
		}
		const all = 500 * server.BatchSize // 2.5 s of them
		leaving := make([]<-chan struct{}, all)
		for i := range leaving {
			leaving[i] = join()
		}
		at := time.Now()
		last := time.Duration(0)
		by := map[time.Duration]int{}
		for i, leave := range leaving {
			<-leave
			last = time.Since(at)
			by[last]++
			if want := soon + time.Duration(i/server.BatchSize)*server.BatchEvery; last > want {
				t.Fatalf("refusal %d leaves after %s, want %s at most", i, last, want)
			}
		}
		longest := soon + time.Second
		if last > longest {
			t.Errorf("the last leaves after %s, want %s at most", last, longest)
		}
		for when, n := range by {
			if n > server.BatchSize && when < time.Second {
				t.Errorf("%d leave together after %s", n, when)
			}
		}
		time.Sleep(10 * time.Second)
		if took := waits(join()); took > soon {
			t.Errorf("after the flood a refusal leaves after %s, want %s at most", took, soon)
		}
	})
}
