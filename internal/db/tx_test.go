package db_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"propusk/internal/db"
)

var errOfTheRule = errors.New("a rule said no")

func TestErrorTakesBackItsOwnTransactionOnly(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const writers = 40
		parallel(writers, func(i int) {
			run := d.Tx
			if i%3 == 0 {
				run = d.TxRelaxed
			}
			err := run(t.Context(), func(tx *db.Tx) error {
				for _, part := range []string{"a", "b"} {
					if _, err := tx.Exec(t.Context(), insertThing, fmt.Sprint(i, part), nil); err != nil {
						return err
					}
				}
				if i%2 == 1 {
					return errOfTheRule
				}
				return nil
			})
			if (i%2 == 1) != errors.Is(err, errOfTheRule) || i%2 == 0 && err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
		var want []string
		for i := 0; i < writers; i += 2 {
			want = append(want, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
		}
		slices.Sort(want)
		if got := column[string](t, d, `SELECT name FROM things ORDER BY name`); !slices.Equal(got, want) {
			t.Errorf("there is %q, want %q", got, want)
		}
	})
}

func TestTransactionSeesItsOwnWritesAndOthersDoNot(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		waits := strings.HasSuffix(t.Name(), "/memory") // there readers wait for the writer
		var outside sync.WaitGroup
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.Exec(t.Context(), insertThing, "a", 1); err != nil {
				return err
			}
			if got := column[int](t, tx, `SELECT count(*) FROM things`); got[0] != 1 {
				t.Errorf("inside there are %d", got[0])
			}
			outside.Go(func() {
				if n := count(t, d); n != 0 && !waits {
					t.Errorf("outside there are %d before the commit", n)
				}
			})
			if !waits {
				outside.Wait()
			}
			return nil
		})
		outside.Wait()
		if err != nil || count(t, d) != 1 {
			t.Errorf("after the commit there are %d, %v", count(t, d), err)
		}
	})
}

func TestPanicReachesItsCallerAndNobodyElse(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const writers = 20
		parallel(writers, func(i int) {
			defer func() {
				switch r := recover(); {
				case (i%2 == 1) != (r == any(errOfTheRule)):
					t.Errorf("transaction %d panicked with %v", i, r)
				case i%2 == 1 && !strings.Contains(string(debug.Stack()), "panicInATransaction"):
					t.Errorf("the stack does not tell where:\n%s", debug.Stack())
				}
			}()
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), insertThing, fmt.Sprint(i), nil)
				if i%2 == 1 {
					panicInATransaction()
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		if n := count(t, d); n != writers/2 {
			t.Errorf("there are %d, want %d", n, writers/2)
		}
	})
}

func panicInATransaction() { panic(errOfTheRule) }

// What t.Fatal does, for one.
func TestGoroutineThatEndsInATransactionTakesItBack(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		parallel(1, func(int) {
			_ = d.Tx(t.Context(), func(tx *db.Tx) error {
				_, _ = tx.Exec(t.Context(), insertThing, "a", 1)
				runtime.Goexit()
				return nil
			})
		})
		mustExec(t, d, insertThing, "b", 2)
		if got := column[string](t, d, `SELECT name FROM things`); !slices.Equal(got, []string{"b"}) {
			t.Errorf("there is %q", got)
		}
	})
}

// PostgreSQL refuses what follows a failed statement. A rule that overlooked
// the failure must not work on SQLite alone.
func TestFailedStatementEndsTheTransaction(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		mustExec(t, d, insertThing, "a", 1)
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			_, _ = tx.Exec(t.Context(), insertThing, "b", 2)
			_, _ = tx.Exec(t.Context(), insertThing, "c", 1) // fails, and nobody looks
			var conflict *db.ConflictError
			if _, err := tx.Exec(t.Context(), insertThing, "d", 4); !errors.As(err, &conflict) {
				t.Errorf("Exec after a failed statement: %v", err)
			}
			if err := tx.QueryRow(t.Context(), `SELECT 1`, nil, new(int)); !errors.As(err, &conflict) {
				t.Errorf("QueryRow after a failed statement: %v", err)
			}
			if err := tx.Query(t.Context(), `SELECT 1`, nil, nil); !errors.As(err, &conflict) {
				t.Errorf("Query after a failed statement: %v", err)
			}
			return nil
		})
		var conflict *db.ConflictError
		if !errors.As(err, &conflict) || conflict.Index != "things_number" {
			t.Errorf("the transaction's error is %v", err)
		}
		if n := count(t, d); n != 1 {
			t.Errorf("there are %d rows, want only the first", n)
		}
	})
}

func TestTransactionIsOfNoUseWhenItIsOver(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		for _, outcome := range []error{nil, errOfTheRule} {
			var kept *db.Tx
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				kept = tx
				return outcome
			})
			if !errors.Is(err, outcome) {
				t.Fatal(err)
			}
			if _, err := kept.Exec(t.Context(), insertThing, "late", 1); err == nil {
				t.Error("Exec after the end was taken")
			}
			if err := kept.QueryRow(t.Context(), `INSERT INTO things (name) VALUES ('late') RETURNING 1`, nil, new(int)); err == nil {
				t.Error("QueryRow after the end was taken")
			}
			if err := kept.Query(t.Context(), `SELECT 1`, nil, func(func(...any) error) error { return nil }); err == nil {
				t.Error("Query after the end was taken")
			}
		}
		if n := count(t, d); n != 0 {
			t.Errorf("%d rows were written after the end", n)
		}
	})
}

func TestNothingBeginsForACallerWhoHasGivenUp(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		for _, c := range []struct {
			name string
			ctx  context.Context
			want error
		}{{"cancelled", cancelled, context.Canceled}, {"late", late, db.ErrUnavailable}} {
			for range 50 { // each may be a race of two ready channels
				ran := false
				err := d.Tx(c.ctx, func(tx *db.Tx) error {
					ran = true
					_, err := tx.Exec(c.ctx, insertThing, "a", 1)
					return err
				})
				if ran || !errors.Is(err, c.want) {
					t.Fatalf("%s: ran: %t, %v", c.name, ran, err)
				}
			}
			if _, err := d.Exec(c.ctx, insertThing, "a", 1); !errors.Is(err, c.want) {
				t.Errorf("%s: Exec: %v", c.name, err)
			}
			if err := d.QueryRow(c.ctx, `SELECT 1`, nil, new(int)); !errors.Is(err, c.want) {
				t.Errorf("%s: QueryRow: %v", c.name, err)
			}
			if err := d.Query(c.ctx, `SELECT 1`, nil, nil); !errors.Is(err, c.want) {
				t.Errorf("%s: Query: %v", c.name, err)
			}
		}
		if n := count(t, d); n != 0 {
			t.Errorf("%d rows were written", n)
		}
	})
}

func TestCallerWhoGivesUpMeanwhileDoesNotHurtHisNeighbours(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const writers = 30
		var want atomic.Int32
		parallel(writers, func(i int) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := d.Tx(ctx, func(tx *db.Tx) error {
				if _, err := tx.Exec(ctx, insertThing, fmt.Sprint(i, "a"), nil); err != nil {
					return err
				}
				if i%3 == 0 {
					cancel()
				}
				_, err := tx.Exec(ctx, insertThing, fmt.Sprint(i, "b"), nil)
				return err
			})
			switch {
			case err == nil:
				want.Add(2) // all of it
			case i%3 != 0 || !errors.Is(err, context.Canceled):
				t.Errorf("transaction %d: %v", i, err)
			}
		})
		if n := count(t, d); n != int(want.Load()) {
			t.Errorf("there are %d rows, but success was told of %d", n, want.Load())
		}
	})
}

// With one reader, so that it is always the one that is taken.
func TestReaderWaitsNoLongerThanItsCaller(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"sqlite": fileURL(t), "memory": "sqlite::memory:"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := openWith(t, db.Options{URL: url, MaxConns: 1})
			createThings(t, d)
			mustExec(t, d, insertThing, "a", 1)
			err := d.Query(t.Context(), `SELECT name FROM things`, nil, func(func(...any) error) error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				within(t, time.Second, "the wait for a reader", func() {
					if err := d.Ping(ctx); !errors.Is(err, db.ErrUnavailable) {
						t.Errorf("a second reader of one: %v", err)
					}
				})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if err := d.Ping(t.Context()); err != nil {
				t.Errorf("after the first reader is done: %v", err)
			}
		})
	}
}

// queued runs a test in a bubble, on SQLite, where the writer is held by one
// transaction until goOn is called: synctest.Wait knows when everyone else
// stands in the queue.
func queued(t *testing.T, test func(t *testing.T, d *db.DB, goOn func())) {
	t.Helper()
	for name, url := range map[string]string{"sqlite": fileURL(t), "memory": "sqlite::memory:"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, err := db.Open(t.Context(), db.Options{URL: url})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close() //nolint:errcheck // other tests look at that
				createThings(t, d)
				gate := make(chan struct{})
				goOn := sync.OnceFunc(func() {
					close(gate)
					synctest.Wait()
				})
				go func() {
					_ = d.Tx(t.Context(), func(*db.Tx) error {
						<-gate
						return nil
					})
				}()
				synctest.Wait()
				defer goOn()
				test(t, d, goOn)
			})
		})
	}
}

func TestCallerWhoseTimeRunsOutInTheQueueIsToldAndNeverServed(t *testing.T) {
	queued(t, func(t *testing.T, d *db.DB, goOn func()) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		ran := false
		start := time.Now()
		err := d.Tx(ctx, func(*db.Tx) error { ran = true; return nil })
		if took := time.Since(start); !errors.Is(err, db.ErrUnavailable) || took != 3*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := d.Tx(ctx, func(*db.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in the queue: %v", err)
		}
		goOn()
		if ran {
			t.Error("it ran when nobody waited for it any more")
		}
		mustExec(t, d, insertThing, "a", 1)
	})
}

// All that wait share one commit: among them one that fails, one that panics,
// one whose caller gives up while it runs, one that breaks a constraint.
func TestNeighboursInOneCommitKeepApart(t *testing.T) {
	queued(t, func(t *testing.T, d *db.DB, goOn func()) {
		ctx, cancel := context.WithCancel(t.Context())
		insert := func(name string, number int) func(*db.Tx) error {
			return func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, insertThing, name, number)
				return err
			}
		}
		var conflict *db.ConflictError
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if err := d.Tx(t.Context(), insert(fmt.Sprint("good", i), i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			err := d.Tx(t.Context(), func(tx *db.Tx) error { return errors.Join(insert("fails", 100)(tx), errOfTheRule) })
			if !errors.Is(err, errOfTheRule) {
				t.Error(err)
			}
		})
		all.Go(func() {
			defer func() {
				if r := recover(); r != any(errOfTheRule) {
					t.Errorf("panic: %v", r)
				}
			}()
			_ = d.Tx(t.Context(), func(tx *db.Tx) error { _ = insert("panics", 101)(tx); panic(errOfTheRule) })
		})
		all.Go(func() {
			err := d.Tx(ctx, func(tx *db.Tx) error { cancel(); return insert("given up", 102)(tx) })
			if err != nil {
				t.Errorf("it ran to its end: %v", err)
			}
		})
		all.Go(func() {
			err := d.Tx(t.Context(), func(tx *db.Tx) error { return errors.Join(insert("clash", 103)(tx), insert("clash", 104)(tx)) })
			if !errors.As(err, &conflict) {
				t.Error(err)
			}
		})
		synctest.Wait()
		goOn()
		all.Wait()
		got := column[string](t, d, `SELECT name FROM things WHERE name NOT IN ($1) ORDER BY number`, "")
		if len(got) != 11 || got[10] != "given up" {
			t.Errorf("there is %q", got)
		}
	})
}

// Two programs on one file: the service, and a command of its operator.
func TestTwoProgramsWriteOneFile(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	first, second := open(t, url), open(t, url)
	createThings(t, first)
	const writers, each = 8, 10
	parallel(writers, func(i int) {
		d := []*db.DB{first, second}[i%2]
		for n := range each {
			if _, err := d.Exec(t.Context(), insertThing, fmt.Sprint(i, "-", n), nil); err != nil {
				t.Error(err)
			}
		}
	})
	if a, b := count(t, first), count(t, second); a != writers*each || b != a {
		t.Errorf("one sees %d rows, the other %d, want %d", a, b, writers*each)
	}
}

// SQLite waits five seconds for another program's lock, a caller no longer than
// he likes.
func TestFileLockedByAnotherProgramIsUnavailable(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	d, other := open(t, url), open(t, url)
	createThings(t, d)
	err := other.Tx(t.Context(), func(*db.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		within(t, 2*time.Second, "the wait of a caller in a hurry", func() {
			if _, err := d.Exec(ctx, insertThing, "hurry", 1); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("locked: %v", err)
			}
		})
		within(t, 12*time.Second, "the wait for the lock", func() {
			if _, err := d.Exec(t.Context(), insertThing, "patience", 1); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("locked: %v", err)
			}
		})
		if n := count(t, d); n != 0 { // reading goes on
			t.Errorf("there are %d rows", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mustExec(t, d, insertThing, "after", 1)
	if got := column[string](t, other, `SELECT name FROM things`); !slices.Equal(got, []string{"after"}) {
		t.Errorf("there is %q", got)
	}
}

func TestCallerWhoseTimeRunsOutAtTheLockIsNeverServed(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	d, other := open(t, url), open(t, url)
	createThings(t, d)
	var ran atomic.Bool
	err := other.Tx(t.Context(), func(*db.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := d.Tx(ctx, func(*db.Tx) error { ran.Store(true); return nil }); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("locked: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mustExec(t, d, insertThing, "a", 1) // it has the writer after the one who left
	if ran.Load() {
		t.Error("it ran when nobody waited for it any more")
	}
}
