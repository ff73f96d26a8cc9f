package secret_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"propusk/internal/secret"
)

// retryAfter is what a refusal says; it fails the test if err is none.
func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	var busy *secret.BusyError
	if !errors.Is(err, secret.ErrBusy) || !errors.As(err, &busy) {
		t.Fatalf("%v is no refusal", err)
	}
	if busy.RetryAfter < time.Second || busy.RetryAfter > time.Minute {
		t.Errorf("come back in %s", busy.RetryAfter)
	}
	return busy.RetryAfter
}

// waitAs has callers wait, each for a hash, and gives a function that waits for
// them all.
func waitAs(t *testing.T, h *secret.Hasher, n int, who func(i int) secret.Who) (all *sync.WaitGroup) {
	t.Helper()
	before, _ := h.Stats()
	all = new(sync.WaitGroup)
	for i := range n {
		all.Go(func() {
			if _, err := h.Hash(context.WithoutCancel(t.Context()), who(i), secret.NewText(plain)); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "they wait", func() bool { now, _ := h.Stats(); return now == before+int64(n) })
	return all
}

func TestPaceIsThatOfTheSlowestHash(t *testing.T) {
	h := pool(t, secret.Argon2{Memory: 19456, Passes: 2, Threads: 1}, 1, 0)
	if p := h.Pace(); p < 5*time.Millisecond || p > 50*time.Millisecond {
		t.Errorf("before the first hash: %s", p)
	}
	for range 20 {
		h.Believe(10 * time.Millisecond)
	}
	if p := h.Pace(); p != 10*time.Millisecond {
		t.Errorf("of hashes of 10ms: %s", p)
	}
	for range 100 { // it follows
		h.Believe(20 * time.Millisecond)
	}
	if p := h.Pace(); p < 19*time.Millisecond || p > 20*time.Millisecond {
		t.Errorf("after many hashes of 20ms: %s", p)
	}
	start := time.Now()
	verify(t, h, plain, slow()) // of other parameters
	took := time.Since(start)
	if p := h.Pace(); p < took/2 || p > took {
		t.Errorf("with one that took %s: %s", took, p)
	}
	verify(t, h, plain, "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$z0/5gcun0AHacQNl75gROw")
	if p := h.Pace(); p < took/2 || p > took {
		t.Errorf("with a fast one too: %s", p)
	}
}

func TestOneCostlyHashOfOldDoesNotSlowThePaceForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pool(t, cheapest, 1, 0)
		h.Believe(time.Millisecond)
		h.BelieveOf(secret.Argon2{Memory: 1 << 20, Passes: 9, Threads: 1}, 5*time.Second)
		if p := h.Pace(); p != 5*time.Second {
			t.Errorf("at first: %s", p)
		}
		time.Sleep(11 * time.Minute)
		if p := h.Pace(); p != time.Millisecond {
			t.Errorf("later: %s", p)
		}
	})
}

func TestRoomTellsBeforeAnythingIsDone(t *testing.T) {
	h := pool(t, cheapest, 1, 16)
	attacker := func(i int) secret.Who { return from(0, 0, i) }
	for i := range 100 { // while a worker is idle, everybody is welcome
		if err := h.Room(attacker(i)); err != nil {
			t.Fatal(err)
		}
	}
	wait := busy(t, h, 1)
	all := waitAs(t, h, 5, attacker)
	retryAfter(t, h.Room(attacker(7)))
	if err := h.Room(from(1, 0, 7)); err != nil {
		t.Errorf("another network: %v", err)
	}
	if err := h.Room(secret.Who{}); err != nil {
		t.Errorf("an operator: %v", err)
	}
	if f := h.Figures(); f.Refused["network"] != 1 || f.WaitingUnknown != 5 || f.WaitingKnown != 0 || f.Hashed != 1 {
		t.Errorf("figures: %+v", f)
	}
	wait()
	all.Wait()
}

// What cannot be begun in time is not begun, and this is told at once.
func TestWhoWouldWaitTooLongIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := secret.NewHasher(secret.HasherOptions{Cost: cheapest, Workers: 1, Queue: 100, MaxWait: 3 * time.Second})
		defer h.Close()
		h.Believe(time.Second)
		h.Occupy()
		ask := func(ctx context.Context) error {
			_, err := h.Hash(ctx, secret.Who{}, secret.NewText(plain))
			return err
		}
		start := time.Now()
		inTime := func(d time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), d)
		}
		short, cancel := inTime(1900 * time.Millisecond) // a second to wait, a second to hash
		defer cancel()
		retryAfter(t, ask(short))
		var all sync.WaitGroup
		for range 3 { // their turns come after 1, 2 and 3 s
			all.Go(func() { retryAfter(t, ask(t.Context())) }) // but nobody is called
			synctest.Wait()
		}
		if d := retryAfter(t, ask(t.Context())); d != 4*time.Second {
			t.Errorf("come back in %s", d)
		}
		retryAfter(t, h.Room(secret.Who{}))
		if took := time.Since(start); took != 0 {
			t.Errorf("refusals took %s", took)
		}
		all.Wait() // the estimate was wrong, but they do not wait for longer either
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("they waited for %s", took)
		}
		if f := h.Figures(); f.Refused["wait"] != 6 || f.WaitingKnown != 0 || f.Hashed != 1 {
			t.Errorf("figures: %+v", f)
		}
		h.Vacate()
		if err := ask(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever leaves gives up his place at once, and a worker is not lost when he is
// called at that very moment.
func TestWhoLeavesTheQueueLosesNoWorker(t *testing.T) {
	h := pool(t, cheapest, 2, 8)
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%97)*10*time.Microsecond)
			defer cancel()
			if _, err := h.Hash(ctx, from(i%5, i%7, i%11), secret.NewText(plain)); err != nil && !errors.Is(err, secret.ErrBusy) {
				t.Error(err)
			}
		})
		if i%16 == 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	all.Wait()
	if f := h.Figures(); f.WaitingKnown != 0 || f.WaitingUnknown != 0 || uint64(f.Hashed) != f.WaitCount {
		t.Errorf("figures: %+v", f)
	}
	h.Occupy() // both workers are there
	h.Occupy()
}

// flooded is a pool that one wide network floods with so many callers at a time.
func flooded(t *testing.T, who func(i int) secret.Who) (h *secret.Hasher, stop func()) {
	t.Helper()
	h = pool(t, secret.Argon2{Memory: 4 << 10, Passes: 1, Threads: 1}, 2, 64)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			for n := i; ctx.Err() == nil; n += 200 {
				if _, err := h.Hash(ctx, who(n), secret.NewText(plain)); errors.Is(err, secret.ErrBusy) {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	until(t, "the flood is there", func() bool { return h.Figures().Refused["network"] > 0 })
	return h, func() { cancel(); all.Wait() }
}

// S-58: of two networks, one of which floods with hundreds of callers, either
// gets its half; a known device does not even wait that long.
func TestFloodLeavesOthersTheirShare(t *testing.T) {
	h, stop := flooded(t, func(i int) secret.Who { return from(0, i%50, i%1000) })
	defer stop()
	for name, who := range map[string]secret.Who{
		"elsewhere": from(1, 0, 5), "a known device": known(from(2, 0, 5)), "a known device in the midst": known(from(0, 3, 5)), "an operator": {},
	} {
		_, before := h.Stats()
		for i := range 50 {
			if _, err := h.Hash(t.Context(), who, secret.NewText(plain)); err != nil {
				t.Errorf("%s, number %d: %v", name, i, err)
			}
		}
		_, after := h.Stats()
		if n := after - before; n > 50*5 { // one turn of the flood before each, and what the two workers are at
			t.Errorf("%s: for 50 hashes, %d were made", name, n)
		}
	}
}

func TestRefusalsComeAtOnceInAFlood(t *testing.T) {
	h, stop := flooded(t, func(i int) secret.Who { return from(0, i%50, i%1000) })
	defer stop()
	worst := time.Duration(0)
	refused := 0
	for i := range 300 {
		start := time.Now()
		if h.Room(from(0, i%50, i)) != nil {
			refused++
			worst = max(worst, time.Since(start))
		}
	}
	if refused == 0 || worst > 50*time.Millisecond {
		t.Errorf("%d were refused, within %s", refused, worst)
	}
}
