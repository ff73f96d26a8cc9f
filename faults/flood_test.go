//go:build faults

package faults_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The flood of P2 and F17.
const (
	floodConns   = 256
	floodSources = 4000 // addresses, all of one /16
	checkRate    = 200
	knownRate    = 20
	sentries     = 20  // users whose tokens are checked
	knownPeople  = 100 // who log in from devices that they have used before
	otherPeople  = 150
	victims      = 300 // whose names the second flood tries
)

type floodOrders struct {
	Addr    string
	Seconds float64
	Conns   int
	Names   []string // none: names that nobody has
}

// floodReport is what the attacker saw.
type floodReport struct {
	Counts   map[int]int // by status; 0 is no answer
	Refusals []time.Duration
	Others   []time.Duration
	Success  int // a wrong password that was taken for right
}

// playFlooder is a closed loop of wrong logins. The names are as the passwords:
// never the same ones twice in a row, from never the same address.
func playFlooder(text []byte) (any, error) {
	var o floodOrders
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, err
	}
	r := floodReport{Counts: map[int]int{}}
	var mu sync.Mutex
	var n atomic.Int64
	end := time.Now().Add(time.Duration(o.Seconds * float64(time.Second)))
	var wg sync.WaitGroup
	for range o.Conns {
		wg.Go(func() {
			l := line{addr: o.Addr}
			defer l.close()
			for time.Now().Before(end) {
				i := int(n.Add(1))
				source := i * 7919 % floodSources
				name := fmt.Sprintf("nobody%d", i)
				if len(o.Names) > 0 {
					name = o.Names[i%len(o.Names)]
				}
				a := l.do(login(name, fmt.Sprintf("wrong-Guess-%d-of-many", i), from(fmt.Sprintf("10.66.%d.%d", source>>8, source&255))))
				mu.Lock()
				r.Counts[a.status]++
				switch {
				case a.status == 429 || a.status == 503:
					r.Refusals = append(r.Refusals, a.took)
				case a.status == 200:
					r.Success++
				default:
					r.Others = append(r.Others, a.took)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return r, nil
}

// P2, F17, S-58, V54. A flood of wrong logins leaves checks fast and right, memory bounded
// and the door open to others.
func TestLoginFlood(t *testing.T) {
	p := serve(t, "", "--trusted-proxies", "127.0.0.0/8,::1")
	f := &flood{p: p}
	f.enrol(t)
	for _, variant := range []struct {
		name  string
		names []string
	}{
		{"names that nobody has", nil},
		// An attacker takes those that he wants to keep out first.
		{"names of people, those on known devices among them", f.attacked},
	} {
		t.Run(strings.ReplaceAll(variant.name, " ", "_"), func(t *testing.T) {
			v := begin(t, "P2, F17: login flood with "+variant.name)
			f.run(t, v, variant.names)
			p.noPanic(t, v)
		})
	}
}

type flood struct {
	p                     *program
	sentry, known, others []person
	attacked              []string
	capacity              float64 // logins a second
}

func (f *flood) enrol(t *testing.T) {
	addr := f.p.addr
	f.sentry = enrol(t, addr, "sentry", sentries, true, nil)
	f.known = enrol(t, addr, "known", knownPeople, true, func(i int) string { return from(knownAddress(i)) })
	f.others = enrol(t, addr, "other", otherPeople, false, nil)
	for _, p := range append(enrol(t, addr, "victim", victims, false, nil), f.known...) {
		f.attacked = append(f.attacked, p.name)
	}
	var n atomic.Int64
	var wg sync.WaitGroup
	const span = 3 * time.Second
	begun := time.Now()
	for range 4 {
		wg.Go(func() {
			l := line{addr: addr}
			defer l.close()
			for time.Since(begun) < span {
				i := int(n.Add(1))
				if a := l.do(f.otherLogin(i)); a.status != 200 {
					t.Errorf("a right login of an idle program: %s", a)
					return
				}
			}
		})
	}
	wg.Wait()
	f.capacity = float64(n.Load()) / time.Since(begun).Seconds()
}

func knownAddress(i int) string { return fmt.Sprintf("192.0.2.%d", i+1) }

// otherLogin is a right one from nowhere in particular: another network each.
func (f *flood) otherLogin(i int) string {
	p := f.others[i%len(f.others)]
	return login(p.name, password, from(fmt.Sprintf("%d.%d.%d.9", 20+i%100, i/7%256, i%251)))
}

func (f *flood) knownLogin(i int) string {
	k := i % len(f.known)
	return login(f.known[k].name, password, append(f.known[k].device, from(knownAddress(k)))...)
}

func (f *flood) check(i int) string {
	return ask("GET", "/auth/session", "", bearer(f.sentry[i%len(f.sentry)].token), from("198.51.100.7"))
}

// rightCheck: the sentries' ids are told apart by the loop only with effort, and
// any of them shows that a session was found.
func (f *flood) rightCheck(a answer) bool {
	if a.err != nil || a.status != 200 {
		return false
	}
	id, _ := data(a.body)
	for _, p := range f.sentry {
		if p.id == id {
			return true
		}
	}
	return false
}

func isSuccess(a answer) bool { return a.holds(200, `"token":"`) }

// run is one flood of the program, between two times of quiet.
func (f *flood) run(t *testing.T, v *verdicts, names []string) {
	long := lasting(t, 60*time.Second)
	var w *watch
	var hashes float64
	r := f.observe(f.p.addr, lasting(t, 10*time.Second), long, 8*time.Second, func() func() floodReport {
		hashes = f.p.metric(t, "propusk_password_hashes_total")
		pid, report := cast(t.Context(), t, "flooder", floodOrders{Addr: f.p.addr, Seconds: long.Seconds(), Conns: floodConns, Names: names}, long+2*patience)
		w = watchTree(f.p.pid(), pid)
		begun := time.Now()
		return func() (attacker floodReport) {
			hashes = (f.p.metric(t, "propusk_password_hashes_total") - hashes) / time.Since(begun).Seconds()
			report(&attacker)
			return attacker
		}
	})
	rss, pss := w.end(v)
	v.note("capacity: right logins a second, 4 connections", "%.0f", f.capacity)
	v.note("hashes a second in the flood", "%.0f", hashes)
	f.judge(v, r)
	v.note("peak memory of the process tree, added up", "%.1f MiB", mib(rss))
	v.atMost("peak memory of the process tree", mib(pss), 256, " MiB")
}

// floodRun is what was answered.
type floodRun struct {
	idle, during, after []answer // checks
	late                []time.Duration
	known, others       []answer
	attacker            floodReport
	over                time.Time
}

// observe asks from before the flood until after it. attack begins it, and the
// function that attack gives waits for its end.
func (f *flood) observe(addr string, calm, long, rest time.Duration, attack func() func() floodReport) (r floodRun) {
	r.idle = steady(addr, checkRate, 16, f.check).lasting(calm)
	report := attack()
	checks := steady(addr, checkRate, 16, f.check)
	known := steady(addr, knownRate, 16, f.knownLogin)
	others := steady(addr, f.capacity/2, 16, f.otherLogin)
	time.Sleep(long)
	r.over = time.Now()
	r.known, r.others = known.end(), others.end()
	r.attacker = report()
	time.Sleep(rest)
	r.during, r.after = split(checks.end(), r.over)
	r.late = checks.late
	return r
}

// judge holds P2 and F17 against it.
func (f *flood) judge(v *verdicts, r floodRun) {
	base := quantile(times(r.idle), 0.99)
	limit := max(2*base, 5*time.Millisecond)
	v.note("attacker's answers by status", "%v", r.attacker.Counts)
	v.note("attacker's refusals (429, 503)", "%s", spread(r.attacker.Refusals))
	v.note("attacker's other answers", "%s", spread(r.attacker.Others))
	v.note("checks, idle", "%s", spread(times(r.idle)))
	v.note("checks in the flood", "%s", spread(times(r.during)))
	v.note("of which this client's own lateness", "%s", spread(r.late))
	v.within("p99 of checks in the flood: twice idle, or 5 ms", quantile(times(r.during), 0.99), limit)
	wrong, complaint := unlike(slices.Concat(r.idle, r.during, r.after), f.rightCheck)
	v.none("wrong answers to checks", wrong, complaint)
	v.none("wrong passwords that were taken", r.attacker.Success, "")
	v.none("attacker's requests without an answer", r.attacker.Counts[0], "")
	v.within("p99 of refusals", quantile(r.attacker.Refusals, 0.99), 50*time.Millisecond)
	v.note("known devices' logins", "%s, %s", tally(r.known), spread(times(r.known)))
	v.note("others' logins", "%s, %s", tally(r.others), spread(times(r.others)))
	v.atLeast("right logins from known devices", share(r.known), 95, " %")
	v.atLeast(fmt.Sprintf("right logins from elsewhere, of %.0f/s offered", f.capacity/2), share(r.others), 80, " %")
	v.within("checks at idle latency again after", recovery(r.after, r.over, limit), 5*time.Second)
}

func split(answers []answer, at time.Time) (before, after []answer) {
	for _, a := range answers {
		if a.sent.Before(at) {
			before = append(before, a)
		} else {
			after = append(after, a)
		}
	}
	return before, after
}

func share(answers []answer) float64 {
	bad, _ := unlike(answers, isSuccess)
	return 100 * float64(len(answers)-bad) / float64(max(1, len(answers)))
}

// recovery is how long after an instant the first second begins in which the p99
// is what it should be; an hour where there is none.
func recovery(answers []answer, from time.Time, limit time.Duration) time.Duration {
	for shift := time.Duration(0); shift < time.Minute; shift += 100 * time.Millisecond {
		_, rest := split(answers, from.Add(shift))
		window, _ := split(rest, from.Add(shift+time.Second))
		if len(window) >= 10 && quantile(times(window), 0.99) <= limit {
			return shift
		}
	}
	return time.Hour
}
