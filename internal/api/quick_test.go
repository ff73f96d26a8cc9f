package api_test

import (
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// The short way of a token check gives, byte for byte and header for header,
// what the route itself gives; only the long way logs.
func TestShortWayOfATokenCheckGivesTheSameAnswer(t *testing.T) {
	moscow, err := time.LoadLocation("Europe/Moscow")
	if err != nil {
		t.Fatal(err)
	}
	for _, idle := range []time.Duration{0, time.Hour} {
		o := apptest.Options{Zone: moscow, Policy: func(p *account.Policy) { p.TokenIdle = idle }}
		apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
			o := o
			o.DatabaseURL, o.Keys, o.Debug = a.URL, a.Keys, true
			long := apptest.Start(t, o)
			p := a.NewPerson(t)
			p.Do(t, "GET", "/auth/session", nil).Want(t, 200) // from the database; now it is in memory
			logged := a.Log.String()
			quick := p.Do(t, "GET", "/auth/session", nil).Want(t, 200)
			slow := long.As(p.Token).Do(t, "GET", "/auth/session", nil).Want(t, 200)
			if string(quick.Body) != string(slow.Body) {
				t.Errorf("short way: %s\nlong way:  %s", quick.Body, slow.Body)
			}
			for name := range slow.Header {
				if name != "Date" && name != "X-Request-Id" && quick.Header.Get(name) != slow.Header.Get(name) {
					t.Errorf("%s: short way %q, long way %q", name, quick.Header.Get(name), slow.Header.Get(name))
				}
			}
			if len(quick.Header) != len(slow.Header) {
				t.Errorf("headers: short way %v, long way %v", quick.Header, slow.Header)
			}
			if a.Log.String() != logged {
				t.Errorf("a successful check was logged: %s", a.Log.String()[len(logged):])
			}
			if !strings.Contains(long.Log.String(), "/auth/session") {
				t.Error("the long way was not taken")
			}
		})
	}
}
