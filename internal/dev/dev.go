// Package dev is the face of a throwaway instance (propusk dev): an inbox that
// shows every mail and text message, a clock that can be moved, users by the
// dozen, limits that can be reset. It is mounted by nothing else, answers nobody
// but this machine, and is no part of the API: what stands here may change.
//
// It owns no rule and no table. What it does to accounts, it does as an operator.
package dev

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"propusk/internal/account"
	"propusk/internal/outbox"
)

// Options are what the face is built from. Every field is needed unless its
// comment says otherwise.
type Options struct {
	Service *account.Service
	Outbox  *outbox.Outbox // that sends to Inbox
	Inbox   *outbox.Inbox
	Clock   *Clock         // of Service and Outbox
	Zone    *time.Location // of every instant that is shown
	// Fail answers with an error of the rules, or of ours, as the API does.
	Fail func(http.ResponseWriter, *http.Request, error)
	// Otherwise answers for paths that are none of these.
	Otherwise http.Handler
	// Stopping ends those who wait for a message, so that they do not keep the
	// program from its end. Nil: nothing does.
	Stopping <-chan struct{}
}

// Dev is the face. It is an http.Handler for /dev and everything below.
type Dev struct {
	o        Options
	mux      *http.ServeMux
	crossing *http.CrossOriginProtection
	moving   sync.Mutex // one moves the clock at a time
	users    counter
}

// New builds the face.
func New(o Options) *Dev {
	d := &Dev{o: o, mux: http.NewServeMux(), crossing: http.NewCrossOriginProtection()}
	d.mount()
	return d
}

// ServeHTTP implements [http.Handler].
func (d *Dev) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	if why := d.stranger(r); why != "" {
		refuse(w, http.StatusForbidden, "dev_only_here", why)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// stranger tells why whoever asks is not the person at this machine; "" where he
// is. Being connected from here is not enough: a proxy may stand here, and a
// browser, whose pages may have their own name point to this address (DNS
// rebinding), or send what changes something and never look at the answer.
func (d *Dev) stranger(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !account.CallerFrom(r.Context()).IP.IsLoopback() {
		return "This answers only callers on the machine that it runs on."
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if len(r.Header[name]) > 0 {
			return "This answers nobody who comes through a proxy."
		}
	}
	if !loopbackName(r.Host) {
		return "This answers only to its own name: use http://127.0.0.1 or http://localhost, with the port."
	}
	if d.crossing.Check(r) != nil {
		return "A page of another origin may not do this."
	}
	// Pages of other origins may lead a person here, and embed or fetch nothing.
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" && site != "none" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return "A page of another origin may not read this."
	}
	return ""
}

// loopbackName judges the text alone: what other names lead to, others decide.
// Names below localhost never leave the machine (RFC 6761, section 6.3).
func loopbackName(host string) bool {
	u, err := parseHost(host)
	if err != nil {
		return false
	}
	name := strings.ToLower(u)
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// operator is as whom this acts on accounts, on behalf of whoever asks.
func operator(r *http.Request) account.Caller {
	c := account.CallerFrom(r.Context())
	c.Kind, c.Devices = account.Operator, nil
	return c
}

// settle sends everything that was asked for and queued before.
func (d *Dev) settle(ctx context.Context) error { return Settle(ctx, d.o.Service, d.o.Outbox) }

// Settle does what strangers have asked for and sends what is queued: after it,
// every message that was caused before it has left.
func Settle(ctx context.Context, s *account.Service, b *outbox.Outbox) error {
	if err := s.ServeRequests(ctx); err != nil {
		return fmt.Errorf("do what was asked for: %w", err)
	}
	return b.Settle(ctx)
}
