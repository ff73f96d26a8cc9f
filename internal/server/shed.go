package server

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/account"
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
	caller := account.Caller{IP: clientIP(r, f.o.TrustedProxies), Devices: f.o.API.DevicesOf(r)}
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
	_, _ = w.Write(*buf) // whom the answer does not reach cannot be told
	d.seconds.Observe(time.Since(begun).Seconds())
	if logged, before := f.refusals.log(); logged {
		f.o.Log.LogAttrs(r.Context(), slog.LevelWarn, "request", append(requestAttrs(http.MethodPost, r.URL.Path, http.StatusServiceUnavailable,
			time.Since(begun), len(*buf), caller), slog.String("code", string(account.CodeOverloaded)), slog.Int64("not_logged", before))...)
	}
	return true
}

// refusals is what a flood makes of them: so many a second leave, some together,
// and few of them are logged.
type refusals struct {
	mu      sync.Mutex
	batches map[int64]*batch // by when they leave, in batchEvery since the start
	filling int64            // the last one of these

	second int64
	logged int
	silent int64
}

// batch is some refusals that leave together.
type batch struct {
	leave chan struct{} // closed when they do
	size  int
}

const (
	// batchEvery is how often refusals leave. One after the other they would cost a
	// wake-up each, of a thread here and of one at the other end, which is more
	// than all the rest of a refusal.
	batchEvery = 5 * time.Millisecond
	// batchSize is how many leave together, 2,000 a second: what is refused beyond
	// that waits for a later batch. Whoever asks again as soon as he is refused
	// would otherwise have the processor that checks and logins need.
	batchSize = 10
	// longestPause is in batches: whoever would wait longer leaves with the last.
	longestPause = int64(time.Second / batchEvery)
)

// pause waits for [account.RefusalPace] and on to the next batch that has room.
func (p *refusals) pause(r *http.Request) {
	select {
	case <-p.join(time.Since(started)):
	case <-r.Context().Done():
	}
}

// join takes part in a batch, and gives the channel that is closed when it leaves.
func (p *refusals) join(now time.Duration) <-chan struct{} {
	first := int64((now+account.RefusalPace)/batchEvery) + 1
	p.mu.Lock()
	defer p.mu.Unlock()
	at := max(first, p.filling)
	if b := p.batches[at]; b != nil && b.size >= batchSize {
		at = min(at+1, first+longestPause)
	}
	p.filling = at
	b := p.batches[at]
	if b == nil {
		b = &batch{leave: make(chan struct{})}
		if p.batches == nil {
			p.batches = map[int64]*batch{}
		}
		p.batches[at] = b
		time.AfterFunc(time.Duration(at)*batchEvery-now, func() {
			close(b.leave)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.batches, at)
		})
	}
	b.size++
	return b.leave
}

var started = time.Now() //nolint:gochecknoglobals // what batches are counted from

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
