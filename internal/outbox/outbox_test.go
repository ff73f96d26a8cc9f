package outbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// engines gives a test an empty queue on every engine, and where its files are.
func engines(t *testing.T, test func(t *testing.T, d *db.DB, dir string)) {
	t.Helper()
	for name, url := range map[string]func(dir string) string{
		"sqlite":   func(dir string) string { return "sqlite:" + filepath.Join(dir, "test.db") },
		"postgres": func(string) string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := db.Open(t.Context(), db.Options{URL: url(dir)})
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
			test(t, d, dir)
		})
	}
}

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

// Nobody else's text is like these.
const (
	address = "very-private-person@somewhere.example"
	link    = "https://propusk.example/confirm?token=0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoK"
)

var message = outbox.Message{
	Channel: outbox.Mail, Kind: outbox.EmailChangeConfirm, SubjectID: "anna", To: address, Lang: "ru", Data: map[string]string{"link": link, "имя": "Анна"},
}

func enqueue(t *testing.T, d *db.DB, keys *secret.Keys, at time.Time, m outbox.Message) {
	t.Helper()
	if err := d.Tx(t.Context(), func(tx *db.Tx) error { return outbox.Enqueue(t.Context(), tx, keys, at, m) }); err != nil {
		t.Fatal(err)
	}
}

func waiting(t *testing.T, d *db.DB, keys *secret.Keys, limit int) []outbox.Message {
	t.Helper()
	ms, err := outbox.Waiting(t.Context(), d, keys, limit)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// of names the subjects of what waits, which need no key.
func of(t *testing.T, d *db.DB) string {
	t.Helper()
	var out []string
	err := d.Query(t.Context(), `SELECT subject_id FROM outbox ORDER BY seq`, nil, func(scan func(...any) error) error {
		var s string
		err := scan(&s)
		out = append(out, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestMessagesWaitOldestFirst(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		keys := secret.NewKeys()
		var want []outbox.Message
		for i := range 5 {
			m := message
			m.Data = map[string]string{"n": fmt.Sprint(i)}
			enqueue(t, d, keys, noon.Add(time.Duration(i)*time.Millisecond), m)
			want = append(want, m)
		}
		if diff := cmp.Diff(want, waiting(t, d, keys, 100)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want[:2], waiting(t, d, keys, 2)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMessageOfAChangeThatFailsDoesNotLeave(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		errOfTheRule := errors.New("a rule said no")
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			if err := outbox.Enqueue(t.Context(), tx, secret.NewKeys(), noon, message); err != nil {
				return err
			}
			return errOfTheRule
		})
		if !errors.Is(err, errOfTheRule) || of(t, d) != "" {
			t.Errorf("%v; waiting: %q", err, of(t, d))
		}
	})
}

// spellings are the forms in which a text could stand in a file and be read
// with ease.
func spellings(text string) (out [][]byte) {
	plain := []byte(text)
	out = append(out, plain, []byte(strings.ToUpper(text)), []byte(hex.EncodeToString(plain)), []byte(strings.ToUpper(hex.EncodeToString(plain))))
	var utf16 []byte
	for _, b := range plain {
		utf16 = append(utf16, b, 0)
	}
	out = append(out, utf16)
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 { // of what stands before it
			whole := plain[offset : offset+(len(plain)-offset)/3*3]
			out = append(out, []byte(enc.EncodeToString(whole)))
		}
	}
	return out
}

// stored is all that the database holds: each column of each row, and the files
// where there are any.
func stored(t *testing.T, d *db.DB, dir string) (out [][]byte) {
	t.Helper()
	const columns = `SELECT id, channel, kind, subject_id, lang, ref, recipient_key, sealed, created_at, next_attempt_at, last_error, expires_at FROM outbox`
	err := d.Query(t.Context(), columns, nil, func(scan func(...any) error) error {
		row := make([]any, 12)
		dest := make([]any, len(row))
		for i := range row {
			dest[i] = &row[i]
		}
		err := scan(dest...)
		for _, v := range row {
			if b, ok := v.([]byte); ok {
				out = append(out, b)
			} else {
				out = append(out, []byte(fmt.Sprint(v)))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// A queued link is a credential: who reads the database must not be able to use
// it, nor learn the address.
func TestContentCannotBeReadFromTheDatabase(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, dir string) {
		keys := secret.NewKeys()
		enqueue(t, d, keys, noon, message)
		find := func(text string) (found bool) {
			for _, place := range stored(t, d, dir) {
				for _, s := range spellings(text) {
					found = found || bytes.Contains(place, s)
				}
			}
			return found
		}
		for _, text := range []string{address, "very-private", "somewhere.example", link, "0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoK", "Анна"} {
			if find(text) {
				t.Errorf("%q can be read", text)
			}
		}
		if !find("email_change_confirm") {
			t.Error("the kind, which is not secret, is not found either: where does this test look?")
		}
		if got := waiting(t, d, keys, 1); got[0].Data["link"] != link {
			t.Errorf("who has the key reads %v", got)
		}
		if ms, err := outbox.Waiting(t.Context(), d, secret.NewKeys(), 1); err == nil || len(ms) != 0 {
			t.Errorf("another key reads %v", ms)
		}
	})
}

func TestEqualMessagesAreSealedDifferently(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		keys := secret.NewKeys()
		for range 10 {
			enqueue(t, d, keys, noon, message)
		}
		var n int
		if err := d.QueryRow(t.Context(), `SELECT count(DISTINCT sealed) FROM outbox`, nil, &n); err != nil || n != 10 {
			t.Errorf("10 equal messages have %d forms, %v", n, err)
		}
	})
}

// Who can write to the database must not be able to have one user's link sent to
// another, or have it sent as something else.
func TestContentOpensInItsOwnRowOnly(t *testing.T) {
	for name, tamper := range map[string][]string{
		"swapped": {
			`UPDATE outbox SET sealed = (SELECT o.sealed FROM outbox o WHERE o.id <> outbox.id)`,
		},
		"copied":        {`UPDATE outbox SET sealed = (SELECT o.sealed FROM outbox o WHERE o.subject_id = 'boris') WHERE subject_id = 'anna'`},
		"other subject": {`UPDATE outbox SET subject_id = 'vera' WHERE subject_id = 'anna'`},
		"other kind":    {`UPDATE outbox SET kind = 'password_changed' WHERE subject_id = 'anna'`},
		"other channel": {`UPDATE outbox SET channel = 'sms' WHERE subject_id = 'anna'`},
		"other lang":    {`UPDATE outbox SET lang = 'en' WHERE subject_id = 'anna'`},
		"other ref":     {`UPDATE outbox SET ref = 'x' WHERE subject_id = 'anna'`},
		"other id":      {`UPDATE outbox SET id = '00000000-0000-7000-8000-000000000000' WHERE subject_id = 'anna'`},
		"rows swapped by their ids": {
			`UPDATE outbox SET id = id || '-' WHERE subject_id = 'anna'`,
			`UPDATE outbox SET id = (SELECT replace(o.id, '-', '') FROM outbox o WHERE o.subject_id = 'anna') WHERE subject_id = 'boris'`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, d *db.DB, _ string) {
				keys := secret.NewKeys()
				boris := message
				boris.SubjectID, boris.To = "boris", "boris@example.com"
				enqueue(t, d, keys, noon, message)
				enqueue(t, d, keys, noon, boris)
				if n := len(waiting(t, d, keys, 10)); n != 2 {
					t.Fatalf("%d messages wait", n)
				}
				for _, statement := range tamper {
					if n, err := d.Exec(t.Context(), statement); err != nil || n == 0 {
						t.Fatalf("%s: %d rows, %v", statement, n, err)
					}
				}
				ms, err := outbox.Waiting(t.Context(), d, keys, 10)
				if err == nil {
					t.Errorf("it opened: %+v", ms)
				}
			})
		})
	}
}

func TestMessageOpensWithNoBitChanged(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		keys := secret.NewKeys()
		enqueue(t, d, keys, noon, message)
		var sealed []byte
		if err := d.QueryRow(t.Context(), `SELECT sealed FROM outbox`, nil, &sealed); err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 11, 12, len(sealed) / 2, len(sealed) - 1} {
			changed := slices.Clone(sealed)
			changed[i] ^= 1
			if _, err := d.Exec(t.Context(), `UPDATE outbox SET sealed = $1`, changed); err != nil {
				t.Fatal(err)
			}
			if ms, err := outbox.Waiting(t.Context(), d, keys, 1); err == nil {
				t.Errorf("with byte %d changed it opened: %+v", i, ms)
			}
		}
	})
}

func TestExpiredMessagesAreDropped(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		const day = 24 * time.Hour
		keys := secret.NewKeys()
		for i, name := range []string{"a", "b", "c", "d"} {
			m := message
			m.SubjectID = name
			enqueue(t, d, keys, noon.Add(time.Duration(i)*time.Second), m)
		}
		purge := func(at time.Time, limit int, wantN int64, wantLeft string) {
			t.Helper()
			n, err := outbox.Purge(t.Context(), d, at, limit)
			if left := of(t, d); err != nil || n != wantN || left != wantLeft {
				t.Errorf("at %s: dropped %d, %v, left %q; want %d, %q", at, n, err, left, wantN, wantLeft)
			}
		}
		purge(noon.Add(7*day-time.Microsecond), 100, 0, "a b c d")
		purge(noon.Add(7*day), 100, 1, "b c d")
		purge(noon.Add(8*day), 2, 2, "d") // the oldest first
		purge(noon.Add(8*day), 2, 1, "")
		purge(noon.Add(8*day), 2, 0, "")
	})
}

func TestForgottenUserIsSentNothing(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		keys := secret.NewKeys()
		for _, name := range []string{"anna", "boris", "anna", "annabel"} {
			m := message
			m.SubjectID = name
			enqueue(t, d, keys, noon, m)
		}
		forget := func(then error) error {
			return d.Tx(t.Context(), func(tx *db.Tx) error {
				if err := outbox.Forget(t.Context(), tx, "anna"); err != nil {
					return err
				}
				return then
			})
		}
		errOfTheRule := errors.New("a rule said no")
		if err := forget(errOfTheRule); !errors.Is(err, errOfTheRule) || strings.Count(of(t, d), "anna") != 3 {
			t.Errorf("taken back: %v, left %q", err, of(t, d))
		}
		for range 2 {
			err := forget(nil)
			left := strings.Fields(of(t, d))
			slices.Sort(left)
			if err != nil || !slices.Equal(left, []string{"annabel", "boris"}) {
				t.Errorf("%v, left %q", err, left)
			}
		}
	})
}
