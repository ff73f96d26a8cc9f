package main

import (
	"bytes"
	"regexp"
	"testing"
)

func TestTokensOfTheCrowdAreVersion4UUIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, token := range newCrowd(1000, 1).tokens {
		if !form.MatchString(token) || seen[token] {
			t.Fatalf("%s is none, or there twice", token)
		}
		seen[token] = true
	}
}

// Every session is asked for once before one is asked for twice, each time with
// its own token and for its own user.
func TestCrowdIsAskedForOneByOne(t *testing.T) {
	c := newCrowd(1000, 30)
	owner := map[string]string{}
	for i, token := range c.tokens {
		owner[token] = c.userOf(i)
	}
	next := c.checks(3, "")
	for i := range len(c.tokens) {
		one := next(i % 3)
		_, rest, _ := bytes.Cut(one.request, []byte("Bearer "))
		token := string(rest[:36])
		if want := `"user_id":"` + owner[token] + `"`; owner[token] == "" || string(one.want) != want || !bytes.HasPrefix(rest[36:], []byte("\r\n")) {
			t.Fatalf("%q wants %q", one.request, one.want)
		}
		delete(owner, token)
	}
	if one := c.checks(1, "first")(0); string(one.want) != `"user_id":"first"` {
		t.Errorf("of a bare server: %q", one.want)
	}
}

func TestParseMetric(t *testing.T) {
	text := []byte("HTTP/1.0 200 OK\r\n\r\n# TYPE a gauge\nsessions_total 3\nsessions 1.000064e+06\n")
	if n, err := parseMetric(text, "sessions"); err != nil || n != 1_000_064 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "sessions many\n", "other 1\n"} {
		if n, err := parseMetric([]byte(bad), "sessions"); err == nil {
			t.Errorf("%q was read as %d", bad, n)
		}
	}
}
