// Package server is one http.Handler and its life: what happens to every
// request before and after its face (identity of the client, headers, log line,
// metrics, deadline), the listeners, the background work, and a graceful stop.
// It knows no route and no rule.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"propusk/internal/api"
	"propusk/internal/web"
)

// How long anybody may take. A request that is not read by then is cut off; one
// that is not answered by then gets 503; an answer that is not taken by then,
// from its beginning on, is cut off too.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	requestTimeout    = 15 * time.Second
	writeTimeout      = 10 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
	// sendBuffer is how much of its answers the system keeps for a client that does
	// not read them (it doubles this). Left alone it would take megabytes, and ten
	// thousand such clients all the memory that it has for the connections of
	// everyone: measured, the others then waited for seconds.
	sendBuffer = 32 << 10
	// drainTime is how long the service still answers after it has said that it
	// is not ready, so that whoever sends it requests can learn of it: from
	// /readyz, or from the answer on his connection. Closing idle connections at
	// once would lose the requests that are on their way on them.
	drainTime = 300 * time.Millisecond
)

// Options are what a server is built from.
type Options struct {
	API             *api.API
	Web             *web.Web
	Log             *slog.Logger
	Ready           *Readiness
	Dev             http.Handler // for /dev and below, of a throwaway instance; nil: there is nothing
	Listen          string       // host:port
	Listener        net.Listener // listens there already; nil: Run does
	OpsListen       string       // host:port; "" for none
	TLSCert, TLSKey string       // files; "" for plain HTTP
	HTTPS           bool         // people reach the service by HTTPS, here or at a proxy
	TrustedProxies  []netip.Prefix
	TrustedNetworks []netip.Prefix
	CORSOrigins     []string
	OwnOrigins      []string // where the service's own pages are, beside the Host of the request
	ShutdownTimeout time.Duration
	Collectors      []prometheus.Collector
	Background      []func(context.Context) // run until their context ends
}

// Readiness tells whether the service can serve.
type Readiness struct {
	stopping atomic.Bool
	check    func(context.Context) error
}

// NewReadiness makes one out of a check of what the service depends on.
func NewReadiness(check func(context.Context) error) *Readiness { return &Readiness{check: check} }

// Check is nil when the service can serve.
func (r *Readiness) Check(ctx context.Context) error {
	if r.stopping.Load() {
		return api.ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return r.check(ctx)
}

// dismiss tells a client, with the answer on its connection, that the service
// stops: so it sends no request into one that is just being closed. Called as
// late as can be, for a request may have come before the end did.
func (r *Readiness) dismiss(h http.Header) {
	if r.stopping.Load() {
		h["Connection"] = goElsewhere
	}
}

// Server serves.
type Server struct {
	o       Options
	front   *front
	main    *http.Server
	ops     *http.Server
	metrics *prometheus.Registry
}

// New builds the server. It listens to nothing yet.
func New(o Options) (*Server, error) {
	reg := prometheus.NewRegistry()
	f, err := newFront(o, reg)
	if err != nil {
		return nil, err
	}
	for _, c := range append(o.Collectors, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	s := &Server{o: o, front: f, metrics: reg}
	errorLog := slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug) // handshakes that strangers break off
	s.main = &http.Server{
		Handler: f, ErrorLog: errorLog, MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, DisableGeneralOptionsHandler: true,
		TLSConfig:   &tls.Config{MinVersion: tls.VersionTLS12},
		ConnContext: boundSendBuffer,
	}
	s.ops = &http.Server{
		Handler: s.opsHandler(), ErrorLog: errorLog, MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout: readTimeout, WriteTimeout: 5 * time.Minute, IdleTimeout: idleTimeout, // a profile takes its time
	}
	return s, nil
}

func boundSendBuffer(ctx context.Context, c net.Conn) context.Context {
	if outer, ok := c.(*tls.Conn); ok {
		c = outer.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // where it fails, the connection is gone or the system knows better
	}
	return ctx
}

// Handler is what the service answers with, for tests without a listener.
func (s *Server) Handler() http.Handler { return s.front }

// OpsHandler is what the operations listener answers with.
func (s *Server) OpsHandler() http.Handler { return s.ops.Handler }

func (s *Server) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // without cmdline: a flag may hold a password
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /healthz", s.o.API)
	mux.Handle("GET /readyz", s.o.API)
	return mux
}

// Run listens and serves until ctx ends, then stops gracefully: not ready any
// more, requests in flight finished, background work ended. started is told the
// addresses once both listeners accept; ops is nil where there is none.
func (s *Server) Run(ctx context.Context, started func(main, ops net.Addr)) error {
	main, err := s.listen()
	if err != nil {
		return err
	}
	var ops net.Listener
	var opsAddr net.Addr
	if s.o.OpsListen != "" {
		if ops, err = net.Listen("tcp", s.o.OpsListen); err != nil {
			return errors.Join(fmt.Errorf("ops-listen: %w", err), main.Close())
		}
		opsAddr = ops.Addr()
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, b := range s.o.Background {
		wg.Go(func() { b(work) })
	}
	failed := make(chan error, 2)
	go func() { failed <- s.serveMain(main) }()
	if ops != nil {
		go func() { failed <- s.ops.Serve(ops) }()
	}
	started(main.Addr(), opsAddr)
	select {
	case <-ctx.Done():
		err = s.stop(ctx)
	case err = <-failed: // a listener that ends by itself
		err = errors.Join(fmt.Errorf("serve: %w", err), s.main.Close())
	}
	stopWork()
	wg.Wait()
	return errors.Join(err, s.ops.Close())
}

func (s *Server) listen() (net.Listener, error) {
	if s.o.Listener != nil {
		return s.o.Listener, nil
	}
	l, err := net.Listen("tcp", s.o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func (s *Server) serveMain(l net.Listener) error {
	if s.o.TLSCert != "" {
		return s.main.ServeTLS(l, s.o.TLSCert, s.o.TLSKey)
	}
	return s.main.Serve(l)
}

func (s *Server) stop(ctx context.Context) error {
	s.o.Log.InfoContext(ctx, "stopping", slog.String("at_most", s.o.ShutdownTimeout.String()))
	s.o.Ready.stopping.Store(true)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.ShutdownTimeout)
	defer cancel()
	select {
	case <-time.After(drainTime):
	case <-end.Done():
	}
	if err := s.main.Shutdown(end); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off after %s: %w", s.o.ShutdownTimeout, err), s.main.Close())
	}
	return nil
}
