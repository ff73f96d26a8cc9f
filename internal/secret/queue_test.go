package secret_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"propusk/internal/secret"
)

func from(wide, network, account int) secret.Who {
	return secret.Who{Wide: fmt.Sprint("w", wide), Network: fmt.Sprint("n", wide, ".", network), Account: fmt.Sprint("a", account)}
}

func known(w secret.Who) secret.Who {
	w.Known = true
	return w
}

// fill has who ask for places until there is none, and tells how many it got.
func fill(q *secret.Queue, who func(i int) secret.Who) (n int, refusal string) {
	for {
		w := who(n)
		if refusal = q.Refusal(w); refusal != "" {
			return n, refusal
		}
		q.Push(w)
		n++
	}
}

// checkQueue does with a queue what ops say, two bytes an operation, and holds it
// against what it promises.
func checkQueue(t *testing.T, ops []byte) {
	t.Helper()
	const places = 32
	q := secret.NewQueue(places)
	var waiting []*secret.Ticket
	whoIs := map[*secret.Ticket]secret.Who{}
	order := map[secret.Who][]*secret.Ticket{} // of arrival
	late := map[*secret.Ticket]int{}           // how many may still be called before it
	take := func(ticket *secret.Ticket) {
		i := slices.Index(waiting, ticket)
		if i < 0 {
			t.Fatal("a ticket came that does not wait")
		}
		waiting = slices.Delete(waiting, i, i+1)
		who := whoIs[ticket]
		order[who] = slices.DeleteFunc(order[who], func(o *secret.Ticket) bool { return o == ticket })
	}
	for ; len(ops) >= 2; ops = ops[2:] {
		a, b := ops[0], int(ops[1])
		switch {
		case a < 150:
			who := from(b>>6, b>>4&3, b&15)
			if who.Known = a&1 == 1; b == 0 {
				who = secret.Who{}
			}
			why := q.Refusal(who)
			if len(waiting) == 0 && why != "" {
				t.Fatalf("an empty queue refuses: %s", why)
			}
			if why != "" {
				continue
			}
			if before := q.Before(who); before > len(waiting) {
				t.Fatalf("%d of %d are before it", before, len(waiting))
			}
			bound := q.Before(who)
			ticket := q.Push(who)
			waiting = append(waiting, ticket)
			whoIs[ticket] = who
			order[who] = append(order[who], ticket)
			clear(late) // whoever comes may be called before others
			late[ticket] = bound
		case a < 220:
			ticket := q.Pop()
			if (ticket == nil) != (len(waiting) == 0) {
				t.Fatalf("%d wait, and the next is %v", len(waiting), ticket)
			}
			if ticket == nil {
				continue
			}
			if order[whoIs[ticket]][0] != ticket {
				t.Fatal("in an account, one was called before one that came earlier")
			}
			take(ticket)
			delete(late, ticket)
			for other, n := range late {
				if n == 0 {
					t.Fatal("more were called before it than Before said")
				}
				late[other] = n - 1
			}
		case len(waiting) > 0:
			ticket := waiting[b%len(waiting)]
			q.Remove(ticket)
			take(ticket)
			delete(late, ticket)
		}
		if q.Len() != len(waiting) || q.Len() > places {
			t.Fatalf("%d wait, %d of %d places are taken", len(waiting), q.Len(), places)
		}
	}
	for range waiting {
		take(q.Pop())
	}
	if q.Pop() != nil || q.Len() != 0 || q.Groups() != 0 {
		t.Fatalf("an empty queue holds %d tickets, %d groups", q.Len(), q.Groups())
	}
}

// operations are the same ones in each run.
func operations(seed, n int) []byte {
	var ops []byte
	for i := 0; len(ops) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, seed, " ", i))
		ops = append(ops, sum[:]...)
	}
	return ops
}

func TestQueueLosesNobodyAndCallsNobodyTwice(t *testing.T) {
	for seed := range 400 {
		checkQueue(t, operations(seed, 2000))
	}
}

func FuzzQueue(f *testing.F) {
	f.Add(operations(-1, 500))
	f.Fuzz(checkQueue)
}

func TestTurnsGoAroundAtEveryLevel(t *testing.T) {
	q := secret.NewQueue(1000)
	for i := range 60 { // a flood, in front of all others
		q.Push(from(0, 0, i))
	}
	for i := range 60 {
		q.Push(from(0, 1, i))
	}
	q.Push(from(1, 0, 1))
	q.Push(from(1, 1, 2))
	q.Push(from(2, 0, 3))
	got := map[string]int{}
	for range 9 {
		who := q.Pop().Who()
		got[who.Wide]++
	}
	if got["w0"] != 6 || got["w1"] != 2 || got["w2"] != 1 { // the others had no more
		t.Errorf("of nine turns, the wide networks had %v", got)
	}
	got = map[string]int{}
	for range 20 {
		got[q.Pop().Who().Network]++
	}
	if got["n0.0"] != 10 || got["n0.1"] != 10 {
		t.Errorf("of 20 turns, the networks of one wide one had %v", got)
	}
}

func TestKnownDevicesGoFirstButNotAlone(t *testing.T) {
	q := secret.NewQueue(1000)
	for i := range 100 {
		q.Push(from(i, 0, i))
		q.Push(known(from(i, 0, i)))
	}
	other := 0
	for i := range 50 {
		who := q.Pop().Who()
		if !who.Known {
			other++
		}
		if want := (i + 1) / 5; other != want {
			t.Fatalf("of %d turns, others had %d, want %d", i+1, other, want)
		}
	}
}

// One prefix takes a third of what its lane may have; whoever has nothing in the
// queue finds a place all the same.
func TestWhoFloodsLeavesPlaces(t *testing.T) {
	q := secret.NewQueue(256)
	n, why := fill(q, func(i int) secret.Who { return from(0, 0, i) })
	if n < 70 || n > 86 || why != "network" {
		t.Errorf("one network got %d places of 256, then: %s", n, why)
	}
	if why := q.Refusal(from(0, 1, 1)); why != "" {
		t.Errorf("its neighbour: %s", why)
	}
	m, why := fill(q, func(i int) secret.Who { return from(0, 1+i%200, i) })
	if n+m < 105 || n+m > 128 || why != "network" {
		t.Errorf("one wide network got %d places of 256, then: %s", n+m, why)
	}
	for i := range 30 { // thirty quiet networks
		if why := q.Refusal(from(1+i, 0, i)); why != "" {
			t.Errorf("quiet network %d: %s", i, why)
		}
		if before := q.Before(from(1+i, 0, i)); before > 1+i {
			t.Errorf("%d are before quiet network %d", before, i)
		}
		q.Push(from(1+i, 0, i))
	}
	n, why = fill(q, func(i int) secret.Who { return from(100+i, 0, i) }) // the whole internet
	if why != "full" || q.Len() != 224 {
		t.Errorf("thousands of networks got %d places, then: %s; %d wait", n, why, q.Len())
	}
	n, _ = fill(q, func(i int) secret.Who { return known(from(i, 0, i)) })
	if n != 32 {
		t.Errorf("for known devices %d places were left, want 32", n)
	}
	if why := q.Refusal(secret.Who{}); why != "full" {
		t.Errorf("an operator, where every place is taken: %q", why)
	}
}

func TestKnownDevicesLeaveOthersPlaces(t *testing.T) {
	q := secret.NewQueue(256)
	if n, _ := fill(q, func(i int) secret.Who { return known(from(i, 0, i)) }); n != 224 {
		t.Errorf("they got %d of 256", n)
	}
	if why := q.Refusal(from(0, 0, 0)); why != "" {
		t.Errorf("another: %s", why)
	}
}

func TestFewPasswordsOfOneAccountWait(t *testing.T) {
	q := secret.NewQueue(256)
	n, why := fill(q, func(i int) secret.Who { return from(i, i, 7) }) // from all over the world
	if n != 8 || why != "account" {
		t.Errorf("%d, then: %s", n, why)
	}
	if why := q.Refusal(known(from(1, 1, 7))); why != "" {
		t.Errorf("its owner on a known device: %s", why)
	}
	q.Pop()
	if why := q.Refusal(from(9, 9, 7)); why != "" {
		t.Errorf("after one was called: %s", why)
	}
}

func TestOperatorIsRefusedOnlyWhereThereIsNoPlace(t *testing.T) {
	q := secret.NewQueue(16)
	if n, why := fill(q, func(int) secret.Who { return secret.Who{} }); n != 16 || why != "full" {
		t.Errorf("%d of 16 places, then: %s", n, why)
	}
	if n, why := fill(secret.NewQueue(0), func(int) secret.Who { return secret.Who{} }); n != 0 || why != "full" {
		t.Errorf("%d of no places, then: %s", n, why)
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, waiting := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			q := secret.NewQueue(4 * waiting)
			for i := range waiting {
				q.Push(from(i%97, i%13, i))
			}
			who := from(3, 3, 3)
			for b.Loop() {
				_ = q.Refusal(who)
				_ = q.Before(who)
				q.Push(who)
				q.Pop()
			}
		})
	}
}

// S-58: others who come later go before what one network has piled up. How long that
// takes shows in the turns that it had, and not in how many wait.
func TestWaitIsThatOfTheTurnsWhichANetworkHad(t *testing.T) {
	q, now := secret.NewQueue(256), time.Unix(0, 0)
	flooder := func(i int) secret.Who { return from(0, i, i) }
	for i := range 50 {
		q.Push(flooder(i))
	}
	if wait := q.Wait(flooder(50)); wait != 0 {
		t.Errorf("without a turn it has a wait of %s", wait)
	}
	quiet := 0
	for range 100 { // a hash takes 10 ms, and somebody else comes for two of three
		for range 2 {
			quiet++
			q.Push(from(quiet, 0, quiet))
		}
		for range 3 {
			now = now.Add(10 * time.Millisecond)
			if q.PopAt(now).Who().Wide == flooder(0).Wide {
				q.Push(flooder(50))
			}
		}
	}
	if got, want := q.Wait(flooder(50)), 51*30*time.Millisecond; got < want*3/4 || got > want*5/4 {
		t.Errorf("the wait behind 50 who have each third turn is %s, want %s", got, want)
	}
	newcomer := from(quiet+1, 0, 1)
	if got, want := q.Wait(newcomer), time.Duration(q.Before(newcomer)+1)*10*time.Millisecond; got != want || got > 50*time.Millisecond {
		t.Errorf("a network with nothing in the queue has a wait of %s, want %s", got, want)
	}
	for q.Pop() != nil {
		now = now.Add(time.Hour)
	}
	if wait := q.Wait(flooder(0)); wait != 0 {
		t.Errorf("a flood that is over leaves a wait of %s", wait)
	}
}
