// Package apptest is a whole service for tests: the real handlers over a fresh
// database of either engine, with a clock that the test moves and a log that it
// can read. Tests go through the door that users use: HTTP on a socket. Every
// answer is held against the OpenAPI document.
package apptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/dev"
	"propusk/internal/outbox"
	"propusk/internal/secret"
	"propusk/internal/server"
	"propusk/internal/web"
)

// Options are what a test wants other than usual. The zero value is a service
// with the program's defaults, save for a cheap password hash and a queue for it in
// which one account may have every place: on a busy machine fifty requests for one
// meet there, and what is tested is what becomes of each.
type Options struct {
	Policy          func(*account.Policy) // changes the defaults
	Argon2          secret.Argon2         // of new hashes; zero: the cheapest
	HashWorkers     int                   // zero: 2
	HashQueue       int                   // zero: 1024
	Zone            *time.Location        // nil: UTC
	Languages       []string              // nil: en, ru
	Literals        bool
	TrustedNetworks []netip.Prefix
	TrustedProxies  []netip.Prefix
	CORSOrigins     []string
	DatabaseURL     string // "": a fresh database
	Keys            *secret.Keys
	Idle            bool                 // do not run the background work
	HTTPS           bool                 // as if people came by it
	Elapsed         func() time.Duration // nil: no refusal is held back
	Debug           bool                 // log everything; token checks then take the long way
	Dev             bool                 // the calls of a throwaway instance are there
}

// PublicURL is where people reach the service, as links in mails have it.
const PublicURL = "https://id.example.com"

// App is a running service.
type App struct {
	*Client // of nobody in particular
	Engine  db.Engine
	DB      *db.DB
	Keys    *secret.Keys
	Service *account.Service
	Hasher  *secret.Hasher
	Outbox  *outbox.Outbox
	Inbox   *outbox.Inbox // what it has sent
	Server  *server.Server
	Clock   *Clock
	Log     *Log
	URL     string // of the database

	stop func() // ends the background work
}

// Stop ends the background work as an orderly stop does: the others on the
// database know that this one is gone. It still answers.
func (a *App) Stop() { a.stop() }

// Each runs f against a service on each engine.
func Each(t *testing.T, o Options, f func(t *testing.T, a *App)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		o := o
		if o.DatabaseURL == "" {
			o.DatabaseURL = migrated(t)
		}
		f(t, Start(t, o))
	})
	t.Run("postgres", func(t *testing.T) {
		o := o
		if o.DatabaseURL == "" {
			o.DatabaseURL = pgtest.URL(t)
		}
		f(t, Start(t, o))
	})
}

// SQLiteURL names a fresh database file.
func SQLiteURL(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "propusk.db")
}

// theTables are a database file with all tables and no rows: most tests begin
// with one.
var theTables struct { //nolint:gochecknoglobals // making it takes longer than many tests
	sync.Mutex
	file []byte
}

// migrated is SQLiteURL with the tables already there.
func migrated(t testing.TB) string {
	t.Helper()
	theTables.Lock()
	defer theTables.Unlock()
	if theTables.file == nil {
		name := filepath.Join(t.TempDir(), "tables.db")
		d, err := db.Open(t.Context(), db.Options{URL: "sqlite:" + name})
		if err != nil {
			t.Fatalf("open database: %v", err)
		}
		if err := errors.Join(d.Migrate(t.Context()), d.Close()); err != nil {
			t.Fatalf("migrate: %v", err)
		}
		if theTables.file, err = os.ReadFile(name); err != nil {
			t.Fatalf("read database: %v", err)
		}
	}
	name := filepath.Join(t.TempDir(), "propusk.db")
	if err := os.WriteFile(name, theTables.file, 0o600); err != nil {
		t.Fatalf("write database: %v", err)
	}
	return "sqlite:" + name
}

// collectLess lets garbage wait: a test process has many services with little in
// each, and a collection looks at all of them.
var collectLess = sync.OnceFunc(func() { //nolint:gochecknoglobals // it is about the process
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
})

// Start runs a service until the test ends.
func Start(t testing.TB, o Options) *App {
	t.Helper()
	collectLess()
	ctx := t.Context()
	a := &App{Clock: NewClock(), Log: &Log{}, Keys: o.Keys, URL: o.DatabaseURL}
	if a.Keys == nil {
		a.Keys = secret.NewKeys()
	}
	var err error
	if a.DB, err = db.Open(ctx, db.Options{URL: o.DatabaseURL}); err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() {
		if err := a.DB.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	if err := a.DB.Migrate(ctx); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	a.Engine = a.DB.Engine()
	a.build(t, o)
	if err := a.Service.Claim(ctx); err != nil {
		t.Fatalf("claim: %v", err)
	}
	if err := a.Service.Join(ctx); err != nil {
		t.Fatalf("join: %v", err)
	}
	a.serve(t, o)
	return a
}

func (a *App) build(t testing.TB, o Options) {
	t.Helper()
	policy := account.Policy{
		TokenLifetime: 24 * time.Hour, TokenLifetimeRemembered: 30 * 24 * time.Hour, PasswordMinLength: 8,
		PasswordBlocklist: true, UserTypes: []string{"ind", "org"}, PhoneRegion: "RU", Registration: account.RegistrationOpen,
		AttemptsPerAccount: 10, AttemptsPerNetwork: 300, AttemptsRefill: time.Minute, AttemptsMaxWait: time.Hour, AttemptsLimit: 100,
		DeviceLifetime: 180 * 24 * time.Hour, RegistrationsPerNetwork: 100, RegistrationsRefill: time.Minute,
		SecondFactorLifetime: 24 * time.Hour, SecondFactorIdle: time.Hour,
		MessagesPerAddress: 5, MessagesRefill: 10 * time.Minute, AsksPerNetwork: 100, NoticeSignIns: true,
		PublicURL: PublicURL, Language: "en", PasskeyRPID: "id.example.com", PasskeyOrigins: []string{PublicURL},
		SessionMemory: 1 << 20, OfflineChecks: 5 * time.Minute,
	}
	if o.Policy != nil {
		o.Policy(&policy)
	}
	cost := o.Argon2
	if cost == (secret.Argon2{}) {
		cost = secret.Argon2{Memory: 8, Passes: 1, Threads: 1}
	}
	a.Hasher = secret.NewHasher(secret.HasherOptions{Cost: cost, Workers: or(o.HashWorkers, 2), Queue: or(o.HashQueue, 1024), Account: or(o.HashQueue, 1024)})
	t.Cleanup(a.Hasher.Close)
	level := slog.LevelInfo
	if o.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(a.Log, &slog.HandlerOptions{Level: level}))
	a.Service = account.New(account.Options{
		DB: a.DB, Keys: a.Keys, Hasher: a.Hasher, Log: log, Now: a.Clock.Now, Elapsed: o.Elapsed, Policy: policy,
		Wake: func() { a.Outbox.Wake() },
	})
	templates, err := outbox.LoadTemplates("", "Test", PublicURL)
	if err != nil {
		t.Fatalf("load templates: %v", err)
	}
	a.Inbox = outbox.NewInbox()
	a.Outbox = outbox.New(outbox.Options{
		DB: a.DB, Keys: a.Keys, Log: log, Now: a.Clock.Now, Mail: a.Inbox, SMS: a.Inbox, OnSent: a.Service.MessageSent,
		Render: templates.Render,
	})
	zone, languages := o.Zone, o.Languages
	if zone == nil {
		zone = time.UTC
	}
	if languages == nil {
		languages = []string{"en", "ru"}
	}
	ready := server.NewReadiness(a.Service.Ready)
	face, err := api.New(api.Options{
		Service: a.Service, PublicURL: PublicURL, Zone: zone, Languages: languages, Version: "test", Literals: o.Literals, Ready: ready.Check, HTTPS: o.HTTPS,
	})
	if err != nil {
		t.Fatalf("build api: %v", err)
	}
	pages, err := web.New(web.Options{Service: a.Service, Face: face, Languages: languages, Name: "Test", HTTPS: o.HTTPS})
	if err != nil {
		t.Fatalf("build pages: %v", err)
	}
	so := server.Options{
		API: face, Web: pages, Log: log, Ready: ready, HTTPS: o.HTTPS, TrustedProxies: o.TrustedProxies, TrustedNetworks: o.TrustedNetworks,
		CORSOrigins: o.CORSOrigins, Collectors: a.Service.Collectors(),
	}
	if o.Dev {
		so.Dev = dev.New(dev.Options{
			Service: a.Service, Outbox: a.Outbox, Inbox: a.Inbox, Clock: a.Clock, Zone: zone, Fail: face.WriteError, Otherwise: face,
		})
	}
	a.Server, err = server.New(so)
	if err != nil {
		t.Fatalf("build server: %v", err)
	}
	a.Client = &Client{contract: contractOf(t, face.Document)}
}

func (a *App) serve(t testing.TB, o Options) {
	t.Helper()
	ts := httptest.NewServer(a.Server.Handler())
	t.Cleanup(ts.Close)
	a.Client.base = ts.URL
	a.Client.http = ts.Client()
	a.stop = func() {}
	if o.Idle {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { a.Service.Run(ctx) })
	a.stop = func() {
		stop()
		wg.Wait()
	}
	t.Cleanup(a.Stop)
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Clock is the service's clock: that of a throwaway instance, save that it stands
// still until it is moved.
type Clock = dev.Clock

// NewClock starts at a fixed instant.
func NewClock() *Clock {
	return dev.NewClock(func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC) })
}

// Log is what the service has logged.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*Log)(nil)

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
