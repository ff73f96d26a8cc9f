package account_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

// S-17: who is unknown, disabled, deleted or mistaken gets the same status,
// body and headers, for the same hashes and the same rows written. (That the
// work takes the same time follows from that; it is measured elsewhere.)
func TestLoginTellsNothingOfAnAccount(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		other := secret.NewHasher(secret.HasherOptions{Cost: secret.Argon2{Memory: 24, Passes: 2, Threads: 1}, Workers: 1, Queue: 1})
		for _, name := range []string{"known", "disabled1", "disabled2", "deleted", "unarmed", "imported"} {
			p := newUser(t, a, name, "", false)
			switch name {
			case "disabled1", "disabled2":
				must(t, a.Service.DisableUser(t.Context(), operator(), p.ID))
			case "deleted":
				must(t, a.Service.DeleteUser(t.Context(), operator(), p.ID, nil))
			case "unarmed":
				d.exec(t, `UPDATE users SET password_hash = NULL WHERE id = '`+p.ID+`'`)
			case "imported":
				phc, err := other.Hash(t.Context(), secret.Who{}, account.NewSecret(p.Password))
				must(t, err)
				d.exec(t, `UPDATE users SET password_hash = '`+phc+`' WHERE id = '`+p.ID+`'`)
			}
		}
		tryLogin(t, a.Client, "somebody", wrongPassword).Want(t, http.StatusUnauthorized) // the network has its budget from here on
		type answer struct {
			status  int
			body    string
			headers string
			hashes  int64
			written string
			entries string
		}
		ask := func(c *apptest.Client, name, password string) answer {
			before, made := d.read(t), hashes(a)
			var got *apptest.Answer
			entries := entriesOf(t, a, func() { got = tryLogin(t, c, name, password) })
			header := got.Header.Clone()
			header.Del("Date")
			header.Del("X-Request-Id")
			out := answer{got.Status, string(got.Body), fmt.Sprint(header), hashes(a) - made, fmt.Sprint(differences(before, d.read(t))), ""}
			for _, e := range entries {
				out.entries += fmt.Sprintln(e.Action, e.Outcome, e.Actor, e.Personal, len(e.Data))
			}
			return out
		}
		german := a.With("Accept-Language", "de")
		want := ask(german, "unknown", wrongPassword)
		if want.status != http.StatusUnauthorized || want.hashes != 1 || want.entries == "" || len(want.written) < 10 {
			t.Fatalf("unknown name: %+v", want)
		}
		for what, login := range map[string][2]string{
			"unknown address":              {"unknown@example.com", wrongPassword},
			"wrong password":               {"known", wrongPassword},
			"disabled, right password":     {"disabled1", apptest.GoodPassword},
			"disabled, wrong password":     {"disabled2", wrongPassword},
			"deleted, right password":      {"deleted", apptest.GoodPassword},
			"no password":                  {"unarmed", apptest.GoodPassword},
			"a hash of another cost":       {"imported", wrongPassword},
			"what can be nobody's name":    {"a/b\\c?d", wrongPassword},
			"what can be nobody's address": {"@@", wrongPassword},
			"one letter":                   {"x", "y"},
		} {
			if got := ask(german, login[0], login[1]); got != want {
				t.Errorf("%s:\n%+v\nunknown name:\n%+v", what, got, want)
			}
		}
		problem := a.With("Accept", "application/problem+json").With("Accept-Language", "ru")
		for _, name := range []string{"known", "unknown"} {
			problem.Do(t, "POST", "/auth/login", loginBody(name, wrongPassword)).Want(t, http.StatusUnauthorized, "invalid_credentials")
		}
	})
}

// S-17, S-20: an exhausted budget tells no more than a wrong password does.
func TestExhaustedBudgetTellsNothingOfAnAccount(t *testing.T) {
	t.Parallel()
	apptest.Each(t, attempts(3), func(t *testing.T, a *apptest.App) {
		newUser(t, a, "known", "", false)
		must(t, a.Service.DisableUser(t.Context(), operator(), newUser(t, a, "disabled", "", false).ID))
		var answers []string
		for _, name := range []string{"known", "known@example.com", "disabled", "unknown", "unknown@example.com", "x"} {
			for range 3 {
				tryLogin(t, a.Client, name, wrongPassword)
			}
			got := tryLogin(t, a.Client, name, apptest.GoodPassword)
			retryAfter(t, got)
			header := got.Header.Clone()
			header.Del("Date")
			header.Del("X-Request-Id")
			answers = append(answers, fmt.Sprint(string(got.Body), header))
		}
		if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
			t.Errorf("answers differ: %q", answers)
		}
	})
}

// A password that was hashed with other parameters still opens the account, is
// hashed anew on the way, and only then; sessions live on.
func TestLoginRenewsAnOutdatedHash(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		b := anotherNode(t, a, apptest.Options{Argon2: secret.Argon2{Memory: 16, Passes: 2, Threads: 1}})
		d := direct(t, a.URL)
		before := d.rows(t, "users")
		tryLogin(t, b.Client, p.Username, wrongPassword).Want(t, http.StatusUnauthorized)
		if len(minus(before, d.rows(t, "users"))) != 0 {
			t.Error("a wrong password changed the user")
		}
		actions := map[string]int{}
		for _, e := range entriesOf(t, b, func() { tryLogin(t, b.Client, p.Username, p.Password).Want(t, http.StatusOK) }) {
			actions[string(e.Action)]++
		}
		if want := map[string]int{"password.rehashed": 1, "user.logged_in": 1}; !maps.Equal(actions, want) {
			t.Errorf("entries %v, want %v", actions, want)
		}
		if n := len(entriesOf(t, b, func() { tryLogin(t, b.Client, p.Username, p.Password).Want(t, http.StatusOK) })); n != 1 {
			t.Errorf("%d entries of the second login, want 1", n)
		}
		b.Clock.Move(time.Second)
		wantStatus(t, a, "session from before", p.Token, http.StatusOK)
		wantStatus(t, b, "session from before, on the other node", p.Token, http.StatusOK)
	})
}

// S-58: who cannot be hashed in time is told to come back, and nothing is lost
// of his budget's meaning: nobody is let in unchecked.
func TestFullHashingPoolAnswers503(t *testing.T) {
	t.Parallel()
	o := apptest.Options{HashWorkers: 1, HashQueue: 1, Argon2: secret.Argon2{Memory: 64 << 10, Passes: 12, Threads: 1}, // long enough for all to meet
		Policy: func(p *account.Policy) { p.AttemptsPerAccount = 1000 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		w := newWire(t, a)
		codes := make([]int, 16)
		together(len(codes), func(i int) {
			codes[i], _ = w.send(t, "POST", "/auth/login", "", `{"email_or_name":"`+p.Username+`","password":"`+wrongPassword+`"}`)
		})
		count := map[int]int{}
		for _, c := range codes {
			count[c]++
		}
		if count[http.StatusServiceUnavailable] == 0 || count[http.StatusUnauthorized] == 0 || len(count) != 2 {
			t.Errorf("statuses %v, want some 401 and some 503", count)
		}
		wantStatus(t, a, "a check meanwhile needs no hash", p.Token, http.StatusOK)
		tryLogin(t, a.Client, p.Username, p.Password).Want(t, http.StatusOK)
	})
}
