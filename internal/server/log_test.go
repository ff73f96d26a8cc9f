package server_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"propusk/internal/apptest"
)

// S-54, S-55, V63, V102: one line a request, of known keys and values: the
// route's pattern, never the path; no name, address or secret.
func TestLogLineHoldsTheRouteAndNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	a := inMemory(t, apptest.Options{Idle: true, Debug: true})
	p := a.NewPerson(t)
	const canary = "Kanarienvogel-41-log"
	before := len(lines(t, a.Log))
	requests := 0
	send := func(c *apptest.Client, method, path string, body any) {
		c.Do(t, method, path, body)
		requests++
	}
	for _, path := range []string{
		"/" + canary, "/" + p.ID, "/" + p.ID + "?x=" + canary, "/auth/session?token=" + canary, "/auth/sessions/" + canary, "/docs/" + canary,
		"//" + canary, "/%2e%2e/" + canary, "/" + canary + "%0a%0d", "/\u202e" + canary, "/auth/login",
	} {
		for _, method := range []string{"GET", "DELETE", "PATCH", "POST", "OPTIONS", strings.ToUpper("kanarienvogel")} {
			if method == "DELETE" && strings.HasPrefix(path, "/"+p.ID) {
				continue
			}
			send(p.Client.With("X-Request-Id", canary).With("User-Agent", canary).With("Referer", "https://"+canary+".example"), method, path, nil)
		}
	}
	send(a.Client, "POST", "/auth/login", map[string]any{"email_or_name": canary, "password": canary})
	send(a.Client, "POST", "/auth/register", map[string]any{"username": "log", "email": canary, "password": canary})
	send(a.As(canary), "GET", "/auth/session", nil)

	known := map[string]*regexp.Regexp{
		"time": regexp.MustCompile(`^\d{4}-`), "level": regexp.MustCompile(`^(DEBUG|INFO)$`), "msg": regexp.MustCompile(`^request$`),
		"method": regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|other)$`), "ip": regexp.MustCompile(`^127\.0\.0\.1$`),
		"route":      regexp.MustCompile(`^(none|/docs/\{asset\}|/\{user_id\}|/auth/session|/auth/sessions/\{session_id\}|/auth/login|/auth/register)$`),
		"request_id": regexp.MustCompile(`^[0-9a-f]{16}$`), "user_id": regexp.MustCompile(`^` + p.ID + `$`), "code": regexp.MustCompile(`^[a-z_]+$`),
	}
	log := lines(t, a.Log)[before:]
	if len(log) != requests {
		t.Errorf("%d lines of %d requests", len(log), requests)
	}
	ids := map[any]bool{}
	for _, line := range log {
		for key, value := range line {
			text, isText := value.(string)
			if re := known[key]; re != nil && !re.MatchString(text) || re == nil && isText {
				t.Errorf("%s is %q", key, value)
			}
		}
		if rest := slices.Sorted(maps.Keys(line)); !slices.Contains(rest, "status") || ids[line["request_id"]] {
			t.Errorf("no status, or another request's id: %v", line)
		}
		ids[line["request_id"]] = true
	}
	for _, word := range []string{canary, strings.ToLower(canary), "KANARIENVOGEL", p.Token, p.Password, p.Email, p.Username + `"`} {
		if strings.Contains(a.Log.String(), word) {
			t.Errorf("%q was logged", word)
		}
	}
}
