package account

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Metrics are the figures of the rules, for the operator.
type Metrics struct {
	logins        *prometheus.CounterVec
	registrations *prometheus.CounterVec
	throttled     *prometheus.CounterVec
	requests      *prometheus.CounterVec
	verified      *prometheus.CounterVec
	factors       *prometheus.CounterVec
	lookups       prometheus.Counter
	all           []prometheus.Collector
}

func newMetrics(h *secret.Hasher) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "propusk", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		logins:        counter("logins_total", "Logins by outcome.", "outcome"),
		registrations: counter("registrations_total", "Registrations by outcome.", "outcome"),
		throttled:     counter("throttled_total", "Attempts refused because a budget was empty, by the budget's scope.", "scope"),
	}
	m.requests = counter("message_requests_total", "Messages that were asked for without a token, by what for.", "purpose")
	m.verified = counter("single_use_total", "Links and codes brought back, by what for and by outcome.", "purpose", "outcome")
	m.factors = counter("second_factors_total", "Second factors that were tried, by outcome.", "outcome")
	m.lookups = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "propusk", Name: "session_lookups_total", Help: "Tokens that the database was asked for, because memory was not sure.",
	})
	m.all = []prometheus.Collector{
		m.logins, m.registrations, m.throttled, m.requests, m.verified, m.factors, m.lookups,
		newHashing(h),
	}
	return m
}

func (m *Metrics) liveSessions(l *liveSessions) {
	gauge := func(name, help string, f func() float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "propusk", Name: name, Help: help}, f))
	}
	yes := func(b bool) float64 { return float64(btoi(b)) }
	gauge("sessions_in_memory", "Sessions in the table in memory.", func() float64 { return float64(l.table.size.Load()) })
	gauge("sessions_complete", "1 while every live session is in memory, so that no check asks the database.", func() float64 { return yes(l.complete.Load()) })
	gauge("node_alone", "1 while no other process issues sessions on the database.", func() float64 { return yes(l.alone.Load()) })
}

// hashing tells the figures of the pool that hashes passwords.
type hashing struct {
	hasher                                              *secret.Hasher
	waiting, hashed, refused, wait, restarts, inProcess *prometheus.Desc
}

func newHashing(h *secret.Hasher) *hashing {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("propusk_"+name, help, labels, nil)
	}
	return &hashing{
		hasher:    h,
		waiting:   desc("password_hashes_waiting", "Passwords that wait to be hashed, of known devices and of others.", "lane"),
		hashed:    desc("password_hashes_total", "Passwords hashed."),
		refused:   desc("password_hashes_refused_total", "Passwords that were not hashed, because there was no place, or none in time.", "reason"),
		wait:      desc("password_hash_wait_seconds", "Time that passwords waited for before they were hashed."),
		restarts:  desc("hashing_restarts_total", "Times that the process which hashes had to be started anew."),
		inProcess: desc("hashing_in_process_total", "Passwords that were hashed in this process, because no other could be started."),
	}
}

// Describe implements [prometheus.Collector].
func (c *hashing) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.waiting, c.hashed, c.refused, c.wait, c.restarts, c.inProcess} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *hashing) Collect(ch chan<- prometheus.Metric) {
	f := c.hasher.Figures()
	ch <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(f.WaitingKnown), "known")
	ch <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(f.WaitingUnknown), "unknown")
	ch <- prometheus.MustNewConstMetric(c.hashed, prometheus.CounterValue, float64(f.Hashed))
	for reason, n := range f.Refused {
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), reason)
	}
	ch <- prometheus.MustNewConstHistogram(c.wait, f.WaitCount, f.WaitSum, f.Waits)
	ch <- prometheus.MustNewConstMetric(c.restarts, prometheus.CounterValue, float64(f.Restarts))
	ch <- prometheus.MustNewConstMetric(c.inProcess, prometheus.CounterValue, float64(f.InProcess))
}

// Collectors gives the figures of the service for a registry.
func (s *Service) Collectors() []prometheus.Collector { return s.metrics.all }

// broughtBack counts a link or a code that somebody has brought back.
func (m *Metrics) broughtBack(p purpose, err error) {
	m.verified.WithLabelValues(string(p), outcome(err)).Inc()
}

// outcome is the label of an error: its code, or "error".
func outcome(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "success"
	case errors.As(err, &e):
		return string(e.Fault.Code)
	default:
		return "error"
	}
}

// levelOf: a database that is away is the operator's to know, once a line; it
// is not a fault of ours.
func levelOf(err error) slog.Level {
	if errors.Is(err, db.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return slog.LevelWarn
	}
	return slog.LevelError
}

func logErr(what string, err error) []slog.Attr {
	return []slog.Attr{slog.String("work", what), slog.String("error", err.Error())}
}
