package pgtest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"propusk/internal/apptest/pgtest"
)

// Packages that look for leaked goroutines use pgtest, so it may leave none.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSchemasAreSeparate(t *testing.T) {
	t.Parallel()
	first, second := connect(t, pgtest.URL(t)), connect(t, pgtest.URL(t))
	run(t, first, `CREATE TABLE things (id integer PRIMARY KEY)`)
	run(t, first, `INSERT INTO things (id) VALUES (1)`)
	run(t, second, `CREATE TABLE things (id integer PRIMARY KEY)`)
	if n := count(t, second, `SELECT count(*) FROM things`); n != 0 {
		t.Errorf("the second schema holds %d rows of the first", n)
	}
	if n := count(t, first, `SELECT count(*) FROM things`); n != 1 {
		t.Errorf("the first schema holds %d rows, want 1", n)
	}
}

func TestThrowawayServerStoresUnicodeAndSortsByCodePoint(t *testing.T) {
	t.Setenv("PROPUSK_TEST_POSTGRES", "")
	conn := connect(t, pgtest.URL(t))
	for setting, want := range map[string]string{"server_encoding": "UTF8", "synchronous_commit": "on"} {
		var got string
		if err := conn.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", setting, got, err, want)
		}
	}
	if n := count(t, conn, `SELECT count(*) WHERE 'Z' < 'a' AND 'z' < 'é' AND length('пропуск') = 7`); n != 1 {
		t.Error("text is not compared by code point, or not counted in characters")
	}
}

func TestSchemaIsDroppedWhenTheTestEnds(t *testing.T) {
	t.Parallel()
	var schema string
	r := record(t, func(r *recorder) {
		conn := connect(r, pgtest.URL(r))
		run(r, conn, `CREATE TABLE things (id integer PRIMARY KEY)`)
		if err := conn.QueryRow(r.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
			r.Fatalf("%v", err)
		}
	})
	if len(r.failures) > 0 {
		t.Fatalf("a test that did nothing wrong failed: %q", r.failures)
	}
	if n := count(t, connect(t, pgtest.URL(t)), `SELECT count(*) FROM pg_namespace WHERE nspname = $1`, schema); n != 0 {
		t.Errorf("schema %q is still there", schema)
	}
}

func TestTransactionLeftOpenFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"idle":      `CREATE TABLE things (id integer PRIMARY KEY)`, // whose lock would also stop DROP SCHEMA
		"aborted":   `SELECT 1/0`,
		"committed": `COMMIT`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t, func(r *recorder) {
				conn, err := pgx.Connect(r.Context(), pgtest.URL(r))
				if err != nil {
					r.Fatalf("%v", err)
				}
				t.Cleanup(func() { _ = conn.Close(context.Background()) }) // later than the end of r
				run(r, conn, `BEGIN`)
				_, _ = conn.Exec(r.Context(), statement)
			})
			leak := strings.Contains(strings.Join(r.failures, "\n"), "left open: idle in transaction")
			if leak != (name != "committed") || len(r.failures) > 1 {
				t.Errorf("failures: %q", r.failures)
			}
		})
	}
}

func TestUnusableServerFailsTheTestAndKeepsThePassword(t *testing.T) {
	for name, given := range map[string]string{
		"unreachable": "postgres://someone:hunter2@127.0.0.1:1/postgres?connect_timeout=5",
		"not a URL":   "postgres://someone:hunter2@[",
		"not ours":    "mysql://someone:hunter2@127.0.0.1/x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PROPUSK_TEST_POSTGRES", given)
			r := record(t, func(r *recorder) { pgtest.URL(r) })
			if len(r.failures) != 1 || !strings.Contains(r.failures[0], "PROPUSK_TEST_POSTGRES") {
				t.Errorf("want one failure that names the variable, got %q", r.failures)
			}
			if strings.Contains(strings.Join(r.failures, ""), "hunter2") {
				t.Errorf("the password is told: %q", r.failures)
			}
		})
	}
}

func BenchmarkURL(b *testing.B) {
	pgtest.URL(b) // starts the server
	for b.Loop() {
		record(b, func(r *recorder) { pgtest.URL(r) })
	}
}

// recorder is a test that may fail without failing ours.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Skip(args ...any) { r.Fatalf("skipped: %v", args) }

// record runs a test and its cleanups to their end.
func record(t testing.TB, test func(*recorder)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(r.cleanups) - 1; i >= 0; i-- {
				r.cleanups[i]()
			}
		}()
		test(r)
	}()
	<-done
	return r
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t testing.TB, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t testing.TB, conn *pgx.Conn, query string, args ...any) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// within tries until ok gives true, and fails the test when it does not in time.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // cleanups wait too
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}
