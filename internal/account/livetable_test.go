package account_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"propusk/internal/account"
)

// roll gives a number below n.
func roll(n int) int {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return int(binary.LittleEndian.Uint64(b[:]) % uint64(n))
}

// The table in memory does what two maps would do, whatever is done to it, also
// where many tokens share a bucket, a user or a place that was given back.
func TestTableOfSessionsHoldsWhatWasPutIntoIt(t *testing.T) {
	t.Parallel()
	type session struct{ user, mark int }
	table, model := new(account.Table), map[int]session{}
	check := func(step int) {
		t.Helper()
		if table.Size() != len(model) {
			t.Fatalf("step %d: %d sessions, want %d", step, table.Size(), len(model))
		}
		of := map[int][]int{}
		for token, s := range model {
			if got := table.Get(token); got != s.mark {
				t.Fatalf("step %d: token %d has %d, want %d", step, token, got, s.mark)
			}
			of[s.user] = append(of[s.user], s.mark)
		}
		for user := range 50 {
			got := table.OfUser(user)
			slices.Sort(got)
			slices.Sort(of[user])
			if !slices.Equal(got, of[user]) {
				t.Fatalf("step %d: user %d has %v, want %v", step, user, got, of[user])
			}
		}
	}
	for step := 1; step <= 60_000; step++ {
		token, tokens := roll(3000), len(model)
		switch n := roll(100); {
		case n < 60:
			s := session{user: token % 50, mark: step} // a token never changes its owner
			table.Put(token, s.user, s.mark)
			model[token] = s
		case n < 97:
			table.Drop(token)
			delete(model, token)
		case n == 97 && tokens > 0:
			table.DropAny()
			for token := range model {
				if table.Get(token) == 0 {
					delete(model, token)
				}
			}
			if len(model) != tokens-1 {
				t.Fatalf("step %d: %d sessions after %d less one", step, len(model), tokens)
			}
		case n == 98 && step%50 == 0:
			left := table.Sweep()
			maps.DeleteFunc(model, func(_ int, s session) bool { return s.mark%2 != 0 })
			if left != len(model) {
				t.Fatalf("step %d: %d left, want %d", step, left, len(model))
			}
		}
		if step%5000 == 0 {
			check(step)
		}
	}
	for token := range model {
		table.Drop(token)
	}
	model = nil
	check(0)
}

// What is put and looked for at the same time neither gets lost nor mixed up
// (V44, V64).
func TestTableOfSessionsIsSharedSafely(t *testing.T) {
	t.Parallel()
	table := new(account.Table)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 3000 {
				token := worker*10_000 + i
				table.Put(token, worker, token+1)
				if got := table.Get(token); got != token+1 {
					t.Errorf("token %d has %d", token, got)
				}
				if i%3 == 0 {
					table.Drop(token)
					if got := table.Get(token); got != 0 {
						t.Errorf("token %d has %d after it was dropped", token, got)
					}
				}
				if i%500 == 0 {
					_ = table.OfUser((worker + 1) % 8)
				}
			}
		})
	}
	wg.Wait()
	if table.Size() != 8*2000 {
		t.Error(fmt.Errorf("%d sessions, want %d", table.Size(), 8*2000))
	}
}
