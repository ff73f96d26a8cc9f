package outbox_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// list gives what an operator sees, in short.
func (b *bench) list(f outbox.Filter) string {
	b.t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	rows, err := outbox.List(b.t.Context(), b.db, b.clock.Now(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, strings.TrimSpace(fmt.Sprint(r.State, " ", r.Attempts, " ", r.LastError)))
	}
	return strings.Join(out, "; ")
}

func (b *bench) ids() (out []string) {
	b.t.Helper()
	rows, err := outbox.List(b.t.Context(), b.db, b.clock.Now(), outbox.Filter{Sent: true, Limit: 100})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return out
}

func TestOperatorSeesWhatBecameOfMessages(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		b.mail("sent@example.com", 1)
		b.mail("later@example.com", 2)
		b.mail("gone@example.com", 3)
		in.to(func(e outbox.Envelope) error {
			switch {
			case strings.HasPrefix(e.To, "later"):
				return temporarily(e)
			case strings.HasPrefix(e.To, "gone"):
				return forGood(e)
			}
			return nil
		})
		b.deliver(3)
		b.mail("short@example.com", 4, func(m *outbox.Message) { m.Lifetime = time.Minute })
		b.mail("sms", 5, func(m *outbox.Message) { m.Channel = outbox.SMS })
		b.clock.move(time.Minute)
		if got, want := b.list(outbox.Filter{}), "waiting 1 smtp 451 4.7.1; failed 1 smtp 550 5.1.1; expired 0; waiting 0"; got != want {
			t.Errorf("listed: %s\nwant    %s", got, want)
		}
		if got, want := b.list(outbox.Filter{Sent: true, Limit: 2}), "sent 1; waiting 1 smtp 451 4.7.1"; got != want {
			t.Errorf("listed: %s\nwant    %s", got, want)
		}
		if got, want := b.list(outbox.Filter{After: b.ids()[1], Limit: 1}), "failed 1 smtp 550 5.1.1"; got != want {
			t.Errorf("listed: %s\nwant    %s", got, want)
		}
		if _, err := outbox.List(t.Context(), d, noon, outbox.Filter{After: "nothing", Limit: 1}); !errors.Is(err, outbox.ErrNotFound) {
			t.Errorf("after a message that is not there: %v", err)
		}
		r, m, opened, err := outbox.Show(t.Context(), d, b.keys, b.clock.Now(), b.ids()[2])
		if err != nil || !opened || m.To != "gone@example.com" || m.Data["n"] != "3" || r.State != outbox.StateFailed || !r.FailedAt.Equal(noon) {
			t.Errorf("%+v %+v %v %v", r, m, opened, err)
		}
		if _, m, opened, err := outbox.Show(t.Context(), d, b.keys, b.clock.Now(), b.ids()[0]); err != nil || opened || m.To != "" {
			t.Errorf("of what was sent: %+v %v %v", m, opened, err)
		}
		if _, _, _, err := outbox.Show(t.Context(), d, secret.NewKeys(), b.clock.Now(), b.ids()[2]); err == nil {
			t.Error("another key opens it")
		}
	})
}

func TestOperatorRetriesAndDrops(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		do := func(f func(*db.Tx, string) error, id string, want error) {
			t.Helper()
			if err := d.Tx(t.Context(), func(tx *db.Tx) error { return f(tx, id) }); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		retry := func(tx *db.Tx, id string) error {
			_, err := outbox.Retry(t.Context(), tx, b.clock.Now(), id)
			return err
		}
		drop := func(tx *db.Tx, id string) error {
			_, err := outbox.Drop(t.Context(), tx, b.clock.Now(), id)
			return err
		}
		in.to(forGood)
		b.mail("a@example.com", 1)
		b.mail("a@example.com", 2)
		b.deliver(2)
		in.to(temporarily)
		b.mail("a@example.com", 3)
		b.deliver(1)
		in.to(nil)
		ids := b.ids()
		b.mail("a@example.com", 4)
		b.deliver(0)
		do(retry, ids[0], nil) // it has failed, and is before the others again
		do(drop, ids[1], nil)
		do(retry, ids[2], nil) // it would have waited
		b.deliver(3)
		if got := in.subjects(""); got != "1 3 4" {
			t.Errorf("sent: %q", got)
		}
		do(retry, ids[0], outbox.ErrOver)
		do(drop, ids[0], outbox.ErrOver)
		do(retry, ids[1], outbox.ErrNotFound)
		do(drop, "nothing", outbox.ErrNotFound)
		in.to(forGood)
		b.mail("a@example.com", 5, func(m *outbox.Message) { m.Lifetime = time.Minute })
		b.deliver(1)
		b.clock.move(time.Minute)
		do(retry, b.ids()[len(b.ids())-1], outbox.ErrOver)
	})
}

func TestFiguresTellOfTheQueue(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		in.to(func(e outbox.Envelope) error {
			switch e.Subject {
			case "About 1":
				return forGood(e)
			case "About 2":
				return temporarily(e)
			}
			return nil
		})
		for i := range 4 {
			b.mail(fmt.Sprintf("u%d@example.com", i), i)
		}
		b.deliver(4)
		b.mail("+79853553825", 1, func(m *outbox.Message) { m.Channel = outbox.SMS })
		b.clock.move(20 * time.Second)
		stop := b.run() // which counts at its start
		reg := prometheus.NewRegistry()
		for _, c := range b.Collectors() {
			reg.MustRegister(c)
		}
		want := map[string]float64{
			"propusk_outbox_waiting mail": 1, "propusk_outbox_failed mail": 1, "propusk_outbox_oldest_seconds mail": 20, "propusk_outbox_waiting sms": 1,
			"propusk_outbox_sent_total mail": 2, "propusk_outbox_failed_total mail": 1, "propusk_outbox_retried_total mail": 1, "propusk_outbox_sent_total sms": 0,
		}
		var got map[string]float64
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			got = figures(t, reg)
			if got["propusk_outbox_waiting sms"] == 1 {
				break
			}
		}
		stop()
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s is %v, want %v", name, got[name], n)
			}
		}
	})
}

func figures(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

// Who is gone is not told of any more, and whom he was sent to still counts.
func TestForgottenUserLeavesNoTraceButTheLimit(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Limits = in, outbox.Limits{MailPerRecipient: 1} })
		b.mail("a@example.com", 1)
		b.deliver(1)
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return outbox.Forget(t.Context(), tx, "anna") }); err != nil {
			t.Fatal(err)
		}
		if got := of(t, d); strings.Contains(got, "anna") {
			t.Errorf("left: %q", got)
		}
		b.mail("a@example.com", 2)
		b.deliver(0)
	})
}
