package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func targetOf(s *httptest.Server, want string) target {
	c := call{request: get("/", ""), status: 200, want: []byte(want)}
	return target{addr: s.Listener.Addr().String(), pid: os.Getpid(), next: func(int) call { return c }}
}

func TestRoundCountsRightAnswers(t *testing.T) {
	var served atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = w.Write([]byte(`{"user_id":"me"}`))
	}))
	defer s.Close()
	l := newLoad(targetOf(s, `"user_id":"me"`), 4)
	defer l.close()
	r, err := l.round(context.Background(), 50*time.Millisecond)
	if err != nil || r.wrong != 0 || int64(r.done) != served.Load() || r.done < 4 || r.rate() <= 0 {
		t.Errorf("%d right and %d wrong of %d, %v: %s", r.done, r.wrong, served.Load(), err, r.complaint)
	}
	if r.latencies.quantile(.5) <= 0 {
		t.Error("no latencies")
	}
}

func TestRoundCountsWrongAnswers(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"status":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); _, _ = w.Write([]byte("me")) },
		"body":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("another")) },
		"broken line": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(handler)
			defer s.Close()
			l := newLoad(targetOf(s, "me"), 2)
			defer l.close()
			for range 2 { // the second with connections made anew
				r, err := l.round(context.Background(), 10*time.Millisecond)
				if err != nil || r.done != 0 || r.wrong < 2 || r.complaint == "" {
					t.Errorf("%d right, %d wrong (%q), %v", r.done, r.wrong, r.complaint, err)
				}
			}
		})
	}
}

// counter is a runner that tells of its turns.
type counter struct {
	name string
	log  *[]string
	bad  int // wrong answers in the first round
}

func (c *counter) round(_ context.Context, d time.Duration) (result, error) {
	*c.log = append(*c.log, c.name)
	r := result{done: int(d.Milliseconds()), elapsed: d, wrong: c.bad}
	c.bad = 0
	return r, nil
}

func TestRunnersTakeTurnsAndWarmUpDoesNotCount(t *testing.T) {
	var log []string
	between := func() error { log = append(log, "|"); return nil }
	all, err := inTurns(context.Background(), rounds{2, 30 * time.Millisecond}, between, &counter{"a", &log, 0}, &counter{"b", &log, 1})
	if err != nil || strings.Join(log, "") != "ab|ab|ab|" {
		t.Fatalf("%v, %v", log, err)
	}
	if len(all[0].rounds) != 2 || len(all[1].rounds) != 2 || all[0].rounds[0].done != 30 {
		t.Errorf("rounds: %d and %d", len(all[0].rounds), len(all[1].rounds))
	}
	if all[0].wrong != 0 || all[1].wrong != 1 {
		t.Errorf("a mistake in the warm-up got lost: %d, %d", all[0].wrong, all[1].wrong)
	}
}

func TestComparedTakesTheRatioOfNeighbours(t *testing.T) {
	at := func(rates ...int) (s series) {
		for _, r := range rates {
			s.rounds = append(s.rounds, result{done: r, elapsed: time.Second})
		}
		return s
	}
	c := compared(partSession, bareServer, 16, 0.6, at(50, 10, 60), at(100, 20, 100))
	if c.Ratio != (sample{Median: .5, Min: .5, Max: .6}) || c.Met == nil || *c.Met {
		t.Errorf("ratio %+v, met %v", c.Ratio, c.Met)
	}
	if c := compared(partSession, bareServer, 16, 0.5, at(50), at(100)); !*c.Met {
		t.Error("a goal that is just met counts as missed")
	}
	if c := compared(partUser, bareServer, 16, 0, at(50), at(100)); c.Met != nil {
		t.Error("a verdict without a goal")
	}
}

// The median latency is judged on the ratios of neighbouring rounds too.
func TestLatencyIsJudgedByTheMedianOfTheRatios(t *testing.T) {
	at := func(each ...time.Duration) (s series) {
		for _, d := range each {
			r := result{done: 1, elapsed: time.Second}
			r.latencies.add(d)
			s.rounds = append(s.rounds, r)
		}
		return s
	}
	ours, peer := at(110*time.Microsecond, 300*time.Microsecond, 115*time.Microsecond), at(100*time.Microsecond, 100*time.Microsecond, 100*time.Microsecond)
	c := compared(partSession, bareServer, 1, .9, ours, peer)
	if c.Latency != nil {
		t.Error("a verdict that nobody asked for")
	}
	if c = c.withLatency(1.2); !*c.LatencyMet || c.Latency.Max < 2.5 {
		t.Errorf("%+v, met %v", *c.Latency, *c.LatencyMet)
	}
	if c = c.withLatency(1.05); *c.LatencyMet {
		t.Errorf("%+v is met", *c.Latency)
	}
	if c = compared(partSession, bareServer, 1, .9, series{}, series{}).withLatency(1.2); *c.LatencyMet {
		t.Error("nothing measured, and met")
	}
}

// The bare server must cost what the real answer costs: the same headers, the
// same bytes.
func TestBareServerGivesTheSameAnswer(t *testing.T) {
	real := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "1234")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, `{"user_id":"me"}`)
	}))
	defer real.Close()
	a, err := answerOf(context.Background(), real.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	feed, addr, ended := startServing(t, serveBare, append(line, '\n'))
	got, err := answerOf(context.Background(), "http://"+addr, "")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Body) != `{"user_id":"me"}` || len(got.Headers) != len(a.Headers) || len(a.Headers) != 3 {
		t.Errorf("got %s with %v, want %s with %v", got.Body, got.Headers, a.Body, a.Headers)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the bare server did not end with its input: %v", err)
	}
}

// startServing runs a server that prints its address and ends with its input.
func startServing(t *testing.T, serve func(in io.Reader, out io.Writer) error, first []byte) (feed io.Closer, addr string, ended <-chan error) {
	t.Helper()
	in, write := io.Pipe()
	out, said := io.Pipe()
	end := make(chan error, 1)
	go func() { end <- serve(in, said) }()
	if len(first) > 0 {
		if _, err := write.Write(first); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return write, strings.TrimSpace(string(buf[:n])), end
}

// The least that a login needs is not less: it has hashed, and what it answers for
// is in the file.
func TestLeastLoginLeavesARecord(t *testing.T) {
	dir := t.TempDir()
	feed, addr, ended := startServing(t, func(in io.Reader, out io.Writer) error {
		return serveLeast([]string{"m=64,t=1,p=1", dir}, in, out)
	}, nil)
	c, err := dial(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing is on its way
	for _, login := range []struct {
		request []byte
		status  int
		records int64
	}{{loginRequest("anybody"), 200, 1}, {post("/auth/login", []byte("{")), 400, 1}, {loginRequest("anybody"), 200, 2}} {
		status, body, err := c.do(login.request)
		if err != nil || status != login.status || strings.Contains(string(body), `"token":"`) != (status == 200) {
			t.Errorf("answer %d %s, %v; want %d", status, body, err, login.status)
		}
		if info, err := os.Stat(filepath.Join(dir, "logins")); err != nil || info.Size() != login.records*leastRecord {
			t.Errorf("%v, %v; want %d records", info, err, login.records)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it did not end with its input: %v", err)
	}
	if err := serveLeast([]string{"m=64,t=1,p=1"}, strings.NewReader(""), io.Discard); err == nil {
		t.Error("it served without a directory")
	}
}

func TestBareHashingCountsWhatItDid(t *testing.T) {
	var out strings.Builder
	for _, whose := range []string{ownHash, cryptoHash} {
		out.Reset()
		if err := hashBare([]string{whose, "m=64,t=1,p=1"}, strings.NewReader("5ms\n5ms\n"), &out); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d answers to 2 questions: %q", n, out.String())
		}
		done, elapsed := hashFor(whose, cost{64, 1, 1}, 5*time.Millisecond, 2)
		if done < 2 || elapsed < 5*time.Millisecond {
			t.Errorf("%d hashes in %v", done, elapsed)
		}
	}
	if err := hashBare([]string{"m=64,t=1,p=1"}, strings.NewReader(""), &out); err == nil {
		t.Error("nobody's hash was made")
	}
}
