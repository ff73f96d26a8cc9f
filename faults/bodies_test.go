//go:build faults

package faults_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"
)

const (
	bodyLimit  = 64 << 10 // what the program takes of a body
	parallel   = 50
	sendPiece  = 4 << 10
	refuseTime = 100 * time.Millisecond
)

// oddBody is a request that must be refused.
type oddBody struct {
	name     string
	statuses []int
	length   int      // Content-Length; -1 for chunks
	headers  []string // beside the usual ones
	body     func() io.Reader
	limit    int64 // bytes of the body on the wire that may be read before it is refused
	pieces   int   // bytes in one chunk; 0 for many
}

func fixed(text string) (func() io.Reader, int) {
	return func() io.Reader { return strings.NewReader(text) }, len(text)
}

// long is n bytes of JSON that does not end.
func long(n int64) func() io.Reader {
	return func() io.Reader {
		return io.LimitReader(io.MultiReader(strings.NewReader(`{"username":"`), endless{}), n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func oddBodies() []oddBody {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 10<<20)) // never fails in memory
	_ = z.Close()
	var keys, few strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&keys, `,"k%d":1`, i)
	}
	for i := range 6_000 {
		fmt.Fprintf(&few, `,"k%d":1`, i)
	}
	var wide []byte
	for _, u := range utf16.Encode([]rune("\ufeff{\"username\":\"x\"}")) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	var cookies []string
	for i := range 10_000 {
		cookies = append(cookies, fmt.Sprintf("Cookie: c%d=%d", i, i))
	}
	large := []int{http.StatusRequestEntityTooLarge}
	bad := []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType}
	const mb = 1 << 20
	odd := []oddBody{
		{name: "1 MB", statuses: large, length: mb, body: long(mb)},
		{name: "1 MB in chunks", statuses: large, length: -1, body: long(mb), limit: bodyLimit},
		{name: "100 MB", statuses: large, length: 100 * mb, body: long(100 * mb)},
		{name: "100 MB in chunks", statuses: large, length: -1, body: long(100 * mb), limit: bodyLimit},
		{name: "chunks of one byte", statuses: large, length: -1, body: long(mb / 4), pieces: 1, limit: 6 * bodyLimit},
		{name: "64 KB of headers", statuses: []int{http.StatusRequestHeaderFieldsTooLarge}, headers: []string{"X-Long: " + strings.Repeat("a", 64<<10)}},
		{name: "10,000 cookies", statuses: []int{http.StatusRequestHeaderFieldsTooLarge}, headers: cookies},
		{name: "truncated by the end of the connection", statuses: bad, length: 200, body: long(100)},
	}
	for _, c := range []struct {
		name, body string
		statuses   []int
		header     string
	}{
		{"gzip", zipped.String(), []int{http.StatusUnsupportedMediaType}, "Content-Encoding: gzip"},
		{"gzip that does not say so", zipped.String(), append(bad, http.StatusRequestEntityTooLarge), ""},
		{"10,000 deep", strings.Repeat(`{"a":[`, 5_000), bad, ""},
		{"10,000 deep in a field", `{"username":` + strings.Repeat(`[`, 10_000) + strings.Repeat(`]`, 10_000) + `}`, bad, ""},
		{"1,000,000 keys", `{"a":1` + keys.String() + `}`, large, ""},
		{"6,000 keys", `{"a":1` + few.String() + `}`, append(bad, http.StatusRequestEntityTooLarge), ""},
		{"a key twice", `{"username":"a","username":"b"}`, bad, ""},
		{"NaN", `{"username":NaN}`, bad, ""},
		{"BOM", "\ufeff{\"username\":\"a\"}", bad, ""},
		{"UTF-16", string(wide), bad, ""},
		{"broken UTF-8", "{\"username\":\"\xff\xfe\"}", bad, ""},
		{"JSON that breaks off", `{"username":"a`, bad, ""},
		{"no JSON object", `[[]]`, bad, ""},
		{"two objects", `{}{}`, bad, ""},
	} {
		o := oddBody{name: c.name, statuses: c.statuses}
		o.body, o.length = fixed(c.body)
		if c.header != "" {
			o.headers = []string{c.header}
		}
		if int64(o.length) <= bodyLimit { // all of it may be read
			o.limit = int64(o.length)
		}
		odd = append(odd, o)
	}
	return odd
}

// bodyRoute is one that takes a body.
type bodyRoute struct{ method, path, mediaType string }

// bodyRoutes come from the program's own description.
func bodyRoutes(t *testing.T, p *program, user person) (routes []bodyRoute) {
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody *struct {
				Content map[string]any `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}
	a := once(p.addr, ask("GET", "/openapi.json", ""))
	if err := json.Unmarshal(a.body, &doc); err != nil {
		t.Fatalf("/openapi.json: %v", err)
	}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			if operation.RequestBody == nil {
				continue
			}
			for mediaType := range operation.RequestBody.Content {
				routes = append(routes, bodyRoute{strings.ToUpper(method), strings.ReplaceAll(path, "{user_id}", user.id), mediaType})
			}
		}
	}
	slices.SortFunc(routes, func(a, b bodyRoute) int { return strings.Compare(a.method+a.path, b.method+b.path) })
	return routes
}

// sent is what became of one odd request.
type sent struct {
	status int
	wrote  int64         // of the body, until the answer came or the connection broke
	waited time.Duration // for the answer, since the limit was exceeded or all was written
	err    error
}

// send writes the request until it is answered. Paced, it leaves the server time
// to refuse between one piece and the next, so that what was written tells what
// was read; else it writes as fast as it can.
func (o oddBody) send(addr string, rt bodyRoute, token string, paced bool) (s sent) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", addr)
	if err != nil {
		return sent{err: err}
	}
	defer c.Close() //nolint:errcheck // it may be closed already
	_ = c.SetDeadline(time.Now().Add(patience))
	answered := make(chan struct{})
	var answeredAt time.Time
	var status int
	var readErr error
	go func() {
		defer close(answered)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		answeredAt = time.Now()
		if readErr = err; err == nil {
			status = resp.StatusCode
		}
	}()
	from := o.write(c, rt, token, paced, answered, &s.wrote)
	<-answered
	s.status, s.err, s.waited = status, readErr, max(0, answeredAt.Sub(from))
	return s
}

// write gives the time from which an answer was due.
func (o oddBody) write(c net.Conn, rt bodyRoute, token string, paced bool, answered <-chan struct{}, wrote *int64) time.Time {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: faults\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n", rt.method, rt.path, token, rt.mediaType)
	for _, h := range o.headers {
		head.WriteString(h + "\r\n")
	}
	if o.length >= 0 {
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", o.length)
	} else {
		head.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	}
	due := time.Now()
	if _, err := io.WriteString(c, head.String()); err != nil || o.body == nil {
		return due
	}
	due = time.Now() // a length that is too large is seen at once
	body, piece, isDue := o.body(), make([]byte, sendPiece), o.limit == 0
	for {
		select {
		case <-answered:
			return due
		default:
		}
		n, err := io.ReadFull(body, piece)
		out := o.frame(piece[:n])
		if n == 0 {
			break
		}
		if _, err := c.Write(out); err != nil {
			return due
		}
		*wrote += int64(len(out))
		if !isDue && *wrote > o.limit {
			due, isDue = time.Now(), true
		}
		if err != nil {
			break
		}
		if paced {
			time.Sleep(2 * time.Millisecond)
		}
	}
	if !isDue {
		due = time.Now()
	}
	if tcp, ok := c.(*net.TCPConn); ok && int64(o.length) > *wrote {
		_ = tcp.CloseWrite() // the rest does not come
		due = time.Now()
	}
	return due
}

func (o oddBody) frame(b []byte) []byte {
	if o.length >= 0 {
		return b
	}
	if o.pieces == 0 {
		return fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b)
	}
	var out []byte
	for i := range b {
		out = append(out, '1', '\r', '\n', b[i], '\r', '\n')
	}
	return out
}

// F16. Bodies and headers that are too large, or odd, are refused at once, are
// not read, and cost nothing.
func TestOddBodies(t *testing.T) {
	p := serve(t, "")
	user := enrol(t, p.addr, "odd", 1, true, nil)[0]
	routes := bodyRoutes(t, p, user)
	v := begin(t, "F16: odd bodies and headers")
	v.note("routes that take a body", "%d", len(routes))
	v.atLeast("routes that take a body, that many", float64(len(routes)), 4, "")
	odd := oddBodies()
	v.note("odd requests", "%d", len(odd))
	time.Sleep(time.Second)
	rss := memoryOf(p.pid())

	var slowest time.Duration
	var past int64
	var wrong, fives, broken int
	var slowName, pastName, wrongName, fiveName, brokenName string
	record := func(o oddBody, rt bodyRoute, s sent) {
		what := fmt.Sprintf("%s %s, %s: status %d, error %v, wrote %d", rt.method, rt.path, o.name, s.status, s.err, s.wrote)
		refused := slices.Contains(o.statuses, s.status) || s.status == 401 && strings.HasPrefix(rt.path, "/oauth/")
		switch {
		case s.status >= 500:
			fives++
			fiveName = what
		case s.err != nil:
			broken++
			brokenName = what
		case !refused:
			wrong++
			wrongName = what
		}
	}
	for _, rt := range routes {
		for _, o := range odd {
			before := readBy(p.pid())
			s := o.send(p.addr, rt, user.token, true)
			record(o, rt, s)
			if s.waited > slowest {
				slowest, slowName = s.waited, rt.path+", "+o.name
			}
			if o.body != nil && s.err == nil {
				if more := readBy(p.pid()) - before - o.limit; more > past {
					past, pastName = more, rt.path+", "+o.name
				}
			}
		}
	}
	v.within("slowest refusal, alone: "+slowName, slowest, refuseTime)
	v.atMost("most that was read past the limit: "+pastName, float64(past)/1024, 64, " KiB")

	w := watchTree(p.pid())
	var waits []time.Duration
	for _, rt := range routes {
		for _, o := range odd {
			results := make([]sent, parallel)
			var wg sync.WaitGroup
			for i := range results {
				wg.Go(func() { results[i] = o.send(p.addr, rt, user.token, false) })
			}
			wg.Wait()
			for _, s := range results {
				record(o, rt, s)
				waits = append(waits, s.waited)
			}
		}
	}
	peak, _ := w.end(v)
	v.note(fmt.Sprintf("times of refusals, %d in parallel", parallel), "%s", spread(waits))
	v.none("5xx", fives, fiveName)
	v.none("refusals that did not reach the client", broken, brokenName)
	v.none("answers with another status than due", wrong, wrongName)
	v.atMost(fmt.Sprintf("growth of memory, %d in parallel", parallel), mib(peak-rss), 32, " MiB")
	v.judge(once(p.addr, check(user.token)).holds(200, user.id), "the program lives, and knows its sessions", "checked", "200")
	p.noPanic(t, v)
}
