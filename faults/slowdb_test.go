//go:build faults

package faults_test

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver "sqlite", as the program has it
)

// slowLoad is what is asked while a database is slow: reads and writes that need
// it, checks that do not, and the two probes.
type slowLoad struct {
	reads, writes, checks, healths, readies *openLoop
}

func (s *stage) slowLoad() slowLoad {
	addr, p := s.p.addr, s.live
	return slowLoad{
		reads:   steady(addr, 20, 8, func(i int) string { k := i % len(p); return ask("GET", "/"+p[k].id, "", bearer(p[k].token)) }),
		writes:  steady(addr, 1, 8, func(i int) string { return login(p[i%len(p)].name, password) }),
		checks:  steady(addr, 50, 8, func(i int) string { return check(p[i%len(p)].token) }),
		healths: steady(addr, 20, 8, func(int) string { return ask("GET", "/healthz", "") }),
		readies: steady(addr, 2, 8, func(int) string { return ask("GET", "/readyz", "") }),
	}
}

// slowAnswers are those to what was asked in one span of time.
type slowAnswers struct{ reads, writes, checks, healths, readies []answer }

func (l slowLoad) end() slowAnswers {
	return slowAnswers{l.reads.end(), l.writes.end(), l.checks.end(), l.healths.end(), l.readies.end()}
}

// slow runs the load through a fault of the database: base, fault, afterwards.
func (s *stage) slow(v *verdicts, long time.Duration, cut, mend func(), readyInFault func(status int) bool) {
	base := quantile(times(s.slowLoad().reads.lasting(3*time.Second)), 0.99)
	l := s.slowLoad()
	cut()
	down := time.Now()
	time.Sleep(long)
	mending := time.Now()
	mend()
	back := time.Now()
	time.Sleep(7 * time.Second)
	all := l.end()

	in := func(list []answer) []answer {
		_, rest := split(list, down)
		during, _ := split(rest, mending)
		return during
	}
	everything := append(append(append(append(append([]answer{}, all.reads...), all.writes...), all.checks...), all.healths...), all.readies...)
	v.note("reads in the fault", "%s, %s", tally(in(all.reads)), spread(times(in(all.reads))))
	v.note("logins in the fault", "%s, %s", tally(in(all.writes)), spread(times(in(all.writes))))
	v.note("checks in the fault", "%s, %s", tally(in(all.checks)), spread(times(in(all.checks))))
	n, first := unlike(everything, func(a answer) bool {
		return a.err == nil && (a.status == 200 || a.status == 503 && a.header.Get("Retry-After") != "")
	})
	v.none("answers that were neither 200 nor 503 with Retry-After", n, first)
	v.within("slowest answer: the deadline is honoured", quantile(times(everything), 1), requestLimit)
	n, first = unlike(all.checks, func(a answer) bool { return a.status == 200 })
	v.none("checks that were not 200", n, first)
	n, first = unlike(all.healths, func(a answer) bool { return a.status == 200 })
	v.none("/healthz that was not 200", n, first)
	v.note("/healthz", "%s", spread(times(all.healths)))
	v.within("p99 of /healthz", quantile(times(all.healths), 0.99), 50*time.Millisecond)
	// Those of the first moments may have been answered by what was still on its
	// way, those of the last by a database that was quick again.
	_, readies := split(in(all.readies), down.Add(500*time.Millisecond))
	readies, _ = split(readies, mending.Add(-2*time.Second))
	n, first = unlike(readies, func(a answer) bool { return readyInFault(a.status) })
	v.note("/readyz in the fault", "%s, %s", tally(readies), spread(times(readies)))
	v.none("/readyz in the fault that was something else than it should", n, first)
	_, after := split(all.reads, back)
	v.within("reads at base again (p99 "+span(base)+") after", recovery(after, back, max(2*base, base+20*time.Millisecond)), 5*time.Second)
	_, readies = split(all.readies, back.Add(5*time.Second))
	n, first = unlike(readies, func(a answer) bool { return a.status == 200 })
	v.none("/readyz not 200, 5 s after", n, first)
	s.p.noPanic(s.t, v)
}

func exactly(status int) func(int) bool { return func(got int) bool { return got == status } }

func either(got int) bool { return got == 200 || got == 503 }

// F7. PostgreSQL answers late.
func TestSlowDatabase(t *testing.T) {
	s := newStage(t)
	s.live = enrol(t, s.p.addr, "live", livePeople, true, nil)
	for _, c := range []struct {
		delay time.Duration
		long  time.Duration
		ready func(int) bool
	}{
		{50 * time.Millisecond, 5 * time.Second, exactly(200)},
		{500 * time.Millisecond, 8 * time.Second, either}, // the pool is too small for so many who wait
		{5 * time.Second, 20 * time.Second, exactly(503)},
	} {
		t.Run(c.delay.String(), func(t *testing.T) {
			v := begin(t, "F7: every answer of PostgreSQL comes "+c.delay.String()+" late")
			s.slow(v, lasting(t, c.long), func() { s.gate.Slow(c.delay) }, func() { s.gate.Slow(0) }, c.ready)
		})
	}
}

// F7. A migration by hand, or a backup, locks the table of users.
func TestLockedTable(t *testing.T) {
	v := begin(t, "F7: the table of users is locked (ACCESS EXCLUSIVE) for 10 s")
	s := newStage(t)
	s.live = enrol(t, s.p.addr, "live", livePeople, true, nil)
	other, err := pgx.Connect(t.Context(), s.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background()) //nolint:errcheck // the server goes away too
	run := func(statement string) {
		if _, err := other.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	// Those who wait for the lock may hold all connections of the pool.
	s.slow(v, lasting(t, 10*time.Second), func() { run("BEGIN"); run("LOCK TABLE users IN ACCESS EXCLUSIVE MODE") },
		func() { run("COMMIT") }, either)
}

// F7. Another program reads for long in the SQLite file, or writes for long.
func TestBusySQLite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data", "propusk.db")
	s := &stage{t: t, p: serve(t, "sqlite:"+path)}
	s.live = enrol(t, s.p.addr, "live", livePeople, true, nil)
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // all statements are through
	for _, c := range []struct {
		name  string
		begin string
		ready func(int) bool
	}{
		{name: "reader", begin: "BEGIN; SELECT count(*) FROM users", ready: exactly(200)},
		{name: "writer", begin: "BEGIN IMMEDIATE", ready: exactly(200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := begin(t, "F7: another "+c.name+" in the SQLite file for 8 s")
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // its transaction is over
			run := func(statements string) {
				for statement := range strings.SplitSeq(statements, "; ") {
					if _, err := conn.ExecContext(t.Context(), statement); err != nil {
						t.Errorf("%s: %v", statement, err)
					}
				}
			}
			s.slow(v, lasting(t, 8*time.Second), func() { run(c.begin) }, func() { run("ROLLBACK") }, c.ready)
		})
	}
}
