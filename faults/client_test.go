//go:build faults

package faults_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const password = "corAl-Teapot-93-lantern"

// answer is what came of one request. Where err is set, nothing else is.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
	sent   time.Time
	err    error
}

func (a answer) holds(status int, text string) bool {
	return a.err == nil && a.status == status && strings.Contains(string(a.body), text)
}

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("no answer after %s: %v", span(a.took), a.err)
	}
	return fmt.Sprintf("%d after %s: %.200s", a.status, span(a.took), a.body)
}

// patience is how long the client waits for an answer: longer than the program
// promises to take.
const patience = 25 * time.Second

// line is one kept-alive connection, made anew when it broke.
type line struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
}

func (l *line) close() {
	if l.c != nil {
		_ = l.c.Close()
		l.c = nil
	}
}

// do sends a request and reads its answer.
func (l *line) do(request string) (a answer) {
	a.sent = time.Now()
	defer func() { a.took = time.Since(a.sent) }()
	if l.c == nil {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", l.addr)
		if err != nil {
			return answer{err: err, sent: a.sent}
		}
		l.c, l.r = c, bufio.NewReader(c)
	}
	_ = l.c.SetDeadline(a.sent.Add(patience))
	if _, err := io.WriteString(l.c, request); err != nil {
		l.close()
		return answer{err: err, sent: a.sent}
	}
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		l.close()
		return answer{err: err, sent: a.sent}
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		l.close()
		return answer{err: err, sent: a.sent}
	}
	if resp.Close {
		l.close()
	}
	a.status, a.header = resp.StatusCode, resp.Header
	return a
}

// once asks on a connection of its own.
func once(addr, request string) answer {
	l := line{addr: addr}
	defer l.close()
	return l.do(request)
}

func ask(method, path, body string, headers ...string) string {
	var b strings.Builder
	b.WriteString(method + " " + path + " HTTP/1.1\r\nHost: faults\r\nAccept: application/json\r\n")
	for _, h := range headers {
		if h != "" {
			b.WriteString(h + "\r\n")
		}
	}
	if body != "" {
		b.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

func bearer(token string) string { return "Authorization: Bearer " + token }

func from(ip string) string { return "X-Forwarded-For: " + ip }

func check(token string) string { return ask("GET", "/auth/session", "", bearer(token)) }

func login(name, password string, headers ...string) string {
	return ask("POST", "/auth/login", `{"email_or_name":"`+name+`","password":"`+password+`"}`, headers...)
}

func registration(name string, headers ...string) string {
	return ask("POST", "/auth/register",
		`{"user_type":"ind","username":"`+name+`","password":"`+password+`","email":"`+name+`@example.com"}`, headers...)
}

// person is a registered user with a session.
type person struct {
	name, id, token string
	device          []string // headers that make a device known again
}

type reply struct {
	Data struct {
		UserID string `json:"user_id"`
		Token  string `json:"token"`
	} `json:"data"`
}

func data(body []byte) (userID, token string) {
	var r reply
	_ = json.Unmarshal(body, &r) // what does not hold them gives none
	return r.Data.UserID, r.Data.Token
}

// device is what a client that was logged in sends along from then on.
func device(h http.Header) (headers []string) {
	if token := h.Get("X-Device-Token"); token != "" {
		headers = append(headers, "X-Device-Token: "+token)
	}
	var cookies []string
	for _, c := range h.Values("Set-Cookie") {
		pair, _, _ := strings.Cut(c, ";")
		cookies = append(cookies, pair)
	}
	if len(cookies) > 0 {
		headers = append(headers, "Cookie: "+strings.Join(cookies, "; "))
	}
	return headers
}

// enrol registers n users, and logs them in where they are to have a session.
// from gives the address of the nth one's login.
func enrol(t *testing.T, addr, prefix string, n int, sessions bool, headers func(i int) string) []person {
	t.Helper()
	people := make([]person, n)
	var next atomic.Int64
	var failed atomic.Pointer[answer]
	var wg sync.WaitGroup
	for range min(n, 4) {
		wg.Go(func() {
			l := line{addr: addr}
			defer l.close()
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				p := &people[i]
				p.name = prefix + strconv.Itoa(i)
				a := l.do(registration(p.name))
				if a.holds(201, "") && sessions {
					p.id, _ = data(a.body)
					h := ""
					if headers != nil {
						h = headers(i)
					}
					if a = l.do(login(p.name, password, h)); a.holds(200, p.id) {
						_, p.token = data(a.body)
						p.device = device(a.header)
						continue
					}
				}
				if a.status != 201 {
					failed.Store(&a)
				}
			}
		})
	}
	wg.Wait()
	if a := failed.Load(); a != nil {
		t.Fatalf("enrol %s: %s", prefix, a)
	}
	return people
}

// openLoop sends requests at a steady rate, whatever becomes of them, until it is
// stopped. An answer's time counts from when its request was due.
type openLoop struct {
	mu      sync.Mutex
	answers []answer
	late    []time.Duration // of the client itself
	free    chan *line
	stop    chan struct{}
	wg      sync.WaitGroup
}

// steady asks request(i) for i = 0, 1, … rate times a second, on conns connections
// in turn, and on more where those wait for answers.
func steady(addr string, rate float64, conns int, request func(i int) string) *openLoop {
	o := &openLoop{free: make(chan *line, conns), stop: make(chan struct{})}
	for range conns {
		o.free <- &line{addr: addr}
	}
	o.wg.Go(func() {
		// A timer of the runtime comes up to a millisecond late, which is more than
		// an answer takes.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begun, every := time.Now(), time.Duration(float64(time.Second)/rate)
		for i := 0; ; i++ {
			at := begun.Add(time.Duration(i) * every)
			if wait := time.Until(at); wait > 0 {
				_ = syscall.Nanosleep(new(syscall.NsecToTimespec(int64(wait))), nil) // at worst it is early
			}
			select {
			case <-o.stop:
				return
			default:
				o.wg.Go(func() { o.one(i, at, addr, request) })
			}
		}
	})
	return o
}

func (o *openLoop) one(i int, at time.Time, addr string, request func(i int) string) {
	var l *line
	select {
	case l = <-o.free:
	default:
		l = &line{addr: addr}
	}
	late := time.Since(at)
	a := l.do(request(i))
	a.took, a.sent = time.Since(at), at
	select {
	case o.free <- l:
	default:
		l.close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, a)
	o.late = append(o.late, late)
}

// end stops asking, waits for the answers that are due, and gives them all.
func (o *openLoop) end() []answer {
	close(o.stop)
	o.wg.Wait()
	close(o.free)
	for l := range o.free {
		l.close()
	}
	return o.answers
}

func (o *openLoop) lasting(d time.Duration) []answer {
	time.Sleep(d)
	return o.end()
}

func times(answers []answer) (took []time.Duration) {
	for _, a := range answers {
		took = append(took, a.took)
	}
	return took
}

// unlike counts the answers that are not right.
func unlike(answers []answer, right func(answer) bool) (n int, first string) {
	for _, a := range answers {
		if right(a) {
			continue
		}
		if n == 0 {
			first = a.String()
		}
		n++
	}
	return n, first
}

// tally counts answers by status.
func tally(answers []answer) string {
	counts := map[string]int{}
	for _, a := range answers {
		word := strconv.Itoa(a.status)
		if a.err != nil {
			word = "none"
		}
		counts[word]++
	}
	return fmt.Sprint(counts)
}
