package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
)

// run starts Run and gives what ends it.
func (b *bench) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	b.t.Cleanup(stop)
	return stop
}

// arrives waits for a mail with this subject.
func arrives(t *testing.T, in *script, subject string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := in.Wait(ctx, func(e outbox.Envelope) bool { return e.Subject == subject }); err != nil {
		t.Fatalf("%s does not arrive: %v; there are %q", subject, err, in.subjects(""))
	}
}

func TestQueuedMessageLeavesByItself(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Now = in, time.Now })
		b.clock.move(time.Since(noon))
		b.run()
		for i := range 3 { // to one recipient: each makes way for the next
			b.mail("a@example.com", i)
		}
		b.Wake()
		arrives(t, in, "About 2")
		if got := in.subjects(""); got != "0 1 2" {
			t.Errorf("sent: %q", got)
		}
		b.mail("a@example.com", 3) // and nobody wakes it
		arrives(t, in, "About 3")
	})
}

// What is queued before a restart leaves after it, and what has left does not
// leave again.
func TestQueueSurvivesARestart(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		first := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		first.mail("a@example.com", 1)
		first.deliver(1)
		in.to(temporarily)
		first.mail("a@example.com", 2)
		first.deliver(1)
		in.to(nil)
		second := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Keys = in, first.keys })
		second.clock.move(time.Hour)
		second.deliver(1)
		if got := in.subjects(""); got != "1 2" {
			t.Errorf("sent: %q", got)
		}
	})
}

// A stop lets the send in flight end, claims nothing more, and waits no longer
// than it may.
func TestStopLetsTheSendInFlightEnd(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Grace = in, 10*time.Second })
		sending, goOn := make(chan struct{}), make(chan struct{})
		in.to(func(outbox.Envelope) error { close(sending); <-goOn; return nil })
		b.mail("a@example.com", 1)
		b.mail("a@example.com", 2)
		stop := b.run()
		<-sending
		time.AfterFunc(100*time.Millisecond, func() { close(goOn) })
		stop()
		if got := in.subjects(""); got != "1" {
			t.Errorf("sent: %q", got)
		}
		in.to(nil)
		again := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Keys = in, b.keys })
		again.deliver(1) // the other one, at once
		if got := in.subjects(""); got != "1 2" {
			t.Errorf("sent: %q", got)
		}
	})
}

func TestStopCutsOffASendThatDoesNotEnd(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := &hanging{sending: make(chan struct{})}
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Grace = in, 100*time.Millisecond })
		b.mail("a@example.com", 1)
		stop := b.run()
		<-in.sending
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the stop took %s", took)
		}
		got := newScript()
		again := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Keys = got, b.keys })
		again.deliver(1) // at once: it does not wait for the lease
	})
}

// hanging is a sender that says nothing until it is given up.
type hanging struct{ sending chan struct{} }

func (h *hanging) Send(ctx context.Context, _ outbox.Envelope) error {
	close(h.sending)
	<-ctx.Done()
	return ctx.Err()
}

// While the server is away, the loop asks it now and then and not all the time.
func TestRunPausesWhileNothingCanBeSent(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Now = in, time.Now })
		b.clock.move(time.Since(noon))
		in.to(down)
		for i := range 30 {
			b.mail(fmt.Sprintf("u%d@example.com", i), i)
		}
		stop := b.run()
		time.Sleep(1500 * time.Millisecond)
		in.mu.Lock()
		tried := len(in.tried)
		in.mu.Unlock()
		if tried == 0 || tried > 8 {
			t.Errorf("%d attempts in 1.5 s", tried)
		}
		in.to(nil)
		for i := range 30 {
			arrives(t, in, fmt.Sprintf("About %d", i))
		}
		stop()
	})
}

// A template that panics takes nobody else's mail along.
func TestTemplateThatPanicsFailsItsOwnMessage(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) {
			o.Mail = in
			o.Render = func(m outbox.Message) (outbox.Content, error) {
				if m.Data["n"] == "1" {
					panic(errors.New("the link is " + link))
				}
				return render(m)
			}
		})
		b.mail("a@example.com", 1)
		b.mail("a@example.com", 2)
		b.deliver(2)
		if got := in.subjects(""); got != "2" {
			t.Errorf("sent: %q", got)
		}
		if strings.Contains(b.log.String(), link) {
			t.Error("the log holds the link")
		}
	})
}

func TestInboxKeepsTheLastThousand(t *testing.T) {
	in := outbox.NewInbox()
	for i := range 1010 {
		if err := in.Send(t.Context(), outbox.Envelope{To: fmt.Sprint("u", i%2), Subject: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if all, one := in.Messages(""), in.Messages("u1"); len(all) != 1000 || all[0].Subject != "10" || len(one) != 500 {
		t.Errorf("%d messages, from %s on; %d of one", len(all), all[0].Subject, len(one))
	}
	e, err := in.Wait(t.Context(), func(e outbox.Envelope) bool { return e.To == "u0" })
	if err != nil || e.Subject != "1008" {
		t.Errorf("%q, %v", e.Subject, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	in.Clear()
	if _, err := in.Wait(ctx, func(outbox.Envelope) bool { return true }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of an empty one: %v", err)
	}
}
