package server

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/account"
	"propusk/internal/api"
)

// door is a path by which passwords come in.
type door struct {
	registration bool
	seconds      prometheus.Observer // of its refusals
}

// shed refuses an attempt for which there is no place in the hashing queue,
// before its body is read: in a flood that is nearly every one, and whatever is
// done for it is taken from those who hash and who check tokens. It tells false,
// having done nothing, where there is a place.
func (f *front) shed(w http.ResponseWriter, r *http.Request, begun time.Time) bool {
	d, ok := f.doors[r.URL.Path]
	if !ok || r.URL.RawPath != "" {
		return false
	}
	caller := account.Caller{IP: clientIP(r, f.o.TrustedProxies), Devices: api.DevicesOf(r)}
	err := f.o.API.Shed(caller, d.registration)
	if err == nil {
		return false
	}
	f.refusals.pause(r)
	h := f.begin(w)
	caller.RequestID = h.Get("X-Request-Id")
	buf := answers.Get().(*[]byte)
	defer answers.Put(buf)
	*buf = f.o.API.AppendOverloaded((*buf)[:0], h, r, err)
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(*buf) //nolint:gosec // JSON, sent as JSON; whom the answer does not reach cannot be told
	d.seconds.Observe(time.Since(begun).Seconds())
	if logged, before := f.refusals.log(); logged {
		f.o.Log.LogAttrs(r.Context(), slog.LevelWarn, "request", append(requestAttrs(http.MethodPost, r.URL.Path, http.StatusServiceUnavailable,
			time.Since(begun), len(*buf), caller), slog.String("code", string(account.CodeOverloaded)), slog.Int64("not_logged", before))...)
	}
	return true
}

// refusals spreads out in time what a flood makes of them, and what is logged.
type refusals struct {
	n atomic.Uint64

	mu     sync.Mutex
	second int64
	logged int
	silent int64
}

// pause waits for some [account.RefusalPace], never twice in a row the same:
// those who were refused together must not come back together.
func (p *refusals) pause(r *http.Request) {
	const steps = 16
	t := time.NewTimer(account.RefusalPace + time.Duration(p.n.Add(7)%steps)*time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// logPerSecond is how many refusals for want of room or attempts are logged in a
// second. They are all counted in the metrics.
const logPerSecond = 10

// log tells whether one more is to be logged, and how many were not since the
// last that was.
func (p *refusals) log() (yes bool, before int64) {
	now := time.Now().Unix()
	p.mu.Lock()
	defer p.mu.Unlock()
	if now != p.second {
		p.second, p.logged = now, 0
	}
	if p.logged >= logPerSecond {
		p.silent++
		return false, 0
	}
	p.logged++
	before, p.silent = p.silent, 0
	return true, before
}
