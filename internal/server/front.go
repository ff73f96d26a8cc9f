package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/web"
)

// front is what every request passes on its way in and every answer on its way
// out, in this order: client address → request id → deadline → security headers
// → panic guard → CORS → pages of other origins → the face; then metrics and the
// one log line.
type front struct {
	o        Options
	crossing *http.CrossOriginProtection // of the API
	pages    *http.CrossOriginProtection // of the pages: other origins have no business there
	cors     map[string]bool
	headers  []header
	seconds  *prometheus.HistogramVec
	checks   prometheus.Observer // seconds of a token check that succeeds
	forwards prometheus.Observer // the same for gateways
	doors    map[string]door     // by path
	refusals refusals
	panics   prometheus.Counter
	quick    bool // token checks may take the short way
}

// header is one that every answer has. The value is shared: nobody may append
// to it.
type header struct {
	name  string
	value []string
}

func newFront(o Options, reg *prometheus.Registry) (*front, error) {
	f := &front{o: o, crossing: http.NewCrossOriginProtection(), pages: http.NewCrossOriginProtection(), cors: map[string]bool{}}
	for _, origin := range o.CORSOrigins {
		f.cors[origin] = true
		if err := f.crossing.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("origin %s: %w", origin, err)
		}
	}
	for _, origin := range o.OwnOrigins {
		if err := errors.Join(f.crossing.AddTrustedOrigin(origin), f.pages.AddTrustedOrigin(origin)); err != nil {
			return nil, fmt.Errorf("origin %s: %w", origin, err)
		}
	}
	f.headers = []header{
		{"X-Content-Type-Options", []string{"nosniff"}},
		{"Referrer-Policy", []string{"no-referrer"}},
		{"X-Frame-Options", []string{"DENY"}},
		{"Content-Security-Policy", []string{"default-src 'none'; frame-ancestors 'none'"}},
		{"Cross-Origin-Opener-Policy", []string{"same-origin"}},
	}
	if o.HTTPS {
		f.headers = append(f.headers, header{"Strict-Transport-Security", []string{"max-age=63072000; includeSubDomains"}})
	}
	// Where every check is to be logged, or pages of other origins may read it,
	// the long way is the way.
	f.quick = len(o.CORSOrigins) == 0 && !o.Log.Enabled(context.Background(), slog.LevelDebug)
	f.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "propusk", Name: "http_request_seconds", Help: "Time to answer, by route, method and status.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "method", "status"})
	f.checks = f.seconds.WithLabelValues(checkPath, http.MethodGet, "200")
	f.forwards = f.seconds.WithLabelValues(forwardPath, http.MethodGet, "200")
	f.doors = map[string]door{}
	for _, path := range []string{"/auth/login", "/login", "/auth/register", "/register"} {
		f.doors[path] = door{
			registration: strings.HasSuffix(path, "register"),
			seconds:      f.seconds.WithLabelValues(path, http.MethodPost, statusText(http.StatusServiceUnavailable)),
		}
	}
	f.panics = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "propusk", Name: "panics_total", Help: "Handlers that panicked."})
	for _, c := range []prometheus.Collector{f.seconds, f.panics} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return f, nil
}

// The token check, for services and for gateways: of all routes those that are
// asked most.
const (
	checkPath   = "/auth/session"
	forwardPath = "/auth/forward"
)

// devPath is where a throwaway instance has its inbox, its clock and the like.
const devPath = "/dev"

//nolint:gochecknoglobals // values of headers, and room for answers
var (
	jsonType    = []string{"application/json"}
	noStore     = []string{"no-store"}
	goElsewhere = []string{"close"}
	answers     = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
)

// check answers a token check that succeeds from memory. Anything else it
// leaves to the long way, having done nothing.
func (f *front) check(w http.ResponseWriter, r *http.Request, begun time.Time) bool {
	switch r.URL.Path {
	case checkPath:
		buf := answers.Get().(*[]byte)
		defer answers.Put(buf)
		b, ok := f.o.API.AppendSession((*buf)[:0], r)
		*buf = b
		if !ok {
			return false
		}
		h := f.begin(w)
		h["Content-Type"], h["Cache-Control"] = jsonType, noStore
		_, _ = w.Write(b)
		f.checks.Observe(time.Since(begun).Seconds())
		return true
	case forwardPath:
		if !f.o.API.Forward(w.Header(), r) {
			return false
		}
		f.begin(w)
		w.WriteHeader(http.StatusOK)
		f.forwards.Observe(time.Since(begun).Seconds())
		return true
	default:
		return false
	}
}

// begin sets what every answer has.
func (f *front) begin(w http.ResponseWriter) http.Header {
	h := w.Header()
	for i := range f.headers {
		h[f.headers[i].name] = f.headers[i].value
	}
	h["X-Request-Id"] = []string{newRequestID()}
	f.o.Ready.dismiss(h)
	return h
}

// ServeHTTP implements [http.Handler].
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	if f.quick && (r.Method == http.MethodGet && f.check(w, r, begun) || r.Method == http.MethodPost && f.shed(w, r, begun)) {
		return
	}
	rec, r, end := f.receive(w, r, begun)
	defer end()
	f.guarded(rec, r)
	f.account(r, rec, time.Since(begun))
}

// receive finds out who asks, and begins the answer. What it needs for that does
// not stay on the stack while the answer is written: whoever reads it slowly has
// thousands of these.
func (f *front) receive(w http.ResponseWriter, r *http.Request, begun time.Time) (*recorder, *http.Request, context.CancelFunc) {
	caller := account.Caller{
		IP: clientIP(r, f.o.TrustedProxies), UserAgent: userAgent(r), RequestID: newRequestID(), Devices: f.o.API.DevicesOf(r),
		Language: f.o.API.LanguageOf(r),
	}
	if f.trusts(r, caller.IP) {
		caller.Kind = account.Network
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	rec := &recorder{ResponseWriter: w, ready: f.o.Ready, trace: api.Trace{Route: "none"}}
	ctx = account.WithCaller(api.WithTrace(ctx, &rec.trace), caller)
	r = r.WithContext(ctx)
	rec.mayWriteUntil(begun.Add(requestTimeout + writeTimeout))
	h := w.Header()
	for _, x := range f.headers {
		h[x.name] = x.value
	}
	h.Set("X-Request-Id", caller.RequestID)
	return rec, r, cancel
}

// guarded turns a panic into a 500, so that one request cannot end the others.
func (f *front) guarded(w *recorder, r *http.Request) {
	trace := &w.trace
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		f.panics.Inc()
		trace.Err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if w.status == 0 {
			err := trace.Err
			f.face(r).WriteError(w, r, api.ErrPanic)
			trace.Err = err
		}
	}()
	if f.o.Dev != nil && (r.URL.Path == devPath || strings.HasPrefix(r.URL.Path, devPath+"/")) {
		// Before CORS: no page of another origin has a part in this.
		trace.Route, trace.Quiet = devPath, true
		f.o.Dev.ServeHTTP(w, r)
		return
	}
	if web.Has(r.URL.Path) {
		if err := f.pages.Check(r); err != nil {
			f.o.Web.WriteError(w, r, api.ErrCrossOrigin)
			return
		}
		f.o.Web.ServeHTTP(w, r)
		return
	}
	// What a gateway asks with the headers of its client is no page's question.
	asks := r.URL.Path == forwardPath || strings.HasPrefix(r.URL.Path, forwardPath+"/")
	if origin := r.Header.Get("Origin"); len(f.cors) > 0 && !asks && f.allowOrigin(w, r, origin) {
		return
	}
	if err := f.crossing.Check(r); err != nil {
		f.o.API.WriteError(w, r, api.ErrCrossOrigin)
		return
	}
	f.o.API.ServeHTTP(w, r)
}

// face is who answers: the API, or the pages for people.
func (f *front) face(r *http.Request) interface {
	WriteError(http.ResponseWriter, *http.Request, error)
} {
	if web.Has(r.URL.Path) {
		return f.o.Web
	}
	return f.o.API
}

// allowOrigin lets pages of the listed origins read answers, and nobody else.
// It answers a preflight itself.
func (f *front) allowOrigin(w http.ResponseWriter, r *http.Request, origin string) (answered bool) {
	h := w.Header()
	h.Add("Vary", "Origin")
	if !f.cors[origin] {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After, X-Request-Id, Idempotent-Replayed, X-Device-Token")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept-Language, If-Match, Idempotency-Key, X-Device-Token")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// account writes the one log line of a request, and counts it.
func (f *front) account(r *http.Request, rec *recorder, took time.Duration) {
	trace, status := &rec.trace, rec.status
	if status == 0 {
		status = http.StatusOK
	}
	method := r.Method
	if !slices.Contains(knownMethods, method) {
		method = "other" // a label must not be a stranger's choice
	}
	f.seconds.WithLabelValues(trace.Route, method, statusText(status)).Observe(took.Seconds())
	level := slog.LevelInfo
	if trace.Quiet && status < 400 {
		level = slog.LevelDebug
	}
	if trace.Err != nil {
		level = slog.LevelError
		if status == http.StatusServiceUnavailable {
			level = slog.LevelWarn
		}
	}
	if !f.o.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := requestAttrs(method, trace.Route, status, took, rec.bytes, account.CallerFrom(r.Context()))
	if trace.Code == string(account.CodeOverloaded) || trace.Code == string(account.CodeTooManyAttempts) || errors.Is(trace.Err, context.Canceled) {
		logged, before := f.refusals.log()
		if !logged {
			return
		}
		if before > 0 {
			attrs = append(attrs, slog.Int64("not_logged", before))
		}
	}
	if trace.UserID != "" {
		attrs = append(attrs, slog.String("user_id", trace.UserID))
	}
	if trace.Code != "" {
		attrs = append(attrs, slog.String("code", trace.Code))
	}
	if trace.Err != nil {
		attrs = append(attrs, slog.String("error", trace.Err.Error()))
	}
	f.o.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

func requestAttrs(method, route string, status int, took time.Duration, size int, caller account.Caller) []slog.Attr {
	return append(make([]slog.Attr, 0, 12),
		slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.Int("bytes", size),
		slog.String("ip", caller.IP.String()), slog.String("request_id", caller.RequestID))
}

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} //nolint:gochecknoglobals // a constant list

func statusText(status int) string {
	return string([]byte{byte('0' + status/100%10), byte('0' + status/10%10), byte('0' + status%10)})
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// userAgent takes at most 256 bytes of valid UTF-8 from a header that anyone
// can fill with anything.
func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	if len(ua) > 256 {
		ua = ua[:256]
	}
	return strings.ToValidUTF8(ua, "")
}

// clientIP is the address that the request came from: the peer of the
// connection, unless that is a trusted proxy. Then it is the right-most address
// of X-Forwarded-For that is not a trusted proxy itself: what stands to the left
// of it is the client's own word. At the first thing that is no address, the
// proxy that passed it on is as far as anybody can see.
func clientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip := plain(peer.Addr())
	if !contains(trusted, ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil { // some proxies write the port along
			var withPort netip.AddrPort
			withPort, err = netip.ParseAddrPort(strings.TrimSpace(hop))
			next = withPort.Addr()
		}
		if err != nil || next.Zone() != "" {
			return ip
		}
		if ip = plain(next); !contains(trusted, ip) {
			return ip
		}
	}
	return ip
}

// trusts tells whether the caller may go without a token. A proxy is not a
// caller: where its address is all that can be seen, it has not said for whom it
// asks. And a page that has its own name point to this address (DNS rebinding)
// speaks for whoever looks at it, so the request must name us by an address, by
// a name that nobody outside can own, or by that of the public URL.
func (f *front) trusts(r *http.Request, ip netip.Addr) bool {
	return ip.IsValid() && contains(f.o.TrustedNetworks, ip) && !contains(f.o.TrustedProxies, ip) && f.isOurName(r.Host)
}

func (f *front) isOurName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	for _, private := range []string{".localhost", ".local", ".internal"} { // RFC 6761, RFC 6762, ICANN 2024
		if strings.HasSuffix(host, private) {
			return true
		}
	}
	for _, origin := range f.o.OwnOrigins {
		if u, err := url.Parse(origin); err == nil && u.Hostname() == host {
			return true
		}
	}
	return false
}

func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// OriginOf gives the origin of a URL, for [Options.OwnOrigins].
func OriginOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	ready         *Readiness
	status, bytes int
	trace         api.Trace
}

// begin is called before the first of an answer leaves.
func (r *recorder) begin(status int) {
	if r.status == 0 {
		r.status = status
		r.ready.dismiss(r.Header())
		r.mayWriteUntil(time.Now().Add(writeTimeout))
	}
}

// mayWriteUntil replaces the server's deadline, which counts from the request's
// arrival and would leave a late answer no time.
func (r *recorder) mayWriteUntil(deadline time.Time) {
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(deadline) // a test's recorder has none
}

func (r *recorder) WriteHeader(status int) {
	r.begin(status)
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begin(http.StatusOK)
	n, err := r.ResponseWriter.Write(b)
	r.bytes += n
	return n, err
}

// WriteString spares the bundle of the docs page a copy.
func (r *recorder) WriteString(s string) (int, error) {
	r.begin(http.StatusOK)
	n, err := io.WriteString(r.ResponseWriter, s)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
