//go:build faults

package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A harness that cannot fail proves nothing. Here it is put before a server that
// answers as the promises say, which must pass, and before ones that break one
// promise each, which must not.

// fake is that server. A person's token is his id with "token-" before it.
type fake struct {
	away   atomic.Bool // its database
	mutant string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		f.check(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return
	}
	body, _ := io.ReadAll(r.Body) // what did not come is not looked at
	flooding := strings.HasPrefix(r.Header.Get("X-Forwarded-For"), "10.66.")
	switch {
	case f.away.Load() && f.mutant == "write in the outage":
	case f.away.Load() && f.mutant == "503 without Retry-After":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case f.away.Load() && f.mutant == "500 in the outage":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case flooding && f.mutant == "wrong password":
	case flooding && f.mutant == "slow refusal":
		time.Sleep(80 * time.Millisecond)
		f.refuse(w)
		return
	case f.away.Load() || flooding,
		f.mutant == "known device" && r.Header.Get("X-Device-Token") != "",
		f.mutant == "elsewhere" && strings.Contains(string(body), `"other`):
		f.refuse(w)
		return
	}
	if r.URL.Path == "/auth/register" {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = fmt.Fprint(w, `{"data":{"user_id":"somebody","token":"fresh"}}`)
}

func (f *fake) refuse(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
}

func (f *fake) check(w http.ResponseWriter, token string) {
	id, live := strings.CutPrefix(token, "token-")
	switch {
	case f.mutant == "false 200" && !live:
	case f.mutant == "false 401" && f.away.Load():
		live = false
	case f.mutant == "no check in the outage" && f.away.Load():
		f.refuse(w)
		return
	case f.mutant == "slow check":
		time.Sleep(100 * time.Millisecond)
	case f.mutant == "another's session":
		id = "somebody else"
	}
	if !live && f.mutant != "false 200" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprintf(w, `{"data":{"user_id":"%s"}}`, id) //nolint:gosec // the id is ours, and nobody looks at it in a browser
}

func (f *fake) listen(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(l)                       //nolint:errcheck // Close ends it
	t.Cleanup(func() { _ = server.Close() }) // nothing is on its way
	return l.Addr().String()
}

func people(n int, prefix string) (list []person) {
	for i := range n {
		id := fmt.Sprint(prefix, i)
		list = append(list, person{name: id, id: id, token: "token-" + id, device: []string{"X-Device-Token: mine"}})
	}
	return list
}

// complains tells whether the one thing was found that is wrong, if any is.
func complains(t *testing.T, v *verdicts, want string) {
	t.Helper()
	missed := slices.DeleteFunc(slices.Clone(v.missed), func(m string) bool { // on a busy machine a right server is slow too
		return strings.Contains(m, "p99 of ") || strings.Contains(m, "at idle latency again")
	})
	if want == "" && len(missed) > 0 {
		t.Errorf("a right server misses: %q", missed)
	}
	if want != "" && !strings.Contains(strings.Join(v.missed, "\n"), want) {
		t.Errorf("nobody complains of %q, only of %q", want, v.missed)
	}
}

func TestHarnessSeesABrokenOutage(t *testing.T) {
	for mutant, want := range map[string]string{
		"":                        "",
		"false 401":               "false 401 to live sessions",
		"false 200":               "false 200 to revoked sessions",
		"no check in the outage":  "checks of live sessions that were not 200",
		"write in the outage":     "writes in the outage that were not 503",
		"503 without Retry-After": "writes in the outage that were not 503",
		"500 in the outage":       "writes in the outage that were not 503",
	} {
		t.Run(strings.ReplaceAll(mutant, " ", "_"), func(t *testing.T) {
			t.Parallel()
			f := &fake{mutant: mutant}
			s := &stage{t: t, p: &program{addr: f.listen(t)}, acked: map[string]string{}, live: people(livePeople, "live"), revoked: []string{"revoked"}}
			h, v := &history{}, &verdicts{out: io.Discard}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wg := s.load(ctx, h)
			time.Sleep(300 * time.Millisecond)
			h.cutting = time.Now()
			f.away.Store(true)
			time.Sleep(50 * time.Millisecond)
			h.down = time.Now()
			time.Sleep(700 * time.Millisecond)
			h.mending = time.Now()
			f.away.Store(false)
			h.back = time.Now()
			h.recovered = s.firstWrite()
			cancel()
			wg.Wait()
			h.judge(v)
			complains(t, v, want)
		})
	}
}

func TestHarnessSeesWhatWasLost(t *testing.T) {
	h := &history{back: time.Now(), before: 20, after: 40}
	h.recovered = h.back.Add(3 * time.Second)
	h.add(write, answer{sent: h.back, took: 16 * time.Second, status: 200})
	v := &verdicts{out: io.Discard}
	h.judge(v)
	for _, want := range []string{"first good write", "goroutines", "slowest answer", "checks of live sessions in the outage, that many"} {
		complains(t, v, want)
	}
}

func TestHarnessSeesAFloodThatWins(t *testing.T) {
	for mutant, want := range map[string]string{
		"":                  "",
		"slow check":        "p99 of checks in the flood",
		"another's session": "wrong answers to checks",
		"slow refusal":      "p99 of refusals",
		"wrong password":    "wrong passwords that were taken",
		"known device":      "right logins from known devices",
		"elsewhere":         "right logins from elsewhere",
	} {
		t.Run(strings.ReplaceAll(mutant, " ", "_"), func(t *testing.T) {
			t.Parallel()
			server := &fake{}
			addr := server.listen(t)
			f := &flood{sentry: people(5, "sentry"), known: people(5, "known"), others: people(5, "other"), capacity: 40}
			const long = 500 * time.Millisecond
			r := f.observe(addr, 300*time.Millisecond, long, 1200*time.Millisecond, func() func() floodReport {
				server.mutant = mutant
				done := make(chan floodReport, 1)
				go func() {
					orders, _ := json.Marshal(floodOrders{Addr: addr, Seconds: long.Seconds(), Conns: 8}) // never fails
					report, _ := playFlooder(orders)
					done <- report.(floodReport)
				}()
				return func() floodReport { return <-done }
			})
			v := &verdicts{out: io.Discard}
			f.judge(v, r)
			complains(t, v, want)
		})
	}
}
