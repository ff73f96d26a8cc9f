package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/apptest"
)

// F15: clients that send their headers or their body drop by drop are cut off
// in time, and nobody else waits for them.
func TestSlowClientsAreCutOffWhileOthersAreServed(t *testing.T) {
	t.Parallel()
	const each = 50
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), healthy)
	const head = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	stop := make(chan struct{})
	var dripping, slow sync.WaitGroup
	drip := func(begin, drop string, limit time.Duration) {
		c := dial(t, r.main)
		c.say(t, begin)
		begun := time.Now()
		dripping.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(500 * time.Millisecond):
				}
				if _, err := io.WriteString(c, drop); err != nil {
					return
				}
			}
		})
		slow.Go(func() {
			b, _ := io.ReadAll(c.r) // until the server closes; a reset is as good
			if d := time.Since(begun); d > limit {
				t.Errorf("%.20q…: cut off after %v, want at most %v", begin, d, limit)
			}
			if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 400 ") && !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
				t.Errorf("%.20q…: %s", begin, b)
			}
		})
	}
	const busy = 3 * time.Second // how late a loaded machine may be
	for range each {
		drip("GET /healthz HTTP/1.1\r\n", "X-Drop: 1\r\n", 5*time.Second+busy)
		drip(head+"Content-Length: 1000\r\n\r\n{", " ", 10*time.Second+busy)
		drip(head+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 10*time.Second+busy)
		drip("", "", 5*time.Second+busy) // says nothing at all
	}
	served := make(chan struct{})
	go func() { slow.Wait(); close(served) }()
	for n := 0; ; n++ {
		select {
		case <-served:
			if close(stop); n < 20 {
				t.Errorf("%d others were served meanwhile", n)
			}
			dripping.Wait()
			return
		case <-time.After(100 * time.Millisecond):
		}
		begun := time.Now()
		if code, _ := get(t, r.main, "/healthz"); code != http.StatusOK || time.Since(begun) > 2*time.Second {
			t.Errorf("somebody else got %d after %v", code, time.Since(begun))
		}
	}
}

// F15: who asks for much and reads nothing is cut off in time, and little is kept
// for him meanwhile.
func TestAnswersThatNobodyReadsAreCutOff(t *testing.T) {
	t.Parallel()
	const asked = 40
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), healthy)
	_, document := get(t, r.main, "/openapi.json")
	c, err := net.Dial("tcp", r.main)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // closed by the other side
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", asked)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10*time.Second + 3*time.Second) // as promised, and for a loaded machine
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
	if n == 0 || n > 256<<10 {
		t.Errorf("%d bytes of %d answers of %d bytes were kept", n, asked, len(document))
	}
}

// F16: more than 32 KiB of headers is refused, and not read to its end.
func TestTooManyHeadersAre431(t *testing.T) {
	t.Parallel()
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), healthy)
	for name, headers := range map[string]string{
		"one of 64 KiB":  "X-Big: " + strings.Repeat("x", 64<<10) + "\r\n",
		"10,000 cookies": strings.Repeat("Cookie: a=b\r\n", 10_000),
		"a long path":    "",
	} {
		t.Run(name, func(t *testing.T) {
			path := "/healthz"
			if headers == "" {
				path += "?" + strings.Repeat("x", 64<<10)
			}
			c := dial(t, r.main)
			go func() { _, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n") }()
			if res, b, err := c.answer(); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%v: %s", err, b)
			}
		})
	}
	c := dial(t, r.main)
	c.say(t, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: "+strings.Repeat("x", 30<<10)+"\r\n\r\n")
	if res, b, err := c.answer(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("30 KiB: %v: %s", err, b)
	}
}

// F7: what the service depends on may hang; /readyz says so in time, and
// /healthz needs nothing.
func TestReadinessDoesNotHang(t *testing.T) {
	t.Parallel()
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	for _, addr := range []string{r.main, r.ops} {
		begun := time.Now()
		code, body := get(t, addr, "/readyz")
		if d := time.Since(begun); code != http.StatusServiceUnavailable || d > 4*time.Second {
			t.Errorf("/readyz: %d after %v: %s", code, d, body)
		}
		if code, _ := get(t, addr, "/healthz"); code != http.StatusOK {
			t.Errorf("/healthz: %d", code)
		}
	}
}

// S-60, V103: metrics and profiles are at the operations listener only.
func TestOperationsAreNotPublic(t *testing.T) {
	t.Parallel()
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), healthy)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars"} {
		if code, body := get(t, r.main, path); code != http.StatusNotFound {
			t.Errorf("%s in public: %d: %s", path, code, body)
		}
	}
	for path, word := range map[string]string{"/metrics": "propusk_http_request_seconds", "/debug/pprof/": "goroutine", "/healthz": "success", "/readyz": "success"} {
		if code, body := get(t, r.ops, path); code != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("%s for the operator: %d: %s", path, code, body)
		}
	}
	for _, path := range []string{"/auth/session", "/docs", "/openapi.json"} {
		if code, _ := get(t, r.ops, path); code != http.StatusNotFound {
			t.Errorf("%s at the operations listener: %d", path, code)
		}
	}
}
