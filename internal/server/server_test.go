package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"

	"propusk/internal/api"
	"propusk/internal/apptest"
	"propusk/internal/server"
	"propusk/internal/web"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// inMemory is a service whose database is nobody else's.
func inMemory(t testing.TB, o apptest.Options) *apptest.App {
	t.Helper()
	o.DatabaseURL = "sqlite::memory:"
	return apptest.Start(t, o)
}

// running is a server that listens.
type running struct {
	main, ops string // host:port
	log       *apptest.Log
	stop      context.CancelFunc
	ended     chan error // gives what Run gave
}

// listen runs a server over the rules of a until the test ends. check is what
// its readiness depends on.
func listen(t testing.TB, a *apptest.App, check func(context.Context) error, background ...func(context.Context)) *running {
	t.Helper()
	r := &running{log: &apptest.Log{}, ended: make(chan error, 1)}
	ready := server.NewReadiness(check)
	face, err := api.New(api.Options{Service: a.Service, Zone: time.UTC, Languages: []string{"en"}, Version: "test", Ready: ready.Check})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := web.New(web.Options{Service: a.Service, Face: face, Languages: []string{"en"}, Name: "Test"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{
		API: face, Web: pages, Log: slog.New(slog.NewJSONHandler(r.log, nil)), Ready: ready, Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0",
		ShutdownTimeout: 10 * time.Second, Background: background,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	started := make(chan struct{})
	go func() {
		r.ended <- s.Run(ctx, func(main, ops net.Addr) {
			r.main, r.ops = main.String(), ops.String()
			close(started)
		})
		close(r.ended)
	}()
	<-started
	t.Cleanup(func() {
		stop()
		for range r.ended { //nolint:revive // the test has taken what there was, or does not care
		}
	})
	return r
}

func healthy(context.Context) error { return nil }

// conn is a connection on which a test writes what it likes.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &conn{c, bufio.NewReader(c)}
}

func (c *conn) say(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("write: %v", err)
	}
}

// answer reads one answer, whole.
func (c *conn) answer() (*http.Response, []byte, error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	b, err := io.ReadAll(res.Body)
	return res, b, err
}

// get asks on a connection of its own.
func get(t testing.TB, addr, path string) (int, string) {
	t.Helper()
	c := dial(t, addr)
	c.say(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	res, b, err := c.answer()
	if err != nil {
		t.Errorf("GET %s: %v", path, err)
		return 0, ""
	}
	return res.StatusCode, string(b)
}

// lines are the log's lines of requests.
func lines(t testing.TB, log *apptest.Log) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("a log line is not one JSON object: %q: %v", line, err)
		}
		if m["msg"] == "request" {
			out = append(out, m)
		}
	}
	return out
}
