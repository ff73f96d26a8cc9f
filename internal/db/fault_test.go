package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"propusk/internal/db"
)

func TestFullDatabaseIsUnavailableUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"sqlite": fileURL(t), "memory": "sqlite::memory:"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, url)
			createThings(t, d)
			mustExec(t, d, insertThing, "before", 1)
			pages := column[int](t, d, `SELECT page_count FROM pragma_page_count`)[0]
			if err := d.OnWriter(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+2)); err != nil {
				t.Fatal(err)
			}
			large := bytes.Repeat([]byte("large"), 1<<18)
			for range 3 {
				err := d.Tx(t.Context(), func(tx *db.Tx) error {
					if _, err := tx.Exec(t.Context(), insertThing, "small", nil); err != nil {
						return err
					}
					_, err := tx.Exec(t.Context(), `INSERT INTO things (name, data) VALUES ('large', $1)`, large)
					return err
				})
				if !errors.Is(err, db.ErrUnavailable) {
					t.Errorf("full: %v", err)
				}
				if got := column[string](t, d, `SELECT name FROM things`); !slices.Equal(got, []string{"before"}) {
					t.Errorf("full, there is %q", got)
				}
				// What needs no room still works.
				mustExec(t, d, `UPDATE things SET number = number + 1 WHERE name = 'before'`)
			}
			if err := d.OnWriter(t.Context(), `PRAGMA max_page_count = 1000000`); err != nil {
				t.Fatal(err)
			}
			mustExec(t, d, `INSERT INTO things (name, data) VALUES ('large', $1)`, large)
			if got := column[string](t, d, `SELECT name FROM things ORDER BY name`); !slices.Equal(got, []string{"before", "large"}) {
				t.Errorf("with room again, there is %q", got)
			}
			if got := column[int](t, d, `SELECT number FROM things WHERE name = 'before'`); got[0] != 4 {
				t.Errorf("3 updates of 1 gave %d", got[0])
			}
			if got := column[string](t, d, `PRAGMA integrity_check`); !slices.Equal(got, []string{"ok"}) {
				t.Errorf("integrity: %q", got)
			}
		})
	}
}

// SQLite takes back the whole commit when the disk is full, and with it what
// neighbours have written: they are told so, whether they came before or after.
func TestNeighboursOfATransactionThatFindsNoRoomAreToldTheTruth(t *testing.T) {
	queued(t, func(t *testing.T, d *db.DB, goOn func()) {
		const neighbours = 20
		var good atomic.Int32
		var all sync.WaitGroup
		for i := range neighbours {
			all.Go(func() {
				err := d.Tx(t.Context(), func(tx *db.Tx) error {
					if i == neighbours/2 {
						if err := d.OnWriter(t.Context(), `PRAGMA max_page_count = 1`); err != nil {
							return err
						}
						_, err := tx.Exec(t.Context(), `INSERT INTO things (name, data) VALUES ('large', $1)`, make([]byte, 1<<20))
						_ = d.OnWriter(t.Context(), `PRAGMA max_page_count = 1000000`)
						return err
					}
					_, err := tx.Exec(t.Context(), insertThing, fmt.Sprint(i), nil)
					return err
				})
				switch {
				case err == nil:
					good.Add(1)
				case !errors.Is(err, db.ErrUnavailable):
					t.Error(err)
				}
			})
			synctest.Wait() // so that they queue in this order
		}
		goOn()
		all.Wait()
		if n := count(t, d); n != int(good.Load()) || n == neighbours {
			t.Errorf("there are %d rows, and success was told of %d", n, good.Load())
		}
	})
}

// The disk of a running process refuses for a while: strace makes the kernel's
// answers up.
func TestFailingDiskIsUnavailableWhileItFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]string{
		"full when written":       "pwrite64:error=ENOSPC:when=20..60",
		"failing when written":    "pwrite64:error=EIO:when=20..60",
		"failing when synced":     "fsync,fdatasync:error=EIO:when=5..20",
		"full when synced":        "fsync,fdatasync:error=ENOSPC:when=5..20",
		"failing now and then":    "pwrite64:error=EIO:when=7+13",
		"syncing fails each time": "fsync,fdatasync:error=EIO:when=2+2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := fileURL(t)
			d := open(t, url)
			createThings(t, d)
			mustExec(t, d, insertThing, "before", nil)
			told := told(t, strace(t, url, map[string]string{"WRITERS": "3", "EACH": "40"},
				"-o", "/dev/null", "-P", url[len("sqlite:"):]+"-wal", "-e", "trace=pwrite64,fsync,fdatasync", "-e", "inject="+fault))
			acked, refused := told["ack"], told["refused"]
			if len(acked) == 0 || len(refused) == 0 || len(acked)+len(refused) != 120 {
				t.Errorf("%d were acknowledged and %d refused, of 120", len(acked), len(refused))
			}
			want := append(slices.Clone(acked), "before")
			slices.Sort(want)
			for who, d := range map[string]*db.DB{"a reader": d, "one who opens it later": open(t, url)} {
				if got := column[string](t, d, `SELECT name FROM things ORDER BY name`); !slices.Equal(got, want) {
					t.Errorf("%s sees %d rows, want the %d that were acknowledged", who, len(got), len(want))
				}
				if got := column[string](t, d, `PRAGMA integrity_check`); !slices.Equal(got, []string{"ok"}) {
					t.Errorf("integrity: %q", got)
				}
			}
		})
	}
}
