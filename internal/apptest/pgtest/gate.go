package pgtest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Gate is a line to PostgreSQL that a test can break. It starts open.
type Gate struct {
	// URL leads to the server through the gate.
	URL string

	listener net.Listener
	dial     func() (net.Conn, error)
	work     sync.WaitGroup

	mu    sync.Mutex
	moved sync.Cond // mode or a link's ended has changed
	mode  mode
	delay time.Duration
	links map[*link]struct{}
}

type mode int

const (
	open mode = iota
	stalled
	cut
	torn
)

// link is one client's connection; the fields are guarded by the gate's mu.
type link struct {
	client net.Conn
	server net.Conn // nil until dialled
	ended  bool
}

// Proxy puts a gate in front of the server that rawURL names, with the URL's
// other parts unchanged. A URL with several hosts leads to the first; one that
// demands the server's name in its certificate (sslmode=verify-full) will not
// connect. The gate and its goroutines end in t.Cleanup.
func Proxy(t testing.TB, rawURL string) *Gate {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal("pgtest: Proxy wants a postgres:// URL") // url.Parse's own words would hold the password
	}
	cfg, err := pgconn.ParseConfig(rawURL)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	q := u.Query()
	for _, name := range []string{"host", "hostaddr", "port"} {
		q.Del(name) // they would lead around the gate
	}
	u.RawQuery = encode(q)
	u.Host = listener.Addr().String()

	ctx, cancel := context.WithCancel(context.Background())
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	g := &Gate{
		URL:      u.String(),
		listener: listener,
		dial:     func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) },
		links:    map[*link]struct{}{},
	}
	g.moved.L = &g.mu
	g.work.Go(g.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		g.Cut()
		g.work.Wait()
	})
	return g
}

// Cut resets all connections, and every later one as soon as it is made, as
// when the server's machine is up and the server is not. (The port keeps
// listening, for another process could take a closed one: a client sees "reset",
// not "refused".)
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = cut
	for l := range g.links {
		reset(l.client)
		if l.server != nil {
			reset(l.server)
		}
		l.ended = true
	}
	g.moved.Broadcast()
}

// Stall lets clients connect and lets nothing through, in either direction,
// not even the end of a connection: a network that drops all packets. What
// was sent before may still arrive.
func (g *Gate) Stall() { g.set(stalled) }

// Tear lets questions through and ends the connection in the middle of the next
// answer, so that what was asked is done and nobody is told. New connections
// fare no better.
func (g *Gate) Tear() { g.set(torn) }

// Slow holds every answer back for d, as a long line would; 0 ends that, also for
// what is under way.
func (g *Gate) Slow(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay = d
}

// Restore opens the gate. What was sent during a stall arrives now; what was
// cut stays cut. It does not make a slow line quick.
func (g *Gate) Restore() { g.set(open) }

func (g *Gate) set(m mode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = m
	g.moved.Broadcast()
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return // closed in Cleanup
		}
		g.work.Go(func() { g.serve(&link{client: client}) })
	}
}

func (g *Gate) serve(l *link) {
	if !g.admit(l) {
		return
	}
	defer g.end(l)
	if _, more := g.pass(l, 0); !more {
		return
	}
	server, err := g.dial()
	if err != nil || !g.join(l, server) {
		return
	}
	g.work.Go(func() {
		defer g.end(l)
		g.copy(l, l.client, server, g.answer)
	})
	g.copy(l, server, l.client, g.pass)
}

func (g *Gate) admit(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mode == cut {
		reset(l.client)
		return false
	}
	g.links[l] = struct{}{}
	return true
}

func (g *Gate) join(l *link, server net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.ended { // cut while we dialled
		_ = server.Close()
		return false
	}
	l.server = server
	return true
}

// pass waits while the gate is stalled, and gives how many of n bytes may pass.
// False means that l has ended, or ends after them.
func (g *Gate) pass(l *link, n int) (int, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.mode == stalled && !l.ended {
		g.moved.Wait()
	}
	if l.ended {
		return 0, false
	}
	return n, true
}

// answer is pass for what comes from the server.
func (g *Gate) answer(l *link, n int) (int, bool) {
	const step = 10 * time.Millisecond // until a cut is noticed
	g.mu.Lock()
	for waited := time.Duration(0); waited < g.delay && !l.ended; waited += step {
		g.mu.Unlock()
		time.Sleep(step)
		g.mu.Lock()
	}
	tear := g.mode == torn
	g.mu.Unlock()
	if tear {
		return n / 2, false
	}
	return g.pass(l, n)
}

func (g *Gate) copy(l *link, to, from net.Conn, pass func(*link, int) (int, bool)) {
	buf := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buf)
		n, more := pass(l, n)
		if _, err := to.Write(buf[:n]); err != nil || readErr != nil || !more {
			return
		}
	}
}

func (g *Gate) end(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
	l.ended = true
	delete(g.links, l)
	g.moved.Broadcast()
}

// reset closes c so that its peer sees a reset, not an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
