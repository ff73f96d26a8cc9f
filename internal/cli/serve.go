package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"syscall"
	"time"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/config"
	"propusk/internal/server"
	"propusk/internal/web"
)

type serveCmd struct{ config.Flags }

// Run serves until the program is told to stop.
func (c *serveCmd) Run(r *run) error {
	cfg, err := config.Load(c.Flags, r.Environ, os.ReadFile, config.Serve)
	if err != nil {
		return err
	}
	return serve(r, cfg)
}

func serve(r *run, cfg config.Config) error {
	ctx, stop := untilSignal(r.ctx)
	defer stop()
	log := newLogger(r, cfg)
	var listener net.Listener
	if cfg.Mode == config.Dev {
		var err error
		if listener, err = listenFirst(&cfg); err != nil {
			return err
		}
		defer listener.Close() //nolint:errcheck // it is closed already, unless we fail before we serve
	}
	in, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer in.close()
	if cfg.Mode == config.Dev {
		if err := seedUser(ctx, in.service); err != nil {
			return err
		}
	}
	if err := in.service.Join(ctx); err != nil {
		return err
	}
	warn(ctx, log, cfg)
	ready := server.NewReadiness(in.service.Ready)
	face, err := api.New(apiOptions(cfg, in.service, ready.Check))
	if err != nil {
		return err
	}
	messages, err := newMessenger(cfg, in, log)
	if err != nil {
		return err
	}
	pages, err := web.New(webOptions(cfg, in.service, face))
	if err != nil {
		return err
	}
	o := serverOptions(cfg, log, ready, in.service, messages)
	o.API, o.Web, o.Listener = face, pages, listener
	if cfg.Mode == config.Dev {
		o.Dev = devFace(ctx, cfg, in, messages, face)
	}
	s, err := server.New(o)
	if err != nil {
		return err
	}
	moreThreads()
	return s.Run(ctx, func(main, ops net.Addr) {
		greet(r, cfg, in, main, ops)
		go tidyUp()
	})
}

// untilSignal gives a context that the first signal ends. The second one ends the
// program at once: that must be so before anybody can see that the first has come,
// or one who then sends the second would find it swallowed.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, cancel
}

// tidyUp gives back the memory that only the start needed. Pools let go of what
// they hold at the second collection.
func tidyUp() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}

// moreThreads lets twice as many goroutines run at one time as there are CPUs.
// On a machine that is busy with other work, hashing first of all, the system
// takes the CPU away from a thread now and then; whoever stands behind it in the
// queue of its processor, such as a token check, is then run by another.
func moreThreads() {
	if os.Getenv("GOMAXPROCS") == "" { // or else the operator has decided
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// How much garbage the collector lets grow beside what is alive: by default as
// much again. That is little beside a small service, which collects often under
// load, so it gets twice as much; more would let a burst of large bodies take all
// the memory there is. And it is the whole once more beside a million sessions,
// which hold no pointers and cost a collection nothing: they get this room.
const (
	tuneEvery   = time.Second // thousands of clients may come at once
	garbageRoom = 32 << 20
)

// tuneCollector keeps that room the same.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return // the operator has decided
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	for now := 0; ; {
		metrics.Read(live)
		held := max(live[0].Value.Uint64(), 1<<20)
		if percent := int(min(max(100*garbageRoom/held, 10), 200)); percent != now { // setting it stops everything for a moment
			debug.SetGCPercent(percent)
			now = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func apiOptions(cfg config.Config, service *account.Service, ready func(context.Context) error) api.Options {
	o := api.Options{
		Service: service, Zone: cfg.TimeZone, Languages: cfg.Languages, Version: Version,
		Literals: cfg.Mode == config.Dev, Ready: ready,
	}
	if cfg.PublicURL != nil {
		o.PublicURL = cfg.PublicURL.String()
	}
	o.HTTPS = https(cfg)
	return o
}

func webOptions(cfg config.Config, service *account.Service, face *api.API) web.Options {
	o := web.Options{Service: service, Face: face, Languages: cfg.Languages, Name: "Propusk", HTTPS: https(cfg)}
	if cfg.PublicURL != nil {
		o.Name = cfg.PublicURL.Hostname()
	}
	return o
}

// https tells whether people reach the service by HTTPS, here or at a proxy.
func https(cfg config.Config) bool {
	return cfg.TLSCert != "" || cfg.PublicURL != nil && cfg.PublicURL.Scheme == "https"
}

func serverOptions(cfg config.Config, log *slog.Logger, ready *server.Readiness, service *account.Service, messages *messenger) server.Options {
	o := server.Options{
		Log: log, Ready: ready, Listen: cfg.Listen, OpsListen: cfg.OpsListen, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey,
		HTTPS: https(cfg), TrustedProxies: cfg.TrustedProxies, TrustedNetworks: cfg.TrustedNetworks,
		CORSOrigins: cfg.CORSOrigins, ShutdownTimeout: cfg.ShutdownTimeout,
		Collectors: append(service.Collectors(), messages.Collectors()...),
		Background: []func(context.Context){service.Run, messages.Run, tuneCollector},
	}
	if cfg.PublicURL != nil {
		o.OwnOrigins = []string{server.OriginOf(cfg.PublicURL)}
	}
	return o
}

// warn says at the start what an operator may not have meant, or may miss.
func warn(ctx context.Context, log *slog.Logger, cfg config.Config) {
	if cfg.Mode == config.Dev {
		return
	}
	if len(cfg.TrustedNetworks) > 0 {
		log.WarnContext(ctx, "callers from the trusted networks read and change every user without a token",
			slog.Any("trusted_networks", cfg.TrustedNetworks))
	}
	if cfg.PublicURL != nil && cfg.PasskeyRPID == "" {
		log.WarnContext(ctx, "there are no passkeys: browsers make none for an IP address; give public-url a name, such as http://localhost:8001")
	}
	warnOfMessages(ctx, log, cfg)
}

// greet tells in three lines where the service listens, where its data is, and
// what to do next.
func greet(r *run, cfg config.Config, in *instance, main, ops net.Addr) {
	scheme := scheme(cfg)
	opsAt := "off"
	if ops != nil {
		opsAt = "http://" + asAsked(cfg.OpsListen, ops)
	}
	docs := scheme + "://" + reachable(main) + "/docs"
	data := "in memory; it ends with the process"
	next := fmt.Sprintf("%s://%s/dev/inbox shows every mail and SMS, %s the API; no call needs a token here, and \"username\" with the password \"pass12345\" can log in",
		scheme, asAsked(cfg.Listen, main), docs)
	if cfg.Mode != config.Dev {
		data = in.data
		next = docs + " shows how to register and log in; for an administrator: propusk user add --user-role=Admin --username=NAME --email=ADDRESS"
	}
	fmt.Fprintf(r.Out, "propusk %s listens on %s://%s (operations: %s)\ndata: %s\nnext: %s\n",
		Version, scheme, asAsked(cfg.Listen, main), opsAt, data, next)
}

// scheme is what the service itself speaks.
func scheme(cfg config.Config) string {
	if cfg.TLSCert != "" {
		return "https"
	}
	return "http"
}

// asAsked is the address as it was asked for, with the port that it came to be:
// the system calls 0.0.0.0 [::], which looks like another one.
func asAsked(asked string, a net.Addr) string {
	host, _, err := net.SplitHostPort(asked)
	_, port, err2 := net.SplitHostPort(a.String())
	if err != nil || err2 != nil || host == "" {
		return a.String()
	}
	return net.JoinHostPort(host, port)
}

// loopback judges a host by its text alone.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// reachable is an address to try from here: a wildcard is no destination.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip, _ := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return a.String()
}

func newLogger(r *run, cfg config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == config.LogJSON || cfg.LogFormat == config.LogAuto && !terminal(r.Err) {
		return slog.New(slog.NewJSONHandler(r.Err, o))
	}
	return slog.New(slog.NewTextHandler(r.Err, o))
}

// terminal tells whether people read w as it is written.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !strings.HasSuffix(filepath.Base(f.Name()), "null")
}

// now is the only clock of the program, and elapsed the same without the jumps.
func now() time.Time { return time.Now() }

var begun = time.Now() //nolint:gochecknoglobals // when the program was started

func elapsed() time.Duration { return time.Since(begun) }
