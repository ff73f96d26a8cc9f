package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/event"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// S-22, V47: where a request comes from is what its peer is, unless that is a
// trusted proxy; then it is the right-most address that none is. It is this one
// that stands in the trail and in the log.
func TestClientIsThePeerUnlessAProxyIsTrusted(t *testing.T) {
	t.Parallel()
	o := apptest.Options{TrustedProxies: prefixes("10.0.0.0/8", "fd00::/8"), Policy: func(p *account.Policy) { p.AttemptsPerNetwork = 1 << 20 }}
	a := inMemory(t, o)
	const proxy = "10.0.0.1:4711"
	many := strings.Repeat("203.0.113.1, ", 10_000)
	for _, c := range []struct {
		name, peer string
		headers    []string // values of X-Forwarded-For
		want       string
	}{
		{"no proxy, no header", "192.0.2.7:1", nil, "192.0.2.7"},
		{"no proxy, a header", "192.0.2.7:1", []string{"203.0.113.9"}, "192.0.2.7"},
		{"no proxy, a header that names a proxy", "192.0.2.7:1", []string{"10.0.0.1"}, "192.0.2.7"},
		{"no proxy, 10,000 addresses", "192.0.2.7:1", []string{many}, "192.0.2.7"},
		{"a proxy, no header", proxy, nil, "10.0.0.1"},
		{"a proxy", proxy, []string{"203.0.113.9"}, "203.0.113.9"},
		{"the client's own word", proxy, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"in two headers", proxy, []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"the client claims to be a proxy", proxy, []string{"10.9.9.9, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", proxy, []string{"198.51.100.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"nothing but proxies", proxy, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no spaces", proxy, []string{"198.51.100.1,203.0.113.9"}, "203.0.113.9"},
		{"tabs", proxy, []string{"198.51.100.1,\t203.0.113.9\t"}, "203.0.113.9"},
		{"unknown", proxy, []string{"unknown"}, "10.0.0.1"},
		{"unknown behind an address", proxy, []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"unknown before an address", proxy, []string{"unknown, 203.0.113.9"}, "203.0.113.9"},
		{"empty", proxy, []string{""}, "10.0.0.1"},
		{"a comma at the end", proxy, []string{"203.0.113.9,"}, "10.0.0.1"},
		{"a port", proxy, []string{"203.0.113.9:80"}, "203.0.113.9"},
		{"brackets", proxy, []string{"[2001:db8::1]"}, "10.0.0.1"},
		{"brackets and a port", proxy, []string{"[2001:db8::1]:80"}, "2001:db8::1"},
		{"a port that is none", proxy, []string{"203.0.113.9:99999"}, "10.0.0.1"},
		{"a zone and a port", proxy, []string{"[fe80::1%eth0]:80"}, "10.0.0.1"},
		{"RFC 7239", proxy, []string{`for="203.0.113.9"`}, "10.0.0.1"},
		{"a zone", proxy, []string{"fe80::1%eth0"}, "10.0.0.1"},
		{"a zone that is an attack", proxy, []string{"fe80::1%203.0.113.9"}, "10.0.0.1"},
		{"a prefix", proxy, []string{"203.0.113.0/24"}, "10.0.0.1"},
		{"leading zeros", proxy, []string{"203.000.113.009"}, "10.0.0.1"},
		{"hexadecimal", proxy, []string{"0xcb007109"}, "10.0.0.1"},
		{"a name", proxy, []string{"localhost"}, "10.0.0.1"},
		{"full-width digits", proxy, []string{"２０３.0.113.9"}, "10.0.0.1"},
		{"SQL", proxy, []string{"' OR 1=1 --"}, "10.0.0.1"},
		{"10,000 addresses", proxy, []string{many + "198.51.100.5"}, "198.51.100.5"},
		{"IPv6", proxy, []string{"2001:DB8:0:0::1"}, "2001:db8::1"},
		{"IPv4 in IPv6", proxy, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"a proxy in IPv6 form", proxy, []string{"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9"},
		{"a peer in IPv6 form", "[::ffff:10.0.0.1]:4711", []string{"203.0.113.9"}, "203.0.113.9"},
		{"an IPv6 proxy", "[fd00::1]:4711", []string{"203.0.113.9"}, "203.0.113.9"},
		{"a peer with a zone", "[fe80::1%eth0]:4711", []string{"203.0.113.9"}, "fe80::1"},
	} {
		r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"email_or_name":"nobody","password":"wrong"}`))
		r.RemoteAddr = c.peer
		r.Header.Set("Content-Type", "application/json")
		r.Header["X-Forwarded-For"] = c.headers
		for _, other := range []string{"X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "Forwarded", "X-Originating-Ip"} {
			r.Header.Set(other, "100.64.0.1")
		}
		w := httptest.NewRecorder()
		a.Clock.Move(3600e9) // every attempt has a budget
		a.Server.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("%s: status %d: %s", c.name, w.Code, w.Body)
		}
		newest, err := event.List(t.Context(), a.DB, "", 1)
		if err != nil || len(newest) != 1 {
			t.Fatalf("trail: %v", err)
		}
		log := lines(t, a.Log)
		if got, logged := newest[0].Personal.IP, log[len(log)-1]["ip"]; got != c.want || logged != c.want {
			t.Errorf("%s: %s in the trail, %s in the log, want %s", c.name, got, logged, c.want)
		}
	}
}

// S-22, V47: a header that changes with every request is no new budget.
func TestHeadersDoNotDodgeTheBudgetOfANetwork(t *testing.T) {
	t.Parallel()
	const limit = 5
	policy := func(p *account.Policy) { p.AttemptsPerNetwork = limit }
	for name, o := range map[string]apptest.Options{
		"no proxy":               {Policy: policy},
		"another proxy":          {Policy: policy, TrustedProxies: prefixes("192.0.2.0/24")},
		"a proxy, which appends": {Policy: policy, TrustedProxies: prefixes("127.0.0.0/8")},
	} {
		t.Run(name, func(t *testing.T) {
			a := inMemory(t, o)
			for n := range limit + 5 {
				claim := fmt.Sprintf("203.0.%d.1", n)
				if o.TrustedProxies != nil && name != "another proxy" {
					claim += ", 198.51.100.7"
				}
				want := http.StatusUnauthorized
				if n >= limit {
					want = http.StatusTooManyRequests
				}
				a.With("X-Forwarded-For", claim).With("X-Real-Ip", claim).
					Do(t, "POST", "/auth/login", map[string]any{"email_or_name": fmt.Sprintf("name%d", n), "password": "wrong"}).Want(t, want)
			}
		})
	}
}

// V47: a proxy speaks for others. Its own address, all that is known where it
// passes on no other, must not make a caller one of the trusted networks.
func TestProxyIsNoCallerOfATrustedNetwork(t *testing.T) {
	t.Parallel()
	a := inMemory(t, apptest.Options{TrustedProxies: prefixes("10.0.0.1/32"), TrustedNetworks: prefixes("10.0.0.0/8")})
	p := a.NewPerson(t)
	for _, c := range []struct {
		name, peer, header string
		want               int
	}{
		{"a caller of the network", "10.0.0.9:1", "", http.StatusOK},
		{"through the proxy", "10.0.0.1:1", "10.0.0.9", http.StatusOK},
		{"the proxy itself", "10.0.0.1:1", "", http.StatusUnauthorized},
		{"somebody whom it does not name", "10.0.0.1:1", "unknown", http.StatusUnauthorized},
		{"somebody with rubbish", "10.0.0.1:1", "10.0.0.9, x", http.StatusUnauthorized},
		{"somebody who names the proxy", "10.0.0.1:1", "10.0.0.1", http.StatusUnauthorized},
		{"somebody from outside", "10.0.0.1:1", "10.0.0.9, 203.0.113.9", http.StatusUnauthorized},
		{"outside, without the proxy", "203.0.113.9:1", "10.0.0.9", http.StatusUnauthorized},
	} {
		r := httptest.NewRequest("GET", "http://10.0.0.2:8001/"+p.ID, nil)
		r.RemoteAddr = c.peer
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		w := httptest.NewRecorder()
		a.Server.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: status %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
	}
}
