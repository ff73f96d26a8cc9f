package db_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
)

const addTo = `UPDATE things SET number = number + $1 WHERE name = $2`

// Both hold one row and want the other's: PostgreSQL ends one of them after its
// deadlock_timeout, a second.
func TestDeadlockedTransactionIsRunAgain(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	createThings(t, d)
	mustExec(t, d, insertThing, "a", 10)
	mustExec(t, d, insertThing, "b", 20)
	var runs atomic.Int32
	var bothHoldOne sync.WaitGroup
	bothHoldOne.Add(2)
	parallel(2, func(i int) {
		rows, held := []string{"a", "b"}, sync.OnceFunc(bothHoldOne.Done)
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			runs.Add(1)
			if _, err := tx.Exec(t.Context(), addTo, 1, rows[i]); err != nil {
				return err
			}
			held()
			bothHoldOne.Wait()
			_, err := tx.Exec(t.Context(), addTo, 1, rows[1-i])
			return err
		})
		if err != nil {
			t.Errorf("transaction %d: %v", i, err)
		}
	})
	if got := column[int](t, d, `SELECT number FROM things ORDER BY name`); got[0] != 12 || got[1] != 22 || runs.Load() < 3 {
		t.Errorf("after %d runs, want 3 or more, the rows hold %d, want [12 22]", runs.Load(), got)
	}
}

func TestTransactionThatCannotBeSerialisedIsRunAgain(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	createThings(t, d)
	mustExec(t, d, insertThing, "a", 0)
	runs := 0
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		runs++
		if _, err := tx.Exec(t.Context(), `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
			return err
		}
		var number int
		if err := tx.QueryRow(t.Context(), `SELECT number FROM things`, nil, &number); err != nil {
			return err
		}
		if runs <= 3 {
			mustExec(t, d, addTo, 10, "a") // in a transaction of its own, which wins
		}
		_, err := tx.Exec(t.Context(), addTo, 1, "a")
		return err
	})
	if got := column[int](t, d, `SELECT number FROM things`); err != nil || runs != 4 || got[0] != 31 {
		t.Errorf("after %d runs, want 4, the row holds %d, want 31: %v", runs, got, err)
	}
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	runs := 0
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		runs++
		_, err := tx.Exec(t.Context(), `DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$`)
		return err
	})
	if !errors.Is(err, db.ErrUnavailable) || runs < 2 || runs > 20 {
		t.Errorf("after %d runs: %v", runs, err)
	}
}

// gated opens a database behind a gate, with the pool full of connections, and
// once more past the gate.
func gated(t *testing.T) (d, direct *db.DB, gate *pgtest.Gate) {
	t.Helper()
	u := pgtest.URL(t)
	gate = pgtest.Proxy(t, u)
	d, direct = openWith(t, db.Options{URL: gate.URL, MaxConns: 8}), openWith(t, db.Options{URL: u, MaxConns: 1})
	createThings(t, d)
	var all sync.WaitGroup
	all.Add(8)
	parallel(8, func(int) {
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			all.Done()
			all.Wait()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	return d, direct, gate
}

func TestServerThatIsCutOffIsUnavailableAtOnce(t *testing.T) {
	t.Parallel()
	d, direct, gate := gated(t)
	gate.Cut()
	for range 10 {
		within(t, 2*time.Second, "the error", func() {
			if err := d.Ping(t.Context()); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("read: %v", err)
			}
			if _, err := d.Exec(t.Context(), insertThing, "a", 1); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("write: %v", err)
			}
		})
	}
	gate.Restore()
	for i := range 10 { // without a restart, and without a failure for each dead connection
		if err := d.Ping(t.Context()); err != nil {
			t.Errorf("read %d after the line is back: %v", i, err)
		}
	}
	mustExec(t, d, insertThing, "b", 2)
	if n := count(t, direct); n != 1 {
		t.Errorf("there are %d rows, want the one of after the cut", n)
	}
}

// Every connection in the pool is dead when the next requests come. Those that
// have been idle for a second are tried first, by pgxpool; so nobody is sent
// away on their account once the server is back.
func TestServerThatRestartedIsServedFromAtOnce(t *testing.T) {
	t.Parallel()
	d, _, gate := gated(t)
	gate.Cut()
	time.Sleep(1100 * time.Millisecond)
	gate.Restore()
	parallel(20, func(i int) {
		if _, err := d.Exec(t.Context(), insertThing, fmt.Sprint(i), i); err != nil {
			t.Errorf("write %d after the restart: %v", i, err)
		}
	})
	if n := count(t, d); n != 20 {
		t.Errorf("there are %d rows, want 20", n)
	}
}

func TestConnectionLostInATransactionTakesItBack(t *testing.T) {
	t.Parallel()
	d, direct, gate := gated(t)
	runs := 0
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		runs++
		if _, err := tx.Exec(t.Context(), insertThing, "a", 1); err != nil {
			return err
		}
		gate.Cut()
		gate.Restore()
		_, err := tx.Exec(t.Context(), insertThing, "b", 2)
		return err
	})
	if !errors.Is(err, db.ErrUnavailable) || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	if n := count(t, direct); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestStalledServerHoldsNobodyLongerThanHisDeadline(t *testing.T) {
	t.Parallel()
	d, direct, gate := gated(t)
	deadline := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(t.Context(), 200*time.Millisecond)
	}
	gate.Stall()
	within(t, 2*time.Second, "20 requests at a stalled server", func() {
		parallel(20, func(i int) { // more than there are connections
			ctx, cancel := deadline()
			defer cancel()
			if err := d.Ping(ctx); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("read: %v", err)
			}
			ctx, cancel = deadline()
			defer cancel()
			if _, err := d.Exec(ctx, insertThing, "a", 1); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("write: %v", err)
			}
		})
	})
	gate.Restore()
	mustExec(t, d, insertThing, "b", 2)

	ctx, cancel := deadline()
	defer cancel()
	within(t, 2*time.Second, "a transaction whose server stalls", func() {
		err := d.Tx(ctx, func(tx *db.Tx) error {
			if _, err := tx.Exec(ctx, insertThing, "c", 3); err != nil {
				return err
			}
			gate.Stall()
			_, err := tx.Exec(ctx, insertThing, "d", 4)
			return err
		})
		if !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("a transaction whose server stalls: %v", err)
		}
	})
	gate.Restore()
	for _, name := range column[string](t, direct, `SELECT name FROM things`) {
		if name == "c" || name == "d" {
			t.Errorf("%s of a transaction that failed is there", name)
		}
	}
}

func TestServerThatIsNotThereIsSaidInTimeAndWithoutThePassword(t *testing.T) {
	t.Parallel()
	stalled := pgtest.Proxy(t, pgtest.URL(t))
	stalled.Stall()
	u, err := url.Parse(stalled.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("someone", "hunter2")
	for name, given := range map[string]string{
		"refused": "postgres://someone:hunter2@127.0.0.1:1/x",
		"stalled": u.String(),
		"no name": "postgres://someone:hunter2@nowhere.invalid/x",
		"no URL":  "postgres://someone:hunter2@[/x",
		"no port": "postgres://someone:hunter2@127.0.0.1:port/x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, 8*time.Second, "the error", func() {
				d, err := db.Open(t.Context(), db.Options{URL: given})
				if err == nil {
					_ = d.Close()
					t.Fatal("it was opened")
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the password is told: %v", err)
				}
			})
		})
	}
}

func TestOnlyRelaxedCommitsDoNotWaitForTheServersDisk(t *testing.T) {
	t.Parallel()
	d := openWith(t, db.Options{URL: pgtest.URL(t), MaxConns: 1}) // the same connection each time
	const show = `SELECT current_setting('synchronous_commit')`
	usual := column[string](t, d, show)[0]
	for range 2 {
		err := d.TxRelaxed(t.Context(), func(tx *db.Tx) error {
			if got := column[string](t, tx, show); got[0] != "off" {
				t.Errorf("relaxed, and synchronous_commit is %s", got[0])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := column[string](t, d, show); got[0] != usual || usual == "off" {
			t.Errorf("afterwards synchronous_commit is %s, before it was %s", got[0], usual)
		}
	}
}
