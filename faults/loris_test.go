//go:build faults

package faults_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	slowConns  = 10_000
	slowPerSec = 2_000
	slowByte   = 4 * time.Second // between one byte and the next
)

type lorisOrders struct {
	Addr, Way string
	Conns     int
	Seconds   float64 // from the first connection on
}

type lorisReport struct {
	Opened, Refused, LeftOpen int
	LastOpened                time.Time
	Lives                     []time.Duration // of those that the server closed
}

// playLoris opens connections and uses them slowly, until the server closes them
// or its time is over.
func playLoris(text []byte) (any, error) {
	var o lorisOrders
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, err
	}
	end := time.Now().Add(time.Duration(o.Seconds * float64(time.Second)))
	var refused, left atomic.Int64
	var mu sync.Mutex
	var lives []time.Duration
	var wg sync.WaitGroup
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for opened := 0; opened < o.Conns && time.Now().Before(end); {
		<-tick.C
		for range min(slowPerSec/100, o.Conns-opened) {
			opened++
			wg.Go(func() {
				c, err := slowDialer(o.Way).Dial("tcp", o.Addr)
				if err != nil {
					refused.Add(1)
					return
				}
				defer c.Close() //nolint:errcheck // it may be closed already
				begun := time.Now()
				if dribble(c, o.Way, end) {
					mu.Lock()
					lives = append(lives, time.Since(begun))
					mu.Unlock()
				} else {
					left.Add(1)
				}
			})
		}
	}
	last := time.Now()
	wg.Wait()
	r := lorisReport{LastOpened: last, Refused: int(refused.Load()), LeftOpen: int(left.Load()), Lives: lives}
	r.Opened = o.Conns - r.Refused
	return r, nil
}

// slowDialer gives those who read slowly a window as small as can be.
func slowDialer(way string) *net.Dialer {
	d := &net.Dialer{Timeout: 5 * time.Second}
	if way == slowReading {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) // the system takes its own least
			})
		}
	}
	return d
}

const (
	slowHeader  = "header byte by byte"
	slowBody    = "body byte by byte"
	slowReading = "answer byte by byte"
)

// dribble tells whether the server closed the connection before end.
func dribble(c net.Conn, way string, end time.Time) bool {
	_ = c.SetDeadline(end)
	if way == slowReading {
		// Together more than a socket's buffer takes.
		if _, err := io.WriteString(c, strings.Repeat(ask("GET", "/openapi.json", ""), 12)); err != nil {
			return time.Now().Before(end)
		}
		one := make([]byte, 1)
		for time.Now().Before(end) {
			if _, err := c.Read(one); err != nil {
				return time.Now().Before(end)
			}
			time.Sleep(min(slowByte, time.Until(end)))
		}
		return false
	}
	begin := "GET /auth/session HTTP/1.1\r\nHost: faults\r\nX-Slow: "
	if way == slowBody {
		begin = "POST /auth/login HTTP/1.1\r\nHost: faults\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	}
	if _, err := io.WriteString(c, begin); err != nil {
		return time.Now().Before(end)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, c) // an answer may come before the end
	}()
	for {
		select {
		case <-gone:
			return time.Now().Before(end)
		case <-time.After(slowByte):
			_, _ = io.WriteString(c, " ") // where it fails, gone tells
		}
	}
}

// F15. Ten thousand slow clients neither slow the others nor fill the memory,
// and are shown out.
func TestSlowClients(t *testing.T) {
	p := serve(t, "")
	people := enrol(t, p.addr, "quick", 50, true, nil)
	for _, c := range []struct {
		way   string
		limit time.Duration
	}{{slowHeader, 5 * time.Second}, {slowBody, 10 * time.Second}, {slowReading, 15 * time.Second}} {
		t.Run(strings.ReplaceAll(c.way, " ", "_"), func(t *testing.T) {
			v := begin(t, "F15: slow clients: "+c.way)
			slowClients(t, v, p, people, c.way, c.limit)
			p.noPanic(t, v)
		})
	}
}

func slowClients(t *testing.T, v *verdicts, p *program, people []person, way string, limit time.Duration) {
	checks := func() *openLoop {
		return steady(p.addr, 500, len(people), func(i int) string { return check(people[i%len(people)].token) })
	}
	idle := checks().lasting(lasting(t, 5*time.Second))
	base := quantile(times(idle), 0.99)
	rss := memoryOf(p.pid())
	files := openFiles(p.pid()) + len(people)
	const slack = 2 * time.Second // until a file that was closed is counted, on a busy machine
	// The last of them may come late too.
	long := slowConns*time.Second/slowPerSec + limit + 3*slack

	pid, report := cast(t.Context(), t, "loris", lorisOrders{Addr: p.addr, Way: way, Conns: slowConns, Seconds: long.Seconds()}, 2*time.Minute)
	w := watchTree(p.pid(), pid)
	l, begun, most := checks(), time.Now(), 0
	var lastSeen time.Time
	for time.Since(begun) < long {
		n := openFiles(p.pid())
		most = max(most, n-files)
		if n > files+slowConns/50 { // the others may have taken some more
			lastSeen = time.Now()
		}
		time.Sleep(500 * time.Millisecond)
	}
	answers := l.end()
	peak, _ := w.end(v)
	var r lorisReport
	report(&r)

	v.note("slow connections: opened, refused, at one time", "%d, %d, %d", r.Opened, r.Refused, most)
	v.note("what they lived until the server closed them", "%s; left open %d", spread(r.Lives), r.LeftOpen)
	v.atLeast("slow connections opened", float64(r.Opened), slowConns*0.95, "")
	if way == slowReading {
		// A client that does not read cannot see the end; the server's files show it.
		v.within("last of them closed, after the last was opened", lastSeen.Sub(r.LastOpened), limit+slack)
	} else {
		v.within("the longest of their lives", quantile(r.Lives, 1), limit+slack)
		v.none("slow connections left open", r.LeftOpen, "")
	}
	n, first := unlike(answers, func(a answer) bool { return a.status == 200 })
	v.none("checks of others that failed", n, first)
	v.note("checks of others, idle", "%s", spread(times(idle)))
	v.note("checks of others, meanwhile", "%s", spread(times(answers)))
	v.within("p99 of checks meanwhile: twice idle, or 5 ms as in P2", quantile(times(answers), 0.99), max(2*base, 5*time.Millisecond))
	v.atMost("growth of memory", mib(peak-rss), 200, " MiB")
}

func openFiles(pid int) int {
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(names)
}
