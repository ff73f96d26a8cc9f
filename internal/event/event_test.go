package event_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func engines(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"postgres": func() string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, url())) })
	}
}

func open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

var noon = time.Date(2026, 5, 6, 12, 0, 0, 123_456_000, time.UTC)

const (
	anna  = "00000000-0000-4000-8000-00000000000a"
	boris = "00000000-0000-4000-8000-00000000000b"
)

// entries are what the tests record, a second apart.
var entries = []event.Entry{
	{Action: "user.registered", Outcome: event.Success, Actor: event.Actor{Kind: "anonymous"}, TargetID: anna, RequestID: "r1",
		Personal: event.Personal{IP: "192.0.2.1", UserAgent: "anna/1.0"}},
	{Action: "user.login", Outcome: event.Failure, Actor: event.Actor{Kind: "anonymous"}, TargetID: boris, RequestID: "r2",
		Data: map[string]string{"code": "wrong_password", "b": "2", "a": "1"}, Personal: event.Personal{IP: "2001:db8::2"}},
	{Action: "user.disabled", Outcome: event.Success, Actor: event.Actor{Kind: "user", ID: anna}, TargetID: boris, RequestID: "r3",
		Personal: event.Personal{IP: "192.0.2.1", UserAgent: "anna/1.0"}},
	{Action: "janitor.swept", Outcome: event.Success, Actor: event.Actor{Kind: "system"}},
}

func record(t testing.TB, d *db.DB) {
	t.Helper()
	for i, e := range entries {
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			return event.Record(t.Context(), tx, noon.Add(time.Duration(i)*time.Second), e)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func list(t testing.TB, d *db.DB, userID string, limit int) []event.Event {
	t.Helper()
	events, err := event.List(t.Context(), d, userID, limit)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func verify(t testing.TB, d *db.DB) (n int, changed string) {
	t.Helper()
	n, changed, err := event.Verify(t.Context(), d)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return n, changed
}

func column[T any](t testing.TB, d *db.DB, query string, args ...any) (out []T) {
	t.Helper()
	err := d.Query(t.Context(), query, args, func(scan func(...any) error) error {
		var v T
		err := scan(&v)
		out = append(out, v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsRecordedIsListedNewestFirst(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		record(t, d)
		all := list(t, d, "", 100)
		slices.Reverse(all)
		for i, got := range all {
			want := entries[i]
			if want.Data == nil {
				want.Data = map[string]string{}
			}
			if diff := cmp.Diff(want, got.Entry); diff != "" {
				t.Errorf("entry %d:\n%s", i, diff)
			}
			if at := noon.Add(time.Duration(i) * time.Second); !got.At.Equal(at) || !secret.IsCanonicalUUID(got.ID) {
				t.Errorf("entry %d is %s of %s", i, got.ID, got.At)
			}
			if i > 0 && got.ID <= all[i-1].ID {
				t.Errorf("%s does not sort after %s", got.ID, all[i-1].ID)
			}
		}
		if len(all) != len(entries) {
			t.Fatalf("%d entries of %d", len(all), len(entries))
		}
		for _, c := range []struct {
			userID string
			limit  int
			want   string
		}{{boris, 100, "r3 r2"}, {boris, 1, "r3"}, {anna, 100, "r1"}, {"", 2, " r3"}, {"nobody", 100, ""}} {
			var ids []string
			for _, e := range list(t, d, c.userID, c.limit) {
				ids = append(ids, e.RequestID)
			}
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("of %q, at most %d: %q, want %q", c.userID, c.limit, got, c.want)
			}
		}
	})
}

var errOfTheRule = errors.New("a rule said no")

func TestChangeAndEntryHappenTogetherOrNotAtAll(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		change := func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO installation (name, value) VALUES ('change', $1)`, []byte("made"))
			return err
		}
		good := entries[0]
		bad := good
		bad.Data = map[string]string{"not UTF-8": "\xff"}
		for _, c := range []struct {
			name string
			e    event.Entry
			then error
			want int
		}{{"the entry cannot be written", bad, nil, 0}, {"the rule says no", good, errOfTheRule, 0}, {"all is well", good, nil, 1}} {
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				if err := change(t.Context(), tx); err != nil {
					return err
				}
				if err := event.Record(t.Context(), tx, noon, c.e); err != nil {
					return err
				}
				return c.then
			})
			changes := column[int](t, d, `SELECT count(*) FROM installation`)[0]
			n, changed := verify(t, d)
			if (err == nil) != (c.want == 1) || changes != c.want || n != c.want || changed != "" {
				t.Errorf("%s: %d changes and %d entries (%q broken), %v", c.name, changes, n, changed, err)
			}
		}
	})
}

func TestTamperingWithAnyColumnIsFound(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		record(t, d)
		if n, changed := verify(t, d); n != len(entries) || changed != "" {
			t.Fatalf("untouched: %d entries, %q broken", n, changed)
		}
		id := list(t, d, boris, 100)[1].ID // the second of all
		tamper := func(column, set string, args ...any) {
			t.Helper()
			var kept, after string
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				if _, err := tx.Exec(t.Context(), `UPDATE events SET `+set+` WHERE id = '`+id+`'`, args...); err != nil {
					return err
				}
				n, changed, err := event.Verify(t.Context(), tx)
				kept, after = id, changed
				if column == "id" {
					kept = anna
				}
				if err != nil || n != len(entries) {
					t.Errorf("%s: verified %d entries, %v", set, n, err)
				}
				return errOfTheRule // so that the next begins with the whole trail
			})
			if !errors.Is(err, errOfTheRule) {
				t.Fatalf("%s: %v", set, err)
			}
			if after != kept {
				t.Errorf("%s: found %q", set, after)
			}
		}
		var columns []string
		for column, sets := range map[string][]string{
			"id":         {`id = '` + anna + `'`},
			"at":         {`at = at + 1`, `at = -at`},
			"action":     {`action = 'user.logout'`, `action = ''`},
			"outcome":    {`outcome = 'success'`},
			"actor_kind": {`actor_kind = 'system'`},
			"actor_id":   {`actor_id = '` + anna + `'`, `actor_id = request_id, request_id = actor_id`},
			"target_id":  {`target_id = '` + anna + `'`, `target_id = ''`},
			"request_id": {`request_id = 'r4'`},
			"data": {
				`data = '{}'`, `data = 'null'`, `data = ''`, `data = '{"code":"wrong_passworD","b":"2","a":"1"}'`, `data = data || ' '`,
				`data = replace(data, '","', '", "')`, `data = replace(data, '}', ',"c":"3"}')`, `data = replace(data, '"2"', '2')`,
				`data = '{"b":"2","a":"1","code":"wrong_password"}'`, `data = '{"a":"1","a":"1","b":"2","code":"wrong_password"}'`,
			},
			"personal": {`personal = '{}'`, `personal = '{"ip":"192.0.2.9"}'`, `personal = ''`, `personal = personal || ' '`, `personal = 'no JSON'`},
			"salt":     {`salt = NULL`},
		} {
			columns = append(columns, column)
			for _, set := range sets {
				tamper(column, set)
			}
		}
		for _, column := range []string{"salt", "commitment", "leaf"} {
			for _, value := range [][]byte{{}, {0}, make([]byte, 16), make([]byte, 32)} {
				tamper(column, column+` = $1`, value)
			}
			columns = append(columns, column)
		}
		// Another's address, with salt and commitment to fit.
		salt, personal := []byte("0123456789abcdef"), `{"ip":"192.0.2.9"}`
		sum := sha256.Sum256(append(salt, personal...))
		tamper("", `personal = $1, salt = $2, commitment = $3`, personal, salt, sum[:])
		if d.Engine() == db.SQLite { // PostgreSQL takes no such text
			for _, column := range []string{"action", "target_id", "data", "personal"} {
				tamper(column, column+` = CAST(x'ff' AS TEXT)`)
			}
		}
		slices.Sort(columns)
		if got := slices.Compact(columns); len(got) != 13 {
			t.Errorf("%d of the 13 columns were tampered with: %q", len(got), got)
		}
		if n, changed := verify(t, d); n != len(entries) || changed != "" {
			t.Errorf("afterwards: %d entries, %q broken", n, changed)
		}
	})
}

func TestErasedPersonalDataIsGoneAndTheTrailStillHolds(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		record(t, d)
		leaves := column[string](t, d, `SELECT id FROM events ORDER BY id`)
		hashes := column[[]byte](t, d, `SELECT leaf FROM events ORDER BY id`)
		erase := func(id string) {
			t.Helper()
			if err := d.Tx(t.Context(), func(tx *db.Tx) error { return event.Erase(t.Context(), tx, id) }); err != nil {
				t.Fatal(err)
			}
		}
		erase(anna) // target of the first, actor of the third
		want := []event.Personal{{}, entries[1].Personal, {}, {}}
		got := list(t, d, "", 100)
		slices.Reverse(got)
		for i, e := range got {
			if e.Personal != want[i] || e.Action != entries[i].Action || e.TargetID != entries[i].TargetID {
				t.Errorf("entry %d is %+v", i, e)
			}
		}
		left := column[int](t, d, `SELECT count(*) FROM events WHERE personal LIKE '%anna%' OR personal LIKE '%192.0.2.1%'`)
		if left[0] != 0 {
			t.Errorf("%d rows still tell of her", left[0])
		}
		// A salt that stayed would let addresses be tried against the commitment.
		if salts := column[int](t, d, `SELECT count(*) FROM events WHERE personal IS NULL AND salt IS NOT NULL`); salts[0] != 0 {
			t.Errorf("%d salts of erased data are left", salts[0])
		}
		if n, changed := verify(t, d); n != len(entries) || changed != "" {
			t.Errorf("after erasing: %d entries, %q broken", n, changed)
		}
		if diff := cmp.Diff(hashes, column[[]byte](t, d, `SELECT leaf FROM events ORDER BY id`)); diff != "" || len(leaves) != len(entries) {
			t.Errorf("erasing changed leaves:\n%s", diff)
		}
		erase(anna) // again
		erase(boris)
		if n, changed := verify(t, d); n != len(entries) || changed != "" {
			t.Errorf("after erasing all: %d entries, %q broken", n, changed)
		}
	})
}

// Who knows an address must not recognise it in two entries, or in one by trying.
func TestEqualPersonalDataIsCommittedToDifferently(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB) {
		record(t, d)
		for _, name := range []string{"salt", "commitment", "leaf", "id"} {
			if n := column[int](t, d, `SELECT count(DISTINCT `+name+`) FROM events`)[0]; n != len(entries) {
				t.Errorf("%d entries share %d values of %s", len(entries), n, name)
			}
		}
		for _, salt := range column[[]byte](t, d, `SELECT salt FROM events`) {
			if len(salt) < 16 {
				t.Errorf("a salt has %d bytes", len(salt))
			}
		}
	})
}

// golden is a row as version 1 has always written it, and the text that its
// leaf is the hash of. An auditor must be able to check a trail of today with
// the program of years later: never change the file, add to it.
type golden struct {
	ID         string  `json:"id"`
	At         int64   `json:"at"`
	Action     string  `json:"action"`
	Outcome    string  `json:"outcome"`
	ActorKind  string  `json:"actor_kind"`
	ActorID    string  `json:"actor_id"`
	TargetID   string  `json:"target_id"`
	RequestID  string  `json:"request_id"`
	Data       string  `json:"data"`
	Personal   *string `json:"personal"`
	Salt       string  `json:"salt"` // hexadecimal, as those that follow
	Commitment string  `json:"commitment"`
	Leaf       string  `json:"leaf"`
	Canonical  string  `json:"canonical"`
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCanonicalFormIsWhatItHasAlwaysBeen(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "canonical-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []golden
	if err := json.Unmarshal(b, &rows); err != nil || len(rows) < 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		leaf := sha256.Sum256([]byte(r.Canonical))
		if hex.EncodeToString(leaf[:]) != r.Leaf {
			t.Errorf("%s: the file contradicts itself", r.ID)
		}
	}
	engines(t, func(t *testing.T, d *db.DB) {
		for _, r := range rows {
			var salt any
			if r.Personal != nil {
				salt = unhex(t, r.Salt)
			}
			_, err := d.Exec(t.Context(), `INSERT INTO events
				(id, at, action, outcome, actor_kind, actor_id, target_id, request_id, data, personal, salt, commitment, leaf)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
				r.ID, r.At, r.Action, r.Outcome, r.ActorKind, r.ActorID, r.TargetID, r.RequestID,
				r.Data, r.Personal, salt, unhex(t, r.Commitment), unhex(t, r.Leaf))
			if err != nil {
				t.Fatal(err)
			}
			if _, changed := verify(t, d); changed != "" {
				t.Errorf("%s is no longer taken for whole", changed)
			}
		}
	})
}

func FuzzAnyTextIsRecordedWholeOrNotAtAll(f *testing.F) {
	for _, s := range []string{"", "user.login", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "\u2028\u2029<>&'", "é 🔑 \U0010ffff", "\xff", "a\xf0\x9f"} {
		f.Add(s, "key", "value", "192.0.2.1")
		f.Add("user.login", s, s, s)
	}
	d := open(f, "sqlite::memory:")
	f.Fuzz(func(t *testing.T, action, key, value, agent string) {
		e := event.Entry{
			Action: event.Action(action), Outcome: event.Success, Actor: event.Actor{Kind: key, ID: value}, TargetID: anna, RequestID: value,
			Data: map[string]string{key: value, value: key, "k": agent}, Personal: event.Personal{IP: value, UserAgent: agent},
		}
		err := d.Tx(t.Context(), func(tx *db.Tx) error { return event.Record(t.Context(), tx, noon, e) })
		n, changed, verr := event.Verify(t.Context(), d)
		if verr != nil || changed != "" || n > 1 || (n == 1) != (err == nil) {
			t.Fatalf("%d entries, %q broken, %v; recorded: %v", n, changed, verr, err)
		}
		if err == nil {
			if diff := cmp.Diff(e, list(t, d, "", 1)[0].Entry); diff != "" {
				t.Error(diff)
			}
		}
		if _, err := d.Exec(t.Context(), `DELETE FROM events`); err != nil {
			t.Fatal(err)
		}
	})
}
