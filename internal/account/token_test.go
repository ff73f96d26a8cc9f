package account_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
)

// S-07.
func TestTokensAreRandomVersion4UUIDs(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		canonical := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		p := a.NewPerson(t)
		seen := map[string]bool{p.ID: true}
		positions := make([]map[byte]bool, 36)
		for i := range positions {
			positions[i] = map[byte]bool{}
		}
		for range 40 {
			token := another(t, a, p)
			if !canonical.MatchString(token) || seen[token] {
				t.Fatalf("token %q: not a version 4 UUID, or not a new one", token)
			}
			seen[token] = true
			for i := range 36 {
				positions[i][token[i]] = true
			}
		}
		for i, letters := range positions { // 40 draws of 16: fewer than 4 different ones in no lifetime
			if fixed := strings.ContainsRune("\x08\x0d\x0e\x12\x13\x17", rune(i)); !fixed && len(letters) < 4 {
				t.Errorf("position %d of a token takes only %d values", i, len(letters))
			}
		}
	})
}

// otherSpellings of a UUID, none of which may be taken for it.
func otherSpellings(token string) map[string]string {
	hexOnly := strings.ReplaceAll(token, "-", "")
	raw, _ := hex.DecodeString(hexOnly)
	out := map[string]string{
		"upper case": strings.ToUpper(token), "one letter in upper case": upperOne(token), "braces": "{" + token + "}",
		"urn": "urn:uuid:" + token, "no hyphens": hexOnly, "hyphens elsewhere": hexOnly[:4] + "-" + hexOnly[4:8] + "-" + hexOnly[8:12] + "-" + hexOnly[12:16] + "-" + hexOnly[16:],
		"underscores": strings.ReplaceAll(token, "-", "_"), "quotes": `"` + token + `"`, "base64 of the bytes": base64.RawURLEncoding.EncodeToString(raw),
		"a letter too many": token + "0", "a letter before": "0" + token, "twice": token + token, "a space inside": token[:18] + " " + token[18:],
		"a tab before": "\t" + token, "two spaces before": " " + token, "percent-encoded": strings.ReplaceAll(token, "-", "%2d"),
		"a comma behind": token + ",", "a list": token + ", " + token, "with a scheme again": "Bearer " + token,
		"full-width digits": strings.Map(fullWidth, token), "en dashes": strings.ReplaceAll(token, "-", "–"),
		"its hash": hex.EncodeToString(sum(token)), "null": "null", "undefined": "undefined", "array": "[]", "array of it": `["` + token + `"]`,
		"object": "{}", "zero": "0", "true": "true", "nil UUID": "00000000-0000-0000-0000-000000000000",
		"one digit changed": changeOne(token), "wildcard": strings.Repeat("%", 36), "SQL": "' OR '1'='1' OR '1'='1' OR '1'='1' --",
	}
	for n := range 36 {
		out["prefix of "+token[:n]] = token[:n]
		out["suffix from "+token[n:]] = token[n:]
	}
	delete(out, "suffix from "+token) // the whole
	return out
}

func upperOne(s string) string {
	i := strings.IndexAny(s, "abcdef")
	return s[:i] + strings.ToUpper(s[i:i+1]) + s[i+1:]
}

func changeOne(s string) string {
	if s[35] == '0' {
		return s[:35] + "1"
	}
	return s[:35] + "0"
}

func fullWidth(r rune) rune {
	if r >= '0' && r <= '9' {
		return r - '0' + '０'
	}
	return r
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// S-07, S-10, V23, V59. (What surrounds a header's value is no part of it, so
// a space behind the token is not another spelling: RFC 9110, section 5.5.)
func TestOnlyTheCanonicalSpellingOfATokenIsAccepted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		routes := [][2]string{{"GET", "/auth/session"}, {"POST", "/auth/logout"}, {"GET", "/" + p.ID}, {"DELETE", "/auth/sessions"}}
		for name, spelling := range otherSpellings(p.Token) {
			for _, r := range routes {
				got := a.With("Authorization", "Bearer "+spelling).Do(t, r[0], r[1], nil)
				if got.Status != http.StatusUnauthorized {
					t.Errorf("%s %s with %s (%q): status %d, want 401", r[0], r[1], name, spelling, got.Status)
				}
			}
		}
		for _, header := range []string{
			p.Token, "Bearer", "Bearer ", "Bearer:" + p.Token, "Bearer=" + p.Token, "Bearer\t" + p.Token, "Token " + p.Token,
			"Basic " + p.Token, "Basic " + base64.StdEncoding.EncodeToString([]byte(p.Token+":")), "DPoP " + p.Token, "JWT " + p.Token,
			"Bearer token=" + p.Token, "null", "[]", "",
		} {
			a.With("Authorization", header).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusUnauthorized)
		}
		a.With("Authorization", "Bearer "+p.Token).With("Authorization", "Bearer "+p.Token).
			Do(t, "GET", "/auth/session", nil).Want(t, http.StatusUnauthorized)

		a.With("Authorization", "bEARER "+p.Token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK) // a scheme has no case
		wantStatus(t, a, "the token itself, after all of that", p.Token, http.StatusOK)
	})
}

// V63, V68: a token or an identity counts nowhere but in its header.
func TestIdentityComesFromTheAuthorizationHeaderAlone(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		before := direct(t, a.URL).read(t)
		query := "?token=" + p.Token + "&access_token=" + p.Token + "&user_id=" + p.ID
		stranger := a.With("Cookie", "session="+p.Token+"; token="+p.Token+"; __Host-session="+p.Token).
			With("X-Auth-Token", p.Token).With("X-User-Id", p.ID).With("X-User-Role", "Admin").With("X-Forwarded-User", p.ID).
			With("Proxy-Authorization", "Bearer "+p.Token).With("X-Original-Url", "/"+p.ID)
		for _, c := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/auth/session", nil},
			{"POST", "/auth/logout", nil},
			{"GET", "/auth/sessions", nil},
			{"DELETE", "/auth/sessions", nil},
			{"POST", "/auth/reauthenticate", map[string]any{"password": p.Password, "token": p.Token, "user_id": p.ID}},
			{"POST", "/auth/password", map[string]any{"current_password": p.Password, "new_password": "another-Velvet-55-kite", "user_id": p.ID}},
			{"GET", "/" + p.ID, nil},
			{"PUT", "/" + p.ID, map[string]any{"username": p.Username, "email": "thief@example.com", "user_id": p.ID, "token": p.Token}},
			{"PATCH", "/" + p.ID, map[string]any{"email": "thief@example.com", "id": p.ID}},
			{"DELETE", "/" + p.ID, nil},
		} {
			stranger.Do(t, c.method, c.path+query, c.body).Want(t, http.StatusUnauthorized, "token_required")
		}
		if d := differences(before, direct(t, a.URL).read(t)); len(d) > 0 {
			t.Errorf("something was changed: %v", d)
		}
		if strings.Contains(a.Log.String(), p.Token) {
			t.Error("a token in a URL or cookie was logged")
		}
	})
}

// S-07, V31.
func TestTokenIsStoredOnlyAsItsHash(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		old := p.Token
		p.Token = p.Do(t, "POST", "/auth/reauthenticate", map[string]any{"password": p.Password}).Want(t, http.StatusOK).Text("token")
		wantStatus(t, a, "renewed token", p.Token, http.StatusOK)
		stored := dump(t, a)
		for _, token := range []string{old, p.Token} {
			for name, needle := range encodings(token) {
				if strings.Contains(stored, needle) {
					t.Errorf("the database holds a token, %s", name)
				}
			}
		}
		if !strings.Contains(stored, string(sum(p.Token))) && !strings.Contains(stored, hex.EncodeToString(sum(p.Token))) {
			t.Error("the hash of the token was not found: this test looks in the wrong place")
		}
	})
}

// dump is all that the database holds: the files of SQLite, byte for byte with
// the write-ahead log, or every row of PostgreSQL.
func dump(t testing.TB, a *apptest.App) string {
	t.Helper()
	var all strings.Builder
	if path, ok := strings.CutPrefix(a.URL, "sqlite:"); ok {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil && suffix != "-journal" {
				t.Fatalf("dump: %v", err)
			}
			all.Write(b)
		}
		return all.String()
	}
	for name, rows := range direct(t, a.URL).read(t) {
		all.WriteString(name + "\n" + strings.Join(rows, "\n") + "\n")
	}
	return all.String()
}

// encodings are the forms in which a secret could have got somewhere, whatever
// stands around it.
func encodings(secret string) map[string]string {
	out := map[string]string{
		"as it is": secret, "reversed": reversed(secret), "in upper case": strings.ToUpper(secret),
		"in hexadecimal": hex.EncodeToString([]byte(secret)), "in upper-case hexadecimal": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"URL-encoded": strings.ReplaceAll(secret, "-", "%2D"),
	}
	if b, err := hex.DecodeString(strings.ReplaceAll(secret, "-", "")); err == nil && len(b) >= 16 {
		out["as the bytes of the UUID"] = string(b)
		out["as the hexadecimal of the UUID"] = hex.EncodeToString(b)
	}
	if b, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(b) == 32 {
		out["as the bytes of the token"] = string(b)
		out["as the hexadecimal of the token"] = hex.EncodeToString(b)
	}
	// In base64 a text looks different at each of the three places that it can
	// have within a group; what depends on its neighbours is cut off.
	for shift, name := range []string{"in base64", "in base64, one byte on", "in base64, two bytes on"} {
		for alphabet, enc := range map[string]*base64.Encoding{"": base64.RawStdEncoding, " (URL)": base64.RawURLEncoding} {
			s := enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			out[name+alphabet] = s[[]int{0, 2, 3}[shift] : len(s)-2]
		}
	}
	return out
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// S-12, V22: both lifetimes, to the second, for a session that is in memory and
// for one that was never looked at.
func TestTokenLivesExactlyAsLongAsPromised(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		type life struct {
			used, unused string
			ends         time.Time
		}
		begin := func(remember bool, want time.Duration) life {
			body := loginBody(p.Username, p.Password)
			body["remember_me"] = remember
			first := a.Do(t, "POST", "/auth/login", body).Want(t, http.StatusOK)
			if got := first.Data("token-expiry"); got != want.Seconds() {
				t.Errorf("remember_me %v: token-expiry %v, want %v", remember, got, want.Seconds())
			}
			at, err := time.Parse(time.RFC3339Nano, first.Text("expires_at"))
			if err != nil || !at.Equal(a.Clock.Now().Add(want)) {
				t.Errorf("remember_me %v: expires_at %v, want %v (%v)", remember, at, a.Clock.Now().Add(want), err)
			}
			return life{first.Text("token"), a.Do(t, "POST", "/auth/login", body).Text("token"), at}
		}
		short, long := begin(false, 24*time.Hour), begin(true, 30*24*time.Hour)
		for _, l := range []life{short, long} {
			wantStatus(t, a, "fresh token", l.used, http.StatusOK)
			a.Clock.Move(l.ends.Add(-time.Second).Sub(a.Clock.Now()))
			wantStatus(t, a, "a second before its end", l.used, http.StatusOK)
			a.Clock.Move(time.Second)
			wantStatus(t, a, "at its end", l.used, http.StatusUnauthorized)
			wantStatus(t, a, "never used, at its end", l.unused, http.StatusUnauthorized)
			a.Clock.Move(time.Second)
			wantStatus(t, a, "a second after its end", l.used, http.StatusUnauthorized)
		}
	})
}

func withIdle(limit time.Duration) apptest.Options {
	return apptest.Options{Policy: func(p *account.Policy) { p.TokenIdle = limit }}
}

// S-12.
func TestTokenEndsWhenItIsNotUsed(t *testing.T) {
	t.Parallel()
	apptest.Each(t, withIdle(time.Hour), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		known, fresh := p.Token, another(t, a, p)
		said := p.Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Text("idle_expires_at")
		if at, err := time.Parse(time.RFC3339Nano, said); err != nil || !at.Equal(a.Clock.Now().Add(time.Hour)) {
			t.Errorf("idle_expires_at %q, want in an hour", said)
		}
		a.Clock.Move(time.Hour - time.Second)
		other := anotherNode(t, a, withIdle(time.Hour))
		other.Clock.Move(time.Hour - time.Second)
		wantStatus(t, other, "a second before, on another node", fresh, http.StatusOK)
		a.Clock.Move(time.Second)
		wantStatus(t, a, "in memory, unused for an hour", known, http.StatusUnauthorized)
		a.Clock.Move(time.Second)
		wantStatus(t, a, "in memory, unused for longer", known, http.StatusUnauthorized)
	})
}

// S-12: use moves the idle limit, but never the absolute one; neither a restart
// nor the end of another session of the same user forgets the use.
func TestUseExtendsTheIdleLimitOnly(t *testing.T) {
	t.Parallel()
	o := withIdle(time.Hour)
	run := func(t *testing.T, engine db.Engine) {
		o := o
		o.DatabaseURL = freshURL(t, engine)
		var a *apptest.App
		var p *apptest.Person
		o.Keys = nil
		t.Run("first life", func(t *testing.T) {
			a = apptest.Start(t, o)
			p = a.NewPerson(t)
			for range 3 { // 2 h 15 min in use
				a.Clock.Move(45 * time.Minute)
				wantStatus(t, a, "in use", p.Token, http.StatusOK)
			}
			b := another(t, a, p)
			a.As(b).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK) // memory forgets the user, not the use
			a.Clock.Move(45 * time.Minute)
			wantStatus(t, a, "after another session of the user ended", p.Token, http.StatusOK)
		})
		o.Keys = a.Keys
		b := apptest.Start(t, o) // the first has stopped gracefully
		b.Clock.Move(3*time.Hour + 45*time.Minute)
		wantStatus(t, b, "after a restart, 45 minutes after the last use", p.Token, http.StatusOK)
		for elapsed := 3*time.Hour + 45*time.Minute; elapsed < 23*time.Hour+15*time.Minute; elapsed += 45 * time.Minute {
			b.Clock.Move(45 * time.Minute)
			wantStatus(t, b, "in use", p.Token, http.StatusOK)
		}
		b.Clock.Move(45 * time.Minute)
		wantStatus(t, b, "in use, after 24 hours", p.Token, http.StatusUnauthorized)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, db.SQLite) })
	t.Run("postgres", func(t *testing.T) { run(t, db.Postgres) })
}

// S-12: a node that has not seen a session for long must not end it for want
// of use while it is in use elsewhere.
func TestUseOnOneNodeCountsOnAnother(t *testing.T) {
	t.Parallel()
	apptest.Each(t, withIdle(time.Hour), func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		var seen bool
		t.Run("other node", func(t *testing.T) { // its end writes down what it has seen, as it does every minute
			b := anotherNode(t, a, withIdle(time.Hour))
			wantStatus(t, a, "first node", p.Token, http.StatusOK)
			b.Clock.Move(50 * time.Minute)
			wantStatus(t, b, "second node", p.Token, http.StatusOK)
			seen = true
		})
		a.Clock.Move(70 * time.Minute)
		if wantStatus(t, a, "first node, 70 minutes after its own last look, 20 after the other's", p.Token, http.StatusOK); !seen {
			t.Error("the second node did not see the session")
		}
		a.Clock.Move(60 * time.Minute)
		wantStatus(t, a, "unused for an hour", p.Token, http.StatusUnauthorized)
	})
}

// V60.
func TestRememberedTokensEndEachByItself(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		body := loginBody(p.Email, p.Password)
		body["remember_me"] = true
		first := a.Do(t, "POST", "/auth/login", body).Want(t, http.StatusOK).Text("token")
		a.Clock.Move(24 * time.Hour)
		second := a.Do(t, "POST", "/auth/login", body).Want(t, http.StatusOK).Text("token")
		if first == second {
			t.Error("two devices share one token")
		}
		a.Clock.Move(29 * 24 * time.Hour)
		wantStatus(t, a, "first device after 30 days", first, http.StatusUnauthorized)
		wantStatus(t, a, "second device after 29 days", second, http.StatusOK)
		a.As(second).Do(t, "POST", "/auth/logout", nil).Want(t, http.StatusOK)
		wantStatus(t, a, "second device after logout", second, http.StatusUnauthorized)
	})
}

// S-11, V56: a token that was planted before the login is not taken over.
func TestPlantedTokenIsNeverAdopted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		planted := "11111111-2222-4333-8444-555555555555"
		attacker := a.NewPerson(t)
		for _, token := range []string{planted, attacker.Token} {
			got := a.As(token).With("Cookie", "session="+token+"; __Host-session="+token).
				Do(t, "POST", "/auth/login?token="+token, loginBody(p.Username, p.Password)).Want(t, http.StatusOK)
			if got.Text("token") == token {
				t.Error("the login gave the planted token")
			}
			a.Do(t, "POST", "/auth/login", `{"email_or_name":"`+p.Username+`","password":"`+p.Password+`","token":"`+token+`"}`).
				Want(t, http.StatusBadRequest, "unknown_field")
		}
		wantStatus(t, a, "planted token", planted, http.StatusUnauthorized)
		if id := attacker.Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Text("user_id"); id != attacker.ID {
			t.Errorf("the attacker's session is now %s's", id)
		}
	})
}

// S-11: what proves the owner anew gives a new token and ends the old one, and
// not the session or its age.
func TestProofAnewRenewsTheToken(t *testing.T) {
	t.Parallel()
	const next = "another-Velvet-55-kite"
	for name, c := range map[string]struct {
		path string
		body func(p *apptest.Person) map[string]any
	}{
		"reauthenticate": {"/auth/reauthenticate", func(p *apptest.Person) map[string]any { return map[string]any{"password": p.Password} }},
		"change of password": {"/auth/password", func(p *apptest.Person) map[string]any {
			return map[string]any{"current_password": p.Password, "new_password": next}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
				p := a.NewPerson(t)
				before := p.Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK)
				a.Clock.Move(time.Hour)
				renewed := p.Do(t, "POST", c.path, c.body(p)).Want(t, http.StatusOK)
				wantStatus(t, a, "old token", p.Token, http.StatusUnauthorized)
				after := a.As(renewed.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK)
				if after.Text("session_id") != before.Text("session_id") || after.Text("expires_at") != before.Text("expires_at") {
					t.Errorf("another session, or a longer one: %s, before: %s", after.Body, before.Body)
				}
				if after.Text("authenticated_at") == before.Text("authenticated_at") {
					t.Error("the new proof was not noted")
				}
				if got, want := renewed.Data("token-expiry"), (23 * time.Hour).Seconds(); got != want {
					t.Errorf("token-expiry %v, want the %v that are left", got, want)
				}
			})
		})
	}
}

// S-11: of many proofs at once with one token, one gives a token that lives.
func TestTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerAccount = 1000 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		w := newWire(t, a)
		tokens := make([]string, 16)
		together(len(tokens), func(i int) {
			code, b := w.send(t, "POST", "/auth/reauthenticate", p.Token, `{"password":"`+p.Password+`"}`)
			if tokens[i] = text(b, "token"); code != http.StatusOK && code != http.StatusUnauthorized {
				t.Errorf("status %d: %s", code, b)
			}
		})
		live := 0
		for _, token := range append(tokens, p.Token) {
			if token != "" && status(t, a, token) == http.StatusOK {
				live++
			}
		}
		if live != 1 {
			t.Errorf("%d tokens live, want 1", live)
		}
	})
}
