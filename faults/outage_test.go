//go:build faults

package faults_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"propusk/internal/apptest/pgtest"
)

const (
	livePeople = 64 // each on a connection of his own
	// requestLimit is what the program promises: 15 s, and a moment to say so.
	requestLimit = 15*time.Second + 500*time.Millisecond
	// thinkTime keeps the load from taking the machine away from PostgreSQL's start.
	thinkTime = 20 * time.Millisecond
)

// outcome is one answer to the load around an outage.
type outcome struct {
	kind string // see the constants
	answer
}

const (
	liveCheck    = "check of a live session"
	revokedCheck = "check of a revoked session"
	unknownCheck = "check of a token that never was"
	write        = "write"
)

// history is what was answered before, during and after an outage.
type history struct {
	mu       sync.Mutex
	outcomes []outcome

	cutting       time.Time // until then all was well
	down, mending time.Time // the database was away all the time between them
	back          time.Time // it was there
	recovered     time.Time // the first good write after that
	peak          float64   // of goroutines
	before        int
	after         int
}

func (h *history) add(kind string, a answer) {
	a.body = a.body[:min(len(a.body), 300)]
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outcomes = append(h.outcomes, outcome{kind, a})
}

// of gives the answers to what was asked and answered between two instants.
func (h *history) of(kind string, from, to time.Time) (list []answer) {
	for _, o := range h.outcomes {
		if o.kind == kind && !o.sent.Before(from) && !o.sent.Add(o.took).After(to) {
			list = append(list, o.answer)
		}
	}
	return list
}

// judge holds P7 and F5 against what happened.
func (h *history) judge(v *verdicts) {
	ever, end := time.Time{}, time.Now().Add(time.Hour)
	live, in := h.of(liveCheck, ever, end), h.of(liveCheck, h.down, h.mending)
	n, first := unlike(live, func(a answer) bool { return a.err != nil || a.status != 401 })
	v.none("false 401 to live sessions, ever", n, first)
	n, first = unlike(h.of(revokedCheck, ever, end), func(a answer) bool { return a.err != nil || a.status != 200 })
	v.none("false 200 to revoked sessions, ever", n, first)
	n, first = unlike(h.of(unknownCheck, ever, end), func(a answer) bool { return a.err != nil || a.status != 200 })
	v.none("false 200 to tokens that never were", n, first)

	v.note("checks of live sessions in the outage", "%s, %s", tally(in), spread(times(in)))
	v.atLeast("checks of live sessions in the outage, that many", float64(len(in)), 100, "")
	n, first = unlike(live, func(a answer) bool { return a.status == 200 })
	v.none("checks of live sessions that were not 200, ever", n, first)
	v.within("slowest check of a live session, ever", quantile(times(live), 1), 2*time.Second)
	v.note("checks of revoked, of unknown tokens in the outage", "%s, %s", tally(h.of(revokedCheck, h.down, h.mending)), tally(h.of(unknownCheck, h.down, h.mending)))

	in = h.of(write, h.down, h.mending)
	v.note("writes in the outage", "%s", tally(in))
	if h.mending.Sub(h.down) > requestLimit { // in less, one that waits is not answered
		v.atLeast("writes in the outage, that many", float64(len(in)), 3, "")
	}
	n, first = unlike(in, func(a answer) bool { return a.status == 503 && a.header.Get("Retry-After") != "" })
	v.none("writes in the outage that were not 503 with Retry-After", n, first)
	n, first = unlike(h.of(write, ever, h.cutting), func(a answer) bool { return a.err == nil && a.status/100 == 2 })
	v.none("writes before it that were not done", n, first)
	n, first = unlike(h.of(write, h.recovered.Add(2*time.Second), end), func(a answer) bool { return a.err == nil && a.status/100 == 2 })
	v.none("writes not done, 2 s after the recovery and later", n, first)

	var slowest time.Duration
	var unanswered int
	var complaint string
	for _, o := range h.outcomes {
		slowest = max(slowest, o.took)
		if o.err != nil {
			unanswered++
			complaint = o.String()
		}
	}
	v.none("requests without an answer", unanswered, complaint)
	v.within("slowest answer of all", slowest, requestLimit)
	v.within("first good write after the database was back", h.recovered.Sub(h.back), 2*time.Second)
	v.note("goroutines before, at most, after", "%d, %.0f, %d", h.before, h.peak, h.after)
	v.atMost("goroutines after, beyond those before", float64(h.after-h.before), 10, "")
}

// programName tells the program's connections from ours.
const programName = "under test"

// endProgram ends every connection of the program, and is told how many.
const endProgram = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`

// stage is the program on a PostgreSQL of the test's own.
type stage struct {
	t      *testing.T
	p      *program
	server *pgtest.Server
	gate   *pgtest.Gate
	direct string // URL of the database, without the gate
	live   []person
	spare  []person // whose sessions end in the course of it

	mu      sync.Mutex
	revoked []string // tokens whose end was confirmed
	acked   map[string]string
	n       atomic.Int64
}

func newStage(t *testing.T, settings ...string) *stage {
	t.Helper()
	s := &stage{t: t, server: pgtest.Own(t, settings...), acked: map[string]string{}}
	s.direct = s.server.URL(t)
	s.gate = pgtest.Proxy(t, s.direct)
	u, err := url.Parse(s.gate.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", programName)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // libpq takes a plus sign for a plus sign
	s.p = serve(t, u.String())
	return s
}

func (s *stage) enrol() {
	s.live = enrol(s.t, s.p.addr, "live", livePeople, true, nil)
	s.spare = enrol(s.t, s.p.addr, "spare", 40, true, nil)
	for range 10 {
		p := s.nextSpare()
		if a := once(s.p.addr, ask("POST", "/auth/logout", "", bearer(p.token))); !a.holds(200, "") {
			s.t.Fatalf("logout: %s", a)
		}
		s.revoked = append(s.revoked, p.token)
	}
}

func (s *stage) nextSpare() person {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.spare) == 0 {
		return person{}
	}
	p := s.spare[0]
	s.spare = s.spare[1:]
	return p
}

// load is what goes on around the outage, until ctx ends.
func (s *stage) load(ctx context.Context, h *history) *sync.WaitGroup {
	var wg sync.WaitGroup
	loop := func(kind string, every time.Duration, request func() string) {
		wg.Go(func() {
			l := line{addr: s.p.addr}
			defer l.close()
			for ctx.Err() == nil {
				h.add(kind, l.do(request()))
				sleep(ctx, every)
			}
		})
	}
	for _, p := range s.live {
		loop(liveCheck, thinkTime, func() string { return check(p.token) })
	}
	for range 4 {
		loop(revokedCheck, 2*thinkTime, func() string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return check(s.revoked[int(s.n.Add(1))%len(s.revoked)])
		})
		loop(unknownCheck, 5*thinkTime, func() string { return check(fmt.Sprintf("eeee%04d-76a9-4509-87f0-e1b12354d92b", s.n.Add(1)%1e4)) })
	}
	// Each write on a connection of its own and in its own time: one that waits
	// must not keep the next from being sent.
	writes := func(every time.Duration, do func(i int)) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				wg.Go(func() { do(i) })
				sleep(ctx, every)
			}
		})
	}
	writes(250*time.Millisecond, func(i int) { h.add(write, once(s.p.addr, login(s.live[i%livePeople].name, password))) })
	writes(500*time.Millisecond, func(i int) { h.add(write, s.patch(i)) })
	writes(time.Second, func(int) { s.logout(h) })
	writes(500*time.Millisecond, func(i int) { s.register(h, i) })
	return &wg
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *stage) patch(i int) answer {
	p := s.live[i%livePeople]
	return once(s.p.addr, ask("PATCH", "/"+p.id, fmt.Sprintf(`{"contact_number":"+7985%07d"}`, i), bearer(p.token)))
}

func (s *stage) logout(h *history) {
	p := s.nextSpare()
	if p.token == "" {
		return
	}
	a := once(s.p.addr, ask("POST", "/auth/logout", "", bearer(p.token)))
	h.add(write, a)
	if a.err == nil && a.status == 200 {
		s.mu.Lock()
		s.revoked = append(s.revoked, p.token)
		s.mu.Unlock()
	}
}

func (s *stage) register(h *history, i int) {
	name := fmt.Sprintf("newcomer%dx%d", i, s.n.Add(1))
	a := once(s.p.addr, registration(name, "Idempotency-Key: "+name))
	h.add(write, a)
	if id, _ := data(a.body); a.holds(201, "") {
		s.mu.Lock()
		s.acked[name] = id
		s.mu.Unlock()
	}
}

// outage runs one under load. Between cut and mend nothing of the database must
// get through; both return when that is so.
func (s *stage) outage(v *verdicts, long time.Duration, cut, mend func()) {
	h := &history{}
	time.Sleep(time.Second)
	h.before = s.p.goroutines(s.t, 0, 0)
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	w := watchTree(s.p.pid())
	wg := s.load(ctx, h)
	time.Sleep(3 * time.Second)

	h.cutting = time.Now()
	cut()
	h.down = time.Now()
	for end := h.down.Add(lasting(s.t, long)); time.Now().Before(end); time.Sleep(time.Second) {
		h.peak = max(h.peak, s.p.metric(s.t, "go_goroutines"))
	}
	h.mending = time.Now()
	mend()
	h.back = time.Now()
	h.recovered = s.firstWrite()
	time.Sleep(4 * time.Second)
	cancel()
	wg.Wait()
	w.end(v)
	h.after = s.p.goroutines(s.t, h.before+10, 15*time.Second)
	h.judge(v)
	s.intact(v)
	s.p.noPanic(s.t, v)
}

// firstWrite tries ten times a second, without waiting for one answer before the
// next attempt.
func (s *stage) firstWrite() time.Time {
	first, tooLong := make(chan time.Time, 1), time.After(patience)
	for i := 0; ; i++ {
		go func() {
			if a := s.patch(i); a.holds(200, "") {
				select {
				case first <- a.sent.Add(a.took):
				default:
				}
			}
		}()
		select {
		case at := <-first:
			return at
		case <-tooLong:
			return time.Now().Add(time.Hour)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// intact looks into the database for what was acknowledged.
func (s *stage) intact(v *verdicts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, doubled := s.stored()
	lost := 0
	for name, id := range s.acked {
		if stored[name] != id {
			lost++
		}
	}
	v.note("registrations that were acknowledged", "%d", len(s.acked))
	v.none("of them lost", lost, "")
	v.none("names that exist twice", doubled, "")
}

func (s *stage) stored() (ids map[string]string, doubled int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.direct)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // all was read
	rows, err := conn.Query(ctx, `SELECT username, id::text FROM users`)
	if err != nil {
		s.t.Fatal(err)
	}
	ids = map[string]string{}
	var name, id string
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		if _, there := ids[name]; there {
			doubled++
		}
		ids[name] = id
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return ids, doubled
}

// P7, F5. The database goes away under load, and comes back.
func TestDatabaseOutage(t *testing.T) {
	for _, way := range []string{"stopped", "frozen", "line cut"} {
		t.Run(way, func(t *testing.T) {
			v := begin(t, "P7, F5: database away: "+way)
			s := newStage(t, "max_connections=60")
			s.enrol()
			cut, mend := func() { s.server.Stop(t) }, func() { s.server.Start(t) }
			switch way {
			case "frozen":
				cut, mend = func() { s.server.Freeze(t) }, s.server.Thaw
			case "line cut":
				cut, mend = s.gate.Cut, s.gate.Restore
			}
			s.outage(v, 30*time.Second, cut, mend)
		})
	}
}

// F5. Connections end in the middle of everything, and clients repeat what was
// not answered.
func TestConnectionsDrop(t *testing.T) {
	for _, way := range []string{"pg_terminate_backend", "torn answers"} {
		t.Run(way, func(t *testing.T) {
			v := begin(t, "F5: connections drop under registrations: "+way)
			s := newStage(t)
			admin, err := pgx.Connect(t.Context(), s.direct)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close(context.Background()) //nolint:errcheck // the server goes away too
			drop := func() error {
				_, err := admin.Exec(t.Context(), endProgram, programName)
				return err
			}
			if way != "pg_terminate_backend" {
				drop = func() error {
					s.gate.Tear()
					time.Sleep(30 * time.Millisecond)
					s.gate.Restore()
					return nil
				}
			}
			s.stubborn(v, drop)
		})
	}
}

func (s *stage) stubborn(v *verdicts, drop func() error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), lasting(s.t, 10*time.Second))
	defer cancel()
	h := &history{}
	var wg sync.WaitGroup
	var contradictions atomic.Int64
	for k := range 8 {
		wg.Go(func() {
			l := line{addr: s.p.addr}
			defer l.close()
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("stubborn%dx%d", k, i)
				if id := s.insist(&l, h, name); id != "" && s.insist(&l, h, name) != id {
					contradictions.Add(1) // the same key again gave another one
				}
			}
		})
	}
	for ctx.Err() == nil {
		if err := drop(); err != nil && ctx.Err() == nil {
			s.t.Errorf("drop the connections: %v", err)
		}
		sleep(ctx, 200*time.Millisecond)
	}
	wg.Wait()
	recovered := once(s.p.addr, registration("afterwards"))
	answers := h.of(write, time.Time{}, time.Now().Add(time.Hour))
	v.note("answers", "%s, %s", tally(answers), spread(times(answers)))
	n, first := unlike(answers, func(a answer) bool {
		return a.holds(201, "") || a.status == 503 && a.header.Get("Retry-After") != ""
	})
	v.none("answers that were neither 201 nor 503 with Retry-After", n, first)
	n, _ = unlike(answers, func(a answer) bool { return a.status != 503 })
	v.atLeast("answers of 503: the fault was there", float64(n), 1, "")
	v.within("slowest answer", quantile(times(answers), 1), requestLimit)
	v.none("keys that gave two ids", int(contradictions.Load()), "")
	v.judge(recovered.holds(201, "") && recovered.took < 2*time.Second, "a registration right afterwards", strconv.Itoa(recovered.status)+", "+span(recovered.took), "201, <= 2 s")
	s.intact(v)
	s.p.noPanic(s.t, v)
}

// insist repeats a registration with its key until it is answered for good.
func (s *stage) insist(l *line, h *history, name string) (id string) {
	for range 100 {
		a := l.do(registration(name, "Idempotency-Key: "+name))
		h.add(write, a)
		if a.holds(201, "") {
			id, _ = data(a.body)
			s.mu.Lock()
			s.acked[name] = id
			s.mu.Unlock()
			return id
		}
		if a.err == nil && a.status != 503 {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ""
}

// F5. Others hold every connection that the server gives, idle in a transaction.
func TestServerWithoutAFreeConnection(t *testing.T) {
	v := begin(t, "F5: others hold all connections of the server")
	s := newStage(t, "max_connections=30")
	s.enrol()
	ctx := t.Context()
	admin, err := pgx.Connect(ctx, s.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background()) //nolint:errcheck // the server goes away too
	var held []*pgx.Conn
	hold := func() {
		for len(held) < 200 {
			conn, err := pgx.Connect(ctx, s.direct)
			if err != nil {
				return // there is no place left
			}
			if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
	}
	release := func() {
		for _, conn := range held {
			_ = conn.Close(context.Background())
		}
		held = nil
	}
	defer release()
	s.outage(v, 10*time.Second, func() {
		for {
			hold()
			tag, err := admin.Exec(ctx, endProgram, programName)
			if err != nil {
				t.Fatal(err)
			}
			if tag.RowsAffected() == 0 {
				return
			}
		}
	}, release)
}
