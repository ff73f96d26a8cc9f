package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// render is the least of templates.
func render(m outbox.Message) (outbox.Content, error) {
	if m.Data["unfit"] != "" {
		return outbox.Content{}, errors.New("no template for " + m.To)
	}
	return outbox.Content{Subject: "About " + m.Data["n"], Text: "Text " + m.Data["n"] + " " + m.Data["link"], HTML: "<p>Text " + m.Data["n"] + "</p>"}, nil
}

// bench is a queue with somebody who delivers it.
type bench struct {
	*outbox.Outbox
	t     *testing.T
	db    *db.DB
	keys  *secret.Keys
	clock *clock
	log   *strings.Builder
}

// newBench lets change the options before anything is built.
func newBench(t *testing.T, d *db.DB, change func(*outbox.Options)) *bench {
	t.Helper()
	b := &bench{t: t, db: d, keys: secret.NewKeys(), clock: &clock{now: noon}, log: &strings.Builder{}}
	o := outbox.Options{
		DB: d, Keys: b.keys, Now: b.clock.Now, Render: render, Grace: time.Second,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: b.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&o)
	if o.Keys != nil {
		b.keys = o.Keys
	}
	b.Outbox = outbox.New(o)
	return b
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// mail queues a message to an address, with a number in it.
func (b *bench) mail(to string, n int, change ...func(*outbox.Message)) {
	b.t.Helper()
	m := outbox.Message{
		Channel: outbox.Mail, Kind: outbox.LoginCode, SubjectID: "anna", Cause: outbox.ByOwner, To: to, Lang: "en", Data: map[string]string{"n": fmt.Sprint(n)},
	}
	for _, c := range change {
		c(&m)
	}
	enqueue(b.t, b.db, b.keys, b.clock.Now(), m)
}

// deliver makes one round, and wants it to make so many attempts.
func (b *bench) deliver(want int) {
	b.t.Helper()
	got, err := b.Deliver(b.t.Context())
	if err != nil || got != want {
		b.t.Errorf("%d attempts, %v; want %d", got, err, want)
	}
}

// script is a sender that fails as it is told.
type script struct {
	*outbox.Inbox
	mu    sync.Mutex
	fail  func(e outbox.Envelope) error
	tried []string
}

func newScript() *script { return &script{Inbox: outbox.NewInbox()} }

func (s *script) to(f func(e outbox.Envelope) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func (s *script) Send(ctx context.Context, e outbox.Envelope) error {
	s.mu.Lock()
	f := s.fail
	s.tried = append(s.tried, e.ID)
	s.mu.Unlock()
	if f != nil {
		if err := f(e); err != nil {
			return err
		}
	}
	return s.Inbox.Send(ctx, e)
}

// subjects are those of what came to an address.
func (s *script) subjects(to string) string {
	var out []string
	for _, e := range s.Messages(to) {
		out = append(out, strings.TrimPrefix(e.Subject, "About "))
	}
	return strings.Join(out, " ")
}

func temporarily(outbox.Envelope) error { return &outbox.SendError{Class: "smtp 451 4.7.1"} }
func forGood(outbox.Envelope) error {
	return &outbox.SendError{Class: "smtp 550 5.1.1", Permanent: true}
}
func down(outbox.Envelope) error { return &outbox.SendError{Class: "connection refused", Down: true} }

func TestMessageIsDeliveredOnceAndItsContentForgotten(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		b.mail("a@example.com", 1)
		b.deliver(1)
		b.deliver(0)
		got := in.Messages("")
		if len(got) != 1 || got[0].Subject != "About 1" || got[0].To != "a@example.com" || got[0].Lang != "en" || !got[0].CreatedAt.Equal(noon) {
			t.Fatalf("delivered: %+v", got)
		}
		var sealed []byte
		if err := d.QueryRow(t.Context(), `SELECT sealed FROM outbox`, nil, &sealed); err != nil || len(sealed) != 0 {
			t.Errorf("of what was sent %d bytes are left, %v", len(sealed), err)
		}
		if n, err := outbox.Purge(t.Context(), d, noon.Add(time.Hour), 10); err != nil || n != 1 {
			t.Errorf("an hour later %d rows go, %v", n, err)
		}
	})
}

func TestMessageOfAChannelWithoutASenderWaits(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.SMS = in })
		b.mail("a@example.com", 1)
		b.mail("+79853553825", 2, func(m *outbox.Message) { m.Channel = outbox.SMS })
		b.deliver(1)
		if got := in.subjects(""); got != "2" {
			t.Errorf("sent: %q", got)
		}
		if ms := waiting(t, d, b.keys, 10); len(ms) != 1 || ms[0].Channel != outbox.Mail {
			t.Errorf("waiting: %+v", ms)
		}
	})
}

// What is put off holds back what came after it, for its own recipient and for
// nobody else; spelling makes no other recipient.
func TestOrderOfARecipientIsKept(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		for i := range 6 {
			b.mail([]string{"a@example.com", "A@Example.COM", "b@example.com"}[i%3], i)
		}
		in.to(func(e outbox.Envelope) error {
			if strings.EqualFold(e.To, "a@example.com") {
				return temporarily(e)
			}
			return nil
		})
		b.deliver(3)
		if got := in.subjects(""); got != "2 5" {
			t.Errorf("while the first is put off, sent: %q", got)
		}
		in.to(nil)
		b.deliver(0)
		b.clock.move(38 * time.Second)
		b.deliver(4)
		if got := in.subjects(""); got != "2 5 0 1 3 4" {
			t.Errorf("sent: %q", got)
		}
	})
}

func TestRefusalIsTriedAgainAfterGrowingWaits(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		in.to(temporarily)
		b.mail("a@example.com", 1)
		for i, least := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, 48 * time.Minute, 48 * time.Minute} {
			b.deliver(1)
			b.clock.move(least - time.Second)
			b.deliver(0)
			b.clock.move(least/4 + time.Second)
			if i == 7 && least+least/4 != time.Hour {
				t.Error("the longest wait is not an hour")
			}
		}
		in.to(nil)
		b.deliver(1)
		if got := in.subjects(""); got != "1" {
			t.Errorf("sent: %q", got)
		}
	})
}

func TestRefusalForGoodIsKeptAndHoldsNothingBack(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		in.to(forGood)
		b.mail("a@example.com", 1)
		b.mail("a@example.com", 2, func(m *outbox.Message) { m.Data["unfit"] = "yes" })
		b.deliver(2)
		in.to(nil)
		b.mail("a@example.com", 3)
		b.deliver(1)
		b.clock.move(time.Hour)
		b.deliver(0)
		var errs []string
		err := d.Query(t.Context(), `SELECT last_error FROM outbox WHERE failed_at IS NOT NULL ORDER BY seq`, nil, func(scan func(...any) error) error {
			var s string
			err := scan(&s)
			errs = append(errs, s)
			return err
		})
		if want := []string{"smtp 550 5.1.1", "cannot be rendered"}; err != nil || !slices.Equal(errs, want) {
			t.Errorf("failed with %q, %v; want %q", errs, err, want)
		}
		if got := in.subjects(""); got != "3" {
			t.Errorf("sent: %q", got)
		}
		if log := b.log.String(); strings.Contains(log, "a@example.com") || !strings.Contains(log, "smtp 550 5.1.1") {
			t.Errorf("the log: %s", log)
		}
	})
}

func TestWhatIsNotWorthSendingAnyMoreIsNotSent(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		b.mail("a@example.com", 1, func(m *outbox.Message) { m.Lifetime = time.Hour })
		b.mail("a@example.com", 2)
		b.clock.move(time.Hour)
		b.deliver(1)
		if got := in.subjects(""); got != "2" {
			t.Errorf("sent: %q", got)
		}
	})
}

// While nothing can be sent at all, one is tried now and then, and nobody's turn
// gets longer by it.
func TestOutageOfTheServerCostsNoMessageItsTurn(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		for i := range 20 {
			b.mail(fmt.Sprintf("u%d@example.com", i), i)
		}
		in.to(down)
		for range 50 {
			if n, err := b.Deliver(t.Context()); err != nil || n > 4 {
				t.Fatalf("%d attempts while the server is away, %v", n, err)
			}
			b.clock.move(30 * time.Second)
		}
		in.to(nil)
		b.deliver(20)
		if n := strings.Count(b.log.String(), "messages cannot be sent"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}

func TestLimitsMakeMessagesWait(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) {
			o.Mail, o.SMS = in, in
			o.Limits = outbox.Limits{MailPerMinute: 7, MailPerRecipient: 3, SMSPerHour: 2, SMSPerNumber: 1}
		})
		for i := range 5 {
			b.mail("a@example.com", i)
		}
		b.deliver(3) // F18: no more to one recipient
		b.clock.move(59 * time.Minute)
		b.deliver(0)
		b.clock.move(time.Minute)
		b.deliver(2)
		if got := in.subjects("a@example.com"); got != "0 1 2 3 4" {
			t.Errorf("sent: %q", got)
		}
		for i := range 8 {
			b.mail(fmt.Sprintf("u%d@example.com", i), i)
		}
		b.deliver(5)
		b.clock.move(time.Minute)
		b.deliver(3)
		for i := range 4 {
			b.mail(fmt.Sprintf("+7985000000%d", i/2), i, func(m *outbox.Message) { m.Channel = outbox.SMS })
		}
		b.deliver(2)
		b.clock.move(time.Hour)
		b.deliver(0)
		b.clock.move(23 * time.Hour)
		b.deliver(2)
		if got := in.subjects("+79850000000") + " " + in.subjects("+79850000001"); got != "0 1 2 3" {
			t.Errorf("sent: %q", got)
		}
	})
}

func because(c outbox.Cause) func(*outbox.Message) {
	return func(m *outbox.Message) { m.Cause = c }
}

// Attack: strangers, or a thief, have a recipient written to until no more leaves.
// Half is kept for what the owner asks for, and what he is told of waits for neither.
func TestStrangersDoNotUseUpWhatARecipientGets(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Limits = in, outbox.Limits{MailPerRecipient: 5} })
		const to = "a@example.com"
		for i := range 7 {
			b.mail(to, i, because(outbox.ByStranger))
		}
		b.deliver(3)
		for i := range 3 {
			b.mail(to, 10+i, because(outbox.ByOwner))
		}
		b.deliver(2)
		for i := range 7 {
			b.mail(to, 20+i, because(outbox.Notice))
		}
		for i := range 7 {
			b.mail(to, 30+i, because(outbox.Undo))
		}
		b.deliver(5 + 7) // a flood of notices ends too
		b.clock.move(59 * time.Minute)
		b.deliver(0)
		if got, want := sorted(in.subjects(to)), "0 1 10 11 2 20 21 22 23 24 30 31 32 33 34 35 36"; got != want {
			t.Errorf("sent: %q, want %q", got, want)
		}
		b.clock.move(time.Minute)
		b.deliver(2 + 1 + 3)
		if got, want := sorted(in.subjects(to)), "0 1 10 11 12 2 20 21 22 23 24 25 26 3 30 31 32 33 34 35 36 4 5"; got != want {
			t.Errorf("sent: %q, want %q", got, want)
		}
		b.clock.move(time.Hour)
		b.deliver(1)
	})
}

func sorted(words string) string {
	list := strings.Fields(words)
	slices.Sort(list)
	return strings.Join(list, " ")
}

// Of what waits for room, whatever its recipient, notices and ways back go first,
// and what strangers ask for goes last.
func TestNoticesGoBeforeWhatIsAskedFor(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Limits = in, outbox.Limits{MailPerMinute: 1} })
		for i, c := range []outbox.Cause{outbox.ByStranger, outbox.ByOwner, outbox.Notice, outbox.Undo} {
			b.mail("a@example.com", 2*i, because(c))
			b.mail(fmt.Sprintf("b%d@example.com", i), 2*i+1, because(c))
		}
		for range 8 {
			b.deliver(1)
			b.clock.move(time.Minute)
		}
		if got, want := in.subjects(""), "6 7 4 5 2 3 0 1"; got != want {
			t.Errorf("sent: %q, want %q", got, want)
		}
	})
}

// What is put off does not hold back what matters more, and what strangers ask for
// waits for the owner's.
func TestOnlyWhatMattersAsMuchHoldsBack(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		b.mail("a@example.com", 1, because(outbox.ByOwner))
		in.to(temporarily)
		b.deliver(1)
		in.to(nil)
		b.mail("a@example.com", 2, because(outbox.ByStranger))
		b.mail("a@example.com", 3, because(outbox.Notice))
		b.mail("a@example.com", 4, because(outbox.Undo))
		b.deliver(2)
		b.clock.move(38 * time.Second)
		b.deliver(2)
		if got := in.subjects(""); !strings.HasSuffix(got, " 1 2") {
			t.Errorf("sent: %q", got)
		}
	})
}

// Codes live from the moment at which they leave.
func TestSendingIsToldOnceInItsTransaction(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		var told []string
		b := newBench(t, d, func(o *outbox.Options) {
			o.Mail = in
			o.OnSent = func(ctx context.Context, tx *db.Tx, ref string, at time.Time) error {
				var n int
				if err := tx.QueryRow(ctx, `SELECT count(*) FROM outbox WHERE ref = $1 AND sent_at = $2`, []any{ref, db.Micros(at)}, &n); err != nil {
					return err
				}
				told = append(told, fmt.Sprint(ref, " ", n, " ", at.Sub(noon)))
				return nil
			}
		})
		b.mail("a@example.com", 1, func(m *outbox.Message) { m.Ref = "token1" })
		b.mail("b@example.com", 2)
		in.to(temporarily)
		b.deliver(2)
		in.to(nil)
		b.clock.move(time.Minute)
		b.deliver(2)
		b.deliver(0)
		if want := []string{"token1 1 1m0s"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestMessageWhoseSendingCannotBeToldOfFailsAndIsNotSentAgain(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) {
			o.Mail = in
			o.OnSent = func(context.Context, *db.Tx, string, time.Time) error { return errors.New("a rule said no") }
		})
		b.mail("a@example.com", 1, func(m *outbox.Message) { m.Ref = "token1" })
		b.deliver(1)
		b.clock.move(24 * time.Hour)
		b.deliver(0)
		if got := in.subjects(""); got != "1" {
			t.Errorf("sent: %q", got)
		}
	})
}

// Of two that deliver, each message is one's; a lease that is over makes it
// another's, and then the first one's word does not count any more.
func TestLeaseOfOneWhoDiedIsTakenOver(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		first, second := newScript(), newScript()
		told := 0
		onSent := func(context.Context, *db.Tx, string, time.Time) error { told++; return nil }
		b := newBench(t, d, func(o *outbox.Options) { o.Mail, o.OnSent = first, onSent })
		other := newBench(t, d, func(o *outbox.Options) { o.Mail, o.OnSent, o.Keys, o.Now = second, onSent, b.keys, b.clock.Now })
		b.mail("a@example.com", 1, func(m *outbox.Message) { m.Ref = "token1" })
		b.mail("a@example.com", 2)
		stuck, goOn := make(chan struct{}), make(chan struct{})
		first.to(func(outbox.Envelope) error { close(stuck); <-goOn; return nil })
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = b.Deliver(t.Context()) // what became of it is looked at below
		}()
		<-stuck
		first.to(nil)
		other.deliver(0) // neither the first, nor, because of it, the second
		b.clock.move(2*time.Minute - time.Microsecond)
		other.deliver(0)
		b.clock.move(time.Microsecond)
		other.deliver(2)
		close(goOn)
		<-done
		if a, b := first.subjects(""), second.subjects(""); a != "1" || b != "1 2" || told != 1 {
			t.Errorf("the one who was stuck sent %q, the other %q; told %d times", a, b, told)
		}
	})
}

func TestTwoWhoDeliverNeverBothSendOne(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		const n = 300
		in := newScript()
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		for i := range n {
			b.mail(fmt.Sprintf("u%d@example.com", i%40), i)
		}
		var all sync.WaitGroup
		for range 4 {
			o := newBench(t, d, func(o *outbox.Options) { o.Mail, o.Keys = in, b.keys })
			all.Go(func() {
				for {
					got, err := o.Deliver(t.Context())
					if err != nil {
						t.Error(err)
					}
					if got == 0 {
						return
					}
				}
			})
		}
		all.Wait()
		_, _ = b.Deliver(t.Context()) // what the others held back for each other
		if ids := slices.Compact(slices.Sorted(slices.Values(in.tried))); len(in.tried) != n || len(ids) != n {
			t.Errorf("%d messages were sent in %d attempts, want %d", len(ids), len(in.tried), n)
		}
		for i := range 40 {
			var want []string
			for j := i; j < n; j += 40 {
				want = append(want, fmt.Sprint(j))
			}
			if got := in.subjects(fmt.Sprintf("u%d@example.com", i)); got != strings.Join(want, " ") {
				t.Errorf("to u%d in the order %s", i, got)
			}
		}
	})
}

// An outage of the mail server leaves thousands waiting, all of a sudden: PostgreSQL
// knows nothing of them yet, and a claim that it plans without such knowledge must
// still end in the time that a statement may take.
func TestQueueThatHasGrownAllAtOnceIsDelivered(t *testing.T) {
	t.Parallel()
	const many = 8_000
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		in := newScript()
		in.to(down) // one claim says enough
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = in })
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			for i := range many {
				m := outbox.Message{Channel: outbox.Mail, Kind: outbox.LoginCode, Cause: outbox.ByOwner, To: fmt.Sprintf("user%d@example.com", i%(many/2)), Lang: "en"}
				if err := outbox.Enqueue(t.Context(), tx, b.keys, noon, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := b.Deliver(t.Context()); err != nil || n == 0 {
			t.Errorf("%d attempts, %v", n, err)
		}
	})
}

// While a claim runs, nobody else writes to SQLite: it must not sort all that waits.
func TestClaimIsInTheOrderOfAnIndex(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		if d.Engine() != db.SQLite { // PostgreSQL plans by what there is
			return
		}
		var plan []string
		err := d.Query(t.Context(), "EXPLAIN QUERY PLAN "+outbox.Claim, []any{"email", 1, 1, 1, 1, 1, 1}, func(scan func(...any) error) error {
			var id, parent, unused int
			var step string
			err := scan(&id, &parent, &unused, &step)
			plan = append(plan, step)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, "outbox_first") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("it is planned so:\n%s", text)
		}
	})
}
