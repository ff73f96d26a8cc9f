package db_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
)

// childVariable names what this test program does as a process of its own,
// which is traced, or killed.
const childVariable = "DBTEST_CHILD"

func TestMain(m *testing.M) {
	if child := os.Getenv(childVariable); child != "" {
		os.Exit(children[child]())
	}
	goleak.VerifyTestMain(m)
}

// engines runs one test on every engine, with the table "things" in place.
func engines(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	for name, url := range map[string]func(*testing.T) string{
		"sqlite":   fileURL,
		"memory":   func(*testing.T) string { return "sqlite::memory:" },
		"postgres": func(t *testing.T) string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, url(t))
			createThings(t, d)
			test(t, d)
		})
	}
}

func fileURL(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	return openWith(t, db.Options{URL: url})
}

func openWith(t *testing.T, o db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

const things = `CREATE TABLE things (name TEXT NOT NULL PRIMARY KEY, number INTEGER, data BLOB) STRICT`

func createThings(t *testing.T, d *db.DB) {
	t.Helper()
	create(t, d, things)
	mustExec(t, d, `CREATE UNIQUE INDEX things_number ON things (number)`)
}

// create makes a table from SQLite's words, with the types that the migrations
// use on each engine.
func create(t *testing.T, d *db.DB, statement string) {
	t.Helper()
	if d.Engine() == db.Postgres {
		statement = strings.NewReplacer("TEXT", `text COLLATE "C"`, "INTEGER", "bigint", "BLOB", "bytea", ") STRICT", ")").
			Replace(statement)
	}
	mustExec(t, d, statement)
}

func mustExec(t testing.TB, d *db.DB, statement string, args ...any) {
	t.Helper()
	if _, err := d.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%.80s: %v", statement, err)
	}
}

const insertThing = `INSERT INTO things (name, number) VALUES ($1, $2)`

// count counts things, by a connection that never wrote.
func count(t testing.TB, d *db.DB) (n int) {
	t.Helper()
	if err := d.QueryRow(t.Context(), `SELECT count(*) FROM things`, nil, &n); err != nil {
		t.Fatalf("count: %v", err)
	}
	return n
}

// column gives the only column of a query's rows.
func column[T any](t testing.TB, q db.Querier, query string, args ...any) (out []T) {
	t.Helper()
	err := q.Query(t.Context(), query, args, func(scan func(...any) error) error {
		var v T
		err := scan(&v)
		out = append(out, v)
		return err
	})
	if err != nil {
		t.Fatalf("%.80s: %v", query, err)
	}
	return out
}

// within fails the test when do takes longer.
func within(t testing.TB, limit time.Duration, what string, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if took := time.Since(start); took > limit {
		t.Errorf("%s took %s, more than %s", what, took.Round(time.Millisecond), limit)
	}
}

func TestURLOfAnotherKindIsRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "test.db", "file:test.db", "mysql://localhost/x", "SQLITE:test.db", "postgres:/x"} {
		if d, err := db.Open(t.Context(), db.Options{URL: url}); err == nil {
			t.Errorf("%q was opened", url)
			_ = d.Close()
		}
	}
}

func TestDatabaseFilesAreTheirOwnersOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	d := open(t, "sqlite:"+filepath.Join(dir, "test.db"))
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		names = append(names, e.Name())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"test.db", "test.db-wal", "test.db-shm"} {
		if !strings.Contains(strings.Join(names, " ")+" ", want+" ") {
			t.Errorf("%s is not among %q: what did this test look at?", want, names)
		}
	}
}

// A path goes to SQLite inside a URI: no character in it may end the path, name
// another file or set a parameter.
func TestAnyPathNamesItsOwnFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{
		"a b", "a?b", "a?mode=memory", "a&b=c", "a%20b", "a%3Fb", "a#b", "a+b", "данные", "a'b", `a"b`, "a;b", ":memory:x",
		"a?_pragma=synchronous(0)", "a\\b", "a\nb",
	} {
		path := filepath.Join(dir, name)
		d := open(t, "sqlite:"+path)
		createThings(t, d) // fails where two names share a file
		if info, err := os.Stat(path); err != nil || info.Size() == 0 && walSize(path) == 0 {
			t.Errorf("%q: nothing was written there: %v", name, err)
		}
	}
	if d, err := db.Open(t.Context(), db.Options{URL: "sqlite:" + filepath.Join(dir, "a\x00b")}); err == nil {
		t.Error("a path with a NUL was opened")
		_ = d.Close()
	}
}

func walSize(path string) int64 {
	if info, err := os.Stat(path + "-wal"); err == nil {
		return info.Size()
	}
	return 0
}

func TestDatabasesInMemoryAreSeparate(t *testing.T) {
	t.Parallel()
	first, second := open(t, "sqlite::memory:"), open(t, "sqlite::memory:")
	createThings(t, first)
	createThings(t, second)
	mustExec(t, first, insertThing, "a", 1)
	if n := count(t, second); n != 0 {
		t.Errorf("the second holds %d rows of the first", n)
	}
}

func TestFileThatIsNoDatabaseIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "letter.txt")
	letter := strings.Repeat("Dear Sir or Madam,\n", 400)
	if err := os.WriteFile(path, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), db.Options{URL: "sqlite:" + path})
	if err == nil {
		err = d.Migrate(t.Context())
		_ = d.Close()
	}
	if err == nil {
		t.Error("a letter was taken for a database")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != letter {
		t.Errorf("the letter was changed: %v", err)
	}
}

func TestClosedDatabaseIsUnavailable(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		var n int
		read := func() error { return d.QueryRow(t.Context(), `SELECT count(*) FROM things`, nil, &n) }
		if err := read(); err != nil { // leaves a prepared statement behind
			t.Fatal(err)
		}
		for range 2 { // closing twice is not an error
			if err := d.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
		ran := false
		for name, err := range map[string]error{
			"Ping":     d.Ping(t.Context()),
			"QueryRow": read(),
			"Query":    d.Query(t.Context(), `SELECT name FROM things`, nil, func(func(...any) error) error { ran = true; return nil }),
			"Tx":       d.Tx(t.Context(), func(*db.Tx) error { ran = true; return nil }),
		} {
			if !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("%s on a closed database: %v", name, err)
			}
		}
		if _, err := d.Exec(t.Context(), insertThing, "a", 1); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("Exec on a closed database: %v", err)
		}
		if ran {
			t.Error("a transaction ran on a closed database")
		}
	})
}

func TestCloseWaitsForRunningTransactions(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{"sqlite": fileURL, "postgres": func(t *testing.T) string { return pgtest.URL(t) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := url(t)
			d := open(t, u)
			createThings(t, d)
			running, goOn, result := make(chan struct{}), make(chan struct{}), make(chan error)
			go func() {
				result <- d.Tx(context.WithoutCancel(t.Context()), func(tx *db.Tx) error {
					close(running)
					<-goOn
					_, err := tx.Exec(t.Context(), insertThing, "a", 1)
					return err
				})
			}()
			<-running
			closed := make(chan error)
			go func() { closed <- d.Close() }()
			select {
			case err := <-closed:
				t.Errorf("Close did not wait: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			close(goOn)
			if err := <-result; err != nil {
				t.Errorf("the running transaction: %v", err)
			}
			if err := <-closed; err != nil {
				t.Errorf("close: %v", err)
			}
			if n := count(t, open(t, u)); n != 1 {
				t.Errorf("the transaction that ran during Close left %d rows, want 1", n)
			}
		})
	}
}
