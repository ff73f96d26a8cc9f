package outbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/db"
)

const observeEvery = 5 * time.Second

// metrics are the figures for the operator.
type metrics struct {
	waiting, oldest, kept    *prometheus.GaugeVec
	sentN, failedN, retriedN *prometheus.CounterVec
	duration                 *prometheus.HistogramVec
}

func newMetrics() *metrics {
	label := []string{"channel"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "propusk", Subsystem: "outbox", Name: name, Help: help}, label)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "propusk", Subsystem: "outbox", Name: name, Help: help}, label)
	}
	m := &metrics{
		waiting:  gauge("waiting", "Messages that wait to be sent, on the whole database."),
		oldest:   gauge("oldest_seconds", "Age of the oldest message that waits; 0 where none does."),
		kept:     gauge("failed", "Messages that failed for good and are still kept, on the whole database."),
		sentN:    counter("sent_total", "Messages that have left."),
		failedN:  counter("failed_total", "Messages that failed for good."),
		retriedN: counter("retried_total", "Attempts after which a message has to be tried again."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "propusk", Subsystem: "outbox", Name: "send_seconds", Help: "Time that an attempt took.",
			Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30},
		}, label),
	}
	for _, c := range Channels { // so that each is there from the start
		m.of(c)
	}
	return m
}

func (m *metrics) of(c Channel) {
	for _, g := range []*prometheus.GaugeVec{m.waiting, m.oldest, m.kept} {
		g.WithLabelValues(string(c))
	}
	for _, n := range []*prometheus.CounterVec{m.sentN, m.failedN, m.retriedN} {
		n.WithLabelValues(string(c))
	}
	m.duration.WithLabelValues(string(c))
}

func (m *metrics) took(c Channel, d time.Duration) {
	m.duration.WithLabelValues(string(c)).Observe(d.Seconds())
}
func (m *metrics) sent(c Channel)    { m.sentN.WithLabelValues(string(c)).Inc() }
func (m *metrics) failed(c Channel)  { m.failedN.WithLabelValues(string(c)).Inc() }
func (m *metrics) retried(c Channel) { m.retriedN.WithLabelValues(string(c)).Inc() }

// Collectors gives the figures for a registry.
func (b *Outbox) Collectors() []prometheus.Collector {
	m := b.metrics
	return []prometheus.Collector{m.waiting, m.oldest, m.kept, m.sentN, m.failedN, m.retriedN, m.duration}
}

// observeEach brings the figures of the whole queue up to date until ctx ends.
// A scrape does not ask the database: it would hang when that does.
func (b *Outbox) observeEach(ctx context.Context) {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	t := teller{log: b.o.Log, what: "count messages"}
	for {
		work, cancel := context.WithTimeout(ctx, observeEvery)
		t.tell(ctx, b.observe(work))
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Outbox) observe(ctx context.Context) error {
	now := b.o.Now()
	for _, c := range Channels {
		var waiting, kept, oldest int64
		if err := b.o.DB.QueryRow(ctx, countQueue, []any{string(c), db.Micros(now)}, &waiting, &kept, &oldest); err != nil {
			return wrap("count messages", err)
		}
		age := 0.0
		if waiting > 0 {
			age = max(0, now.Sub(db.Time(oldest)).Seconds())
		}
		b.metrics.waiting.WithLabelValues(string(c)).Set(float64(waiting))
		b.metrics.kept.WithLabelValues(string(c)).Set(float64(kept))
		b.metrics.oldest.WithLabelValues(string(c)).Set(age)
	}
	return nil
}
