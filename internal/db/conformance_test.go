package db_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"propusk/internal/db"
)

// What the engines could answer differently to one text of SQL.

func TestTextIsComparedByteByByte(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		names := []string{
			"", " ", "A", "A ", "Z", "a", "a b", "a-b", "ab", "z", "é", "e\u0301", "ё", "е", "я", "Я", "ß", "ss", "_", "~",
			"\u00e9", "\u200b", "\U0001F511", "\uffee", "10", "9",
		}
		slices.Sort(names)
		names = slices.Compact(names)
		for _, name := range names {
			mustExec(t, d, insertThing, name, nil)
		}
		if got := column[string](t, d, `SELECT name FROM things ORDER BY name`); !slices.Equal(got, names) {
			t.Errorf("sorted as\n%q, want\n%q", got, names)
		}
		for _, name := range names {
			want := slices.Index(names, name)
			if got := column[int](t, d, `SELECT count(*) FROM things WHERE name < $1`, name); got[0] != want {
				t.Errorf("%d names are below %q, want %d", got[0], name, want)
			}
			if got := column[string](t, d, `SELECT name FROM things WHERE name = $1`, name); !slices.Equal(got, []string{name}) {
				t.Errorf("%q equals %q", name, got)
			}
		}
	})
}

// PostgreSQL sorts NULL last and SQLite first where the statement does not say.
func TestNullsSortWhereTheStatementSays(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		for name, number := range map[string]any{"a": 2, "b": nil, "c": 1, "d": nil} {
			mustExec(t, d, insertThing, name, number)
		}
		for order, want := range map[string]string{
			"number NULLS FIRST, name":      "bdca",
			"number NULLS LAST, name":       "cabd",
			"number DESC NULLS FIRST, name": "bdac",
			"number DESC NULLS LAST, name":  "acbd",
		} {
			got := strings.Join(column[string](t, d, `SELECT name FROM things ORDER BY `+order), "")
			if got != want {
				t.Errorf("ORDER BY %s gives %s, want %s", order, got, want)
			}
		}
	})
}

func TestIntegersKeepAll64Bits(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		numbers := []int64{math.MinInt64, -1, 0, 1, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64}
		for i, n := range numbers {
			mustExec(t, d, insertThing, fmt.Sprint(i), n)
		}
		if got := column[int64](t, d, `SELECT number FROM things ORDER BY number`); !slices.Equal(got, numbers) {
			t.Errorf("read %d, want %d", got, numbers)
		}
	})
}

func TestInstantsKeepTheirMicroseconds(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		kamchatka := time.FixedZone("", 12*60*60)
		for i, at := range []time.Time{
			time.Date(2026, 3, 29, 1, 59, 59, 999_999_999, time.UTC),
			time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(2026, 1, 1, 3, 4, 5, 1_000, kamchatka),
			time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		} {
			name := fmt.Sprint(i)
			mustExec(t, d, insertThing, name, db.Micros(at))
			var us int64
			if err := d.QueryRow(t.Context(), `SELECT number FROM things WHERE name = $1`, []any{name}, &us); err != nil {
				t.Fatal(err)
			}
			if got, want := db.Time(us), at.Truncate(time.Microsecond); !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("%s was read as %s", want, got)
			}
		}
	})
}

func TestAbsentInstantIsNull(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		now := time.Date(2026, 5, 6, 7, 8, 9, 10_000, time.UTC)
		mustExec(t, d, insertThing, "now", db.NullMicros(now))
		mustExec(t, d, insertThing, "never", db.NullMicros(time.Time{}))
		for name, want := range map[string]time.Time{"now": now, "never": {}} {
			var us sql.NullInt64
			err := d.QueryRow(t.Context(), `SELECT number FROM things WHERE name = $1`, []any{name}, &us)
			if got := db.NullTime(us); err != nil || !got.Equal(want) || us.Valid == want.IsZero() {
				t.Errorf("%s was read as %s, %v", name, got, err)
			}
		}
	})
}

func TestBytesAndTextComeBackAsTheyWere(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for i, data := range [][]byte{nil, {}, {0}, all, bytes.Repeat(all, 4096)} {
			name := strings.Repeat("ключ 🔑 ", 1+i*1000)
			mustExec(t, d, `INSERT INTO things (name, data) VALUES ($1, $2)`, name, data)
			var gotName string
			var gotData []byte
			var null bool
			err := d.QueryRow(t.Context(), `SELECT name, data, data IS NULL FROM things WHERE name = $1`, []any{name}, &gotName, &gotData, &null)
			if err != nil || gotName != name || !bytes.Equal(gotData, data) {
				t.Errorf("%d bytes came back as %d, %v", len(data), len(gotData), err)
			}
			if null != (data == nil) {
				t.Errorf("%#.10v is NULL: %t", data, null)
			}
		}
	})
}

func TestParametersMayRepeatAndStandInAnyOrder(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		mustExec(t, d, `INSERT INTO things (number, name) VALUES ($2, $1)`, "a", 1)
		mustExec(t, d, `INSERT INTO things (number, name, data) VALUES ($3, $1, $2)`, "b", []byte("b"), 30)
		got := column[string](t, d, `SELECT name FROM things WHERE number = $2 OR (name = $1 AND number <> $2) OR name = $1 ORDER BY name`, "a", 30)
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("found %q", got)
		}
		if got := column[string](t, d, `SELECT name FROM things WHERE name = $1 OR $1 = '' ORDER BY name LIMIT $2`, "", 1); !slices.Equal(got, []string{"a"}) {
			t.Errorf("found %q", got)
		}
	})
}

func TestStatementWithTooFewParametersFails(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		for _, args := range [][]any{{}, {"a"}} {
			if _, err := d.Exec(t.Context(), insertThing, args...); err == nil {
				t.Errorf("%d parameters for 2 were taken", len(args))
			}
		}
		if n := count(t, d); n != 0 {
			t.Errorf("%d rows were written", n)
		}
	})
}

func TestBrokenUniqueConstraintNamesItsIndex(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		create(t, d, `CREATE TABLE claims (id TEXT NOT NULL PRIMARY KEY, phone TEXT, owner TEXT, proved_at INTEGER) STRICT`)
		mustExec(t, d, `CREATE UNIQUE INDEX claims_phone ON claims (phone) WHERE proved_at IS NOT NULL`)
		const insertClaim = `INSERT INTO claims (id, phone, proved_at) VALUES ($1, $2, $3)`
		mustExec(t, d, insertThing, "a", 1)
		mustExec(t, d, insertThing, "b", 2)
		mustExec(t, d, insertClaim, "a", "+7", 1)
		mustExec(t, d, insertClaim, "b", "+7", nil) // outside the partial index
		for _, c := range []struct {
			statement string
			args      []any
			index     string
		}{
			{insertThing, []any{"c", 1}, "things_number"},
			{`UPDATE things SET number = $1 WHERE name = $2`, []any{1, "b"}, "things_number"},
			{`INSERT INTO things (name, number) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, []any{"c", 1}, "things_number"},
			{insertClaim, []any{"c", "+7", 2}, "claims_phone"},
			{`UPDATE claims SET proved_at = $1 WHERE id = $2`, []any{3, "b"}, "claims_phone"},
		} {
			_, direct := d.Exec(t.Context(), c.statement, c.args...)
			returned := d.Tx(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRow(t.Context(), c.statement+` RETURNING 1`, c.args, new(int))
			})
			for door, err := range map[string]error{"Exec": direct, "RETURNING": returned} {
				var conflict *db.ConflictError
				if !errors.As(err, &conflict) || conflict.Index != c.index {
					t.Errorf("%s %v by %s: %v; want a conflict on %s", c.statement, c.args, door, err, c.index)
				}
				if errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrNotFound) {
					t.Errorf("a conflict is of another class too: %v", err)
				}
			}
		}
		_, err := d.Exec(t.Context(), insertThing, "a", 5)
		if conflict := new(db.ConflictError); !errors.As(err, &conflict) {
			t.Errorf("primary key taken twice: %v", err)
		}
		if n := count(t, d); n != 2 {
			t.Errorf("there are %d things, want 2", n)
		}
	})
}

func TestNullsDoNotConflict(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		mustExec(t, d, insertThing, "a", nil)
		mustExec(t, d, insertThing, "b", nil)
	})
}

// A fault of ours must not look like a database that is down, nor like
// something that the caller can mend.
func TestFaultInAStatementIsOfNoClass(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		create(t, d, `CREATE TABLE ones (one INTEGER NOT NULL CHECK (one = 1)) STRICT`)
		for _, statement := range []string{
			`INSERT INTO ones (one) VALUES (2)`,
			`INSERT INTO ones (one) VALUES (NULL)`,
			`INSERT INTO ones (two) VALUES (1)`,
			`SELECT one FROM twos`,
			`SELEKT 1`,
		} {
			_, err := d.Exec(t.Context(), statement)
			var conflict *db.ConflictError
			if err == nil || errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrNotFound) || errors.As(err, &conflict) {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}

func TestNoRowIsErrNotFound(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		for _, statement := range []string{
			`SELECT name FROM things WHERE name = $1`,
			`DELETE FROM things WHERE name = $1 RETURNING name`,
			`UPDATE things SET number = 1 WHERE name = $1 RETURNING name`,
		} {
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				var name string
				if err := tx.QueryRow(t.Context(), statement, []any{"nobody"}, &name); !errors.Is(err, db.ErrNotFound) {
					t.Errorf("%s: %v", statement, err)
				}
				// It is an answer, not a failure: the transaction goes on.
				_, err := tx.Exec(t.Context(), insertThing, statement, nil)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		var name string
		if err := d.QueryRow(t.Context(), `SELECT name FROM things WHERE name = 'nobody'`, nil, &name); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("outside a transaction: %v", err)
		}
		if n, err := d.Exec(t.Context(), `DELETE FROM things WHERE name = 'nobody'`); n != 0 || err != nil {
			t.Errorf("Exec that touches no row: %d, %v", n, err)
		}
		if n, err := d.Exec(t.Context(), `DELETE FROM things`); n != 3 || err != nil {
			t.Errorf("Exec that touches 3 rows: %d, %v", n, err)
		}
	})
}

func TestUpsertWhoseConditionFailsTouchesNoRow(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const raise = `INSERT INTO things (name, number) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET number = excluded.number WHERE things.number < excluded.number`
		for _, c := range []struct{ number, touched, stands int64 }{{5, 1, 5}, {4, 0, 5}, {5, 0, 5}, {6, 1, 6}} {
			n, err := d.Exec(t.Context(), raise, "a", c.number)
			if err != nil || n != c.touched {
				t.Errorf("raise to %d touched %d rows, %v; want %d", c.number, n, err, c.touched)
			}
			if got := column[int64](t, d, `SELECT number FROM things`); !slices.Equal(got, []int64{c.stands}) {
				t.Errorf("after raise to %d there is %d", c.number, got)
			}
		}
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			var number int64
			return tx.QueryRow(t.Context(), raise+` RETURNING number`, []any{"a", 1}, &number)
		})
		if !errors.Is(err, db.ErrNotFound) {
			t.Errorf("RETURNING of an upsert that touched nothing: %v", err)
		}
	})
}

func TestOneOfManyRacersTakesTheRow(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const racers = 50
		mustExec(t, d, insertThing, "token", 7)
		var winners, losers atomic.Int32
		parallel(racers, func(int) {
			var number int64
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRow(t.Context(), `DELETE FROM things WHERE name = $1 RETURNING number`, []any{"token"}, &number)
			})
			switch {
			case err == nil && number == 7:
				winners.Add(1)
			case errors.Is(err, db.ErrNotFound):
				losers.Add(1)
			default:
				t.Errorf("got %d, %v", number, err)
			}
		})
		if winners.Load() != 1 || losers.Load() != racers-1 {
			t.Errorf("%d won and %d lost, want 1 and %d", winners.Load(), losers.Load(), racers-1)
		}
	})
}

func TestOneOfManyRacersGetsTheUniqueName(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const racers = 16
		var winners, losers atomic.Int32
		parallel(racers, func(i int) {
			_, err := d.Exec(t.Context(), insertThing, fmt.Sprint(i), 7)
			var conflict *db.ConflictError
			switch {
			case err == nil:
				winners.Add(1)
			case errors.As(err, &conflict) && conflict.Index == "things_number":
				losers.Add(1)
			default:
				t.Error(err)
			}
		})
		if winners.Load() != 1 || losers.Load() != racers-1 || count(t, d) != 1 {
			t.Errorf("%d won, %d lost, %d rows", winners.Load(), losers.Load(), count(t, d))
		}
	})
}

func TestNoUpdateOfManyIsLost(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		const writers, each = 16, 10
		mustExec(t, d, insertThing, "counter", 0)
		parallel(writers, func(int) {
			for range each {
				if _, err := d.Exec(t.Context(), `UPDATE things SET number = number + 1 WHERE name = 'counter'`); err != nil {
					t.Error(err)
				}
			}
		})
		if got := column[int](t, d, `SELECT number FROM things`); got[0] != writers*each {
			t.Errorf("%d of %d updates are there", got[0], writers*each)
		}
	})
}

// More often than there are connections: a query that is broken off must give
// its connection back.
func TestQueryThatIsBrokenOffLeavesTheConnectionUsable(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		mustExec(t, d, insertThing, "a", 1)
		mustExec(t, d, insertThing, "b", 2)
		enough := errors.New("enough")
		broken := func(q db.Querier) {
			rows := 0
			err := q.Query(t.Context(), `SELECT name FROM things`, nil, func(func(...any) error) error {
				rows++
				return enough
			})
			if !errors.Is(err, enough) || rows != 1 {
				t.Errorf("%v after %d rows", err, rows)
			}
			func() {
				defer func() {
					if recover() != any(enough) {
						t.Error("the panic did not reach the caller")
					}
				}()
				_ = q.Query(t.Context(), `SELECT name FROM things`, nil, func(func(...any) error) error { panic(enough) })
			}()
			var n int
			if err := q.QueryRow(t.Context(), `SELECT name FROM things`, nil, &n); err == nil {
				t.Error("a name was read as a number")
			}
			if err := q.QueryRow(t.Context(), `SELECT number FROM things ORDER BY number`, nil, &n); err != nil || n != 1 {
				t.Errorf("read %d, %v", n, err)
			}
		}
		for range 20 {
			broken(d)
		}
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			broken(tx)
			_, err := tx.Exec(t.Context(), insertThing, "c", 3)
			return err
		})
		if err != nil || count(t, d) != 3 {
			t.Errorf("%d rows, %v", count(t, d), err)
		}
	})
}

// parallel runs do in so many goroutines at once.
func parallel(n int, do func(i int)) {
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	all.Wait()
}
