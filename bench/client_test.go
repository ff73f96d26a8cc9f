package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadAnswer(t *testing.T) {
	long := strings.Repeat("x", 10_000) // more than a reader's buffer
	for name, c := range map[string]struct {
		text   string
		status int
		body   string
	}{
		"ordinary":        {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"other case":      {"HTTP/1.1 404 Not Found\r\ncontent-length:2\r\n\r\nno", 404, "no"},
		"no body":         {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, ""},
		"no reason":       {"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, ""},
		"long":            {"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + long, 200, long},
		"similar header":  {"HTTP/1.1 200 OK\r\nContent-Lengthy: 9\r\nContent-Length: 1\r\n\r\na", 200, "a"},
		"more comes next": {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 500", 200, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []*bufio.Reader{
				bufio.NewReaderSize(strings.NewReader(c.text), 4096),
				bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(c.text)), 4096),
			} {
				status, body, err := readAnswer(r, nil, nil)
				if err != nil || status != c.status || string(body) != c.body {
					t.Errorf("got %d, %d bytes, %v; want %d, %d bytes", status, len(body), err, c.status, len(c.body))
				}
			}
		})
	}
}

// An answer without a body can say whose it is in a header.
func TestReadAnswerKeepsTheLineOfAHeader(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nX-User-Identity: you\r\nX-User-Id: me\r\nContent-Length: 0\r\n\r\n"
	status, body, err := readAnswer(bufio.NewReader(strings.NewReader(text)), nil, []byte("X-User-Id:"))
	if err != nil || status != 200 || string(body) != "X-User-Id: me" {
		t.Errorf("got %d, %q, %v", status, body, err)
	}
}

func TestReadAnswerRefusesWhatItCannotRead(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"not HTTP":      "SSH-2.0-OpenSSH_9.2\r\n",
		"no number":     "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
		"no length":     "HTTP/1.1 200 OK\r\n\r\nhello",
		"chunked":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bad length":    "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
		"negative":      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"huge":          "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"cut in head":   "HTTP/1.1 200 OK\r\nContent-Le",
		"cut in body":   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
		"endless title": "HTTP/1.1 200 " + strings.Repeat("x", 5000),
	} {
		if status, body, err := readAnswer(bufio.NewReaderSize(strings.NewReader(text), 4096), nil, nil); err == nil {
			t.Errorf("%s: read %d %q", name, status, body)
		}
	}
}

// The requests are written by hand, so a real server has to understand them.
func TestRequestsAreHTTP(t *testing.T) {
	var seen []*http.Request
	var bodies []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		seen, bodies = append(seen, r), append(bodies, b.String())
		_, _ = w.Write([]byte("ok"))
	}))
	defer s.Close()
	c, err := dial(context.Background(), s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // a test's own
	for _, request := range [][]byte{get("/auth/session", "abc"), post("/auth/login", []byte(`{"a":1}`)), get("/readyz", "")} {
		status, body, err := c.do(request)
		if err != nil || status != 200 || string(body) != "ok" {
			t.Fatalf("answer %d %q, %v", status, body, err)
		}
	}
	if got := seen[0].Header.Get("Authorization"); seen[0].URL.Path != "/auth/session" || got != "Bearer abc" {
		t.Errorf("first request: %s with %q", seen[0].URL, got)
	}
	if seen[1].Method != "POST" || bodies[1] != `{"a":1}` || seen[1].Header.Get("Content-Type") != "application/json" {
		t.Errorf("second request: %s %q", seen[1].Method, bodies[1])
	}
	if _, given := seen[2].Header["Authorization"]; given || bodies[2] != "" {
		t.Errorf("third request: %v %q", seen[2].Header, bodies[2])
	}
}
