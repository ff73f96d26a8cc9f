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
	lookups       prometheus.Counter
	all           []prometheus.Collector
}

func newMetrics(h *secret.Hasher) *Metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "propusk", Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		logins:        counter("logins_total", "Logins by outcome.", "outcome"),
		registrations: counter("registrations_total", "Registrations by outcome.", "outcome"),
		throttled:     counter("throttled_total", "Attempts refused because a budget was empty, by the budget's scope.", "scope"),
	}
	m.lookups = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "propusk", Name: "session_lookups_total", Help: "Tokens that the database was asked for, because memory was not sure.",
	})
	m.all = []prometheus.Collector{
		m.logins, m.registrations, m.throttled, m.lookups,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "propusk", Name: "password_hashes_waiting", Help: "Passwords that wait to be hashed.",
		}, func() float64 { n, _ := h.Stats(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "propusk", Name: "password_hashes_total", Help: "Passwords hashed.",
		}, func() float64 { _, n := h.Stats(); return float64(n) }),
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

// SessionMemory is about how many bytes the sessions in memory take.
func (s *Service) SessionMemory() int64 { return s.live.table.size.Load() * entryBytes }

// Collectors gives the figures of the service for a registry.
func (s *Service) Collectors() []prometheus.Collector { return s.metrics.all }

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
