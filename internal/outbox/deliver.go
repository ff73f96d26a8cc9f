package outbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

const (
	pollEvery = time.Second
	// sendWithin bounds one attempt, whatever the sender does.
	sendWithin = 30 * time.Second
	// leaseTime is for how long a message is its claimer's. It is longer than an
	// attempt and the note of its end together, and than what the clocks of two
	// machines may differ by.
	leaseTime = 2 * time.Minute
	// claimWithin and noteWithin bound what the database may take of it; the
	// latter begins when the program must end.
	claimWithin = 10 * time.Second
	noteWithin  = 2 * time.Second
	noteTries   = 3
	workers     = 4 // of each channel, at one time
	// The wait after a refusal that is not for good.
	firstDelay = 30 * time.Second
	lastDelay  = 48 * time.Minute // and up to a quarter more
	// The wait after it turned out that nothing can be sent at all.
	firstPause = 2 * time.Second
	lastPause  = 30 * time.Second
	// failedKept is for how long an operator can look at what has failed.
	failedKept = 7 * 24 * time.Hour
)

// Options are what an Outbox is built from. Every field is needed unless its
// comment says otherwise.
type Options struct {
	DB   *db.DB
	Keys *secret.Keys
	Now  func() time.Time
	Log  *slog.Logger
	// Mail and SMS are who sends; what a nil one should send waits.
	Mail, SMS Sender
	// Render makes what people read out of a message. Its error is for good.
	Render func(Message) (Content, error)
	// OnSent is told the Ref of a message that has left, once, in the transaction
	// that notes it. It may be nil.
	OnSent func(ctx context.Context, tx *db.Tx, ref string, at time.Time) error
	Limits Limits
	// Grace is how long a send in flight may go on after Run was told to end.
	Grace time.Duration
	// Lease and SendWithin replace the usual times; 0: they do not.
	Lease, SendWithin time.Duration
}

// Outbox delivers what is queued. Several, in several processes, can work on one
// database.
type Outbox struct {
	o        Options
	channels []*channel
	metrics  *metrics
}

// channel is the state of one way out.
type channel struct {
	name   Channel
	sender Sender
	limit  limit
	wake   chan struct{}

	mu     sync.Mutex
	pauses int       // in a row
	until  time.Time // of the present pause
}

// claimed is a message that is ours to send, until our lease is over.
type claimed struct {
	Message
	id                 string
	sealed             []byte
	createdAt          time.Time
	attempts, refusals int
}

// New builds an Outbox. It does nothing until [Outbox.Run] or [Outbox.Deliver].
func New(o Options) *Outbox {
	now := o.Now
	o.Now = func() time.Time { return now().UTC().Truncate(time.Microsecond) }
	if o.Lease == 0 {
		o.Lease = leaseTime
	}
	if o.SendWithin == 0 {
		o.SendWithin = sendWithin
	}
	b := &Outbox{o: o, metrics: newMetrics()}
	for _, c := range []struct {
		name   Channel
		sender Sender
	}{{Mail, o.Mail}, {SMS, o.SMS}} {
		b.channels = append(b.channels, &channel{name: c.name, sender: c.sender, limit: o.Limits.of(c.name), wake: make(chan struct{}, 1)})
	}
	return b
}

// Wake makes Run look for messages now rather than within a second. Call it
// after the commit of what has queued one.
func (b *Outbox) Wake() {
	for _, c := range b.channels {
		c.poke()
	}
}

func (c *channel) poke() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run delivers until ctx ends, and for as long afterwards as the sends in flight
// take, at most Options.Grace.
func (b *Outbox) Run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(b.o.Grace, stop) })()
	var wg sync.WaitGroup
	for _, c := range b.channels {
		if c.sender != nil {
			wg.Go(func() { b.serve(ctx, sending, c) })
		}
	}
	wg.Go(func() { b.observeEach(ctx) })
	wg.Wait()
}

// serve claims for a channel as often as there is a place to send from, until
// ctx ends, and then waits for what is being sent.
func (b *Outbox) serve(ctx, sending context.Context, c *channel) {
	places := make(chan struct{}, workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	t := teller{log: b.o.Log, what: "look for messages to send"}
	for {
		list, err := b.claim(ctx, c, b.free(c, places))
		t.tell(ctx, err)
		for i := range list {
			places <- struct{}{} // there is one: nobody else takes any
			wg.Go(func() {
				b.send(sending, c, list[i])
				<-places
				c.poke() // for the next of the same recipient
			})
		}
		if len(list) > 0 && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.wake:
		}
	}
}

// free is how many messages can be claimed now. After a pause it is one, to try
// it out.
func (b *Outbox) free(c *channel, places chan struct{}) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := cap(places) - len(places)
	switch {
	case c.pauses == 0:
		return n
	case b.o.Now().Before(c.until), len(places) > 0:
		return 0
	default:
		return 1
	}
}

// Deliver sends what can be sent now, and gives how many attempts it made. It
// does not wait for a pause to end. It is for tests and for tools.
func (b *Outbox) Deliver(ctx context.Context) (attempts int, err error) {
	for _, c := range b.channels {
		for c.sender != nil {
			list, err := b.claim(ctx, c, workers)
			if err != nil {
				return attempts, err
			}
			if len(list) == 0 {
				break
			}
			attempts += len(list)
			var wg sync.WaitGroup
			for i := range list {
				wg.Go(func() { b.send(ctx, c, list[i]) })
			}
			wg.Wait()
			if c.paused() {
				break
			}
		}
	}
	return attempts, nil
}

// claim takes at most n messages that are due.
func (b *Outbox) claim(ctx context.Context, c *channel, n int) (list []claimed, err error) {
	now := b.o.Now()
	var due int
	if n <= 0 || ctx.Err() != nil {
		return nil, nil
	}
	if err := b.o.DB.QueryRow(ctx, anythingDue, []any{string(c.name), db.Micros(now)}, &due); err != nil || due == 0 {
		return nil, wrap("look for messages", err)
	}
	// A claim that was cut off half way would stand until its lease is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimWithin)
	defer cancel()
	err = b.o.DB.Tx(ctx, func(tx *db.Tx) error {
		list = nil
		room, err := c.limit.room(ctx, tx, c.name, now)
		if err != nil || room <= 0 {
			return err
		}
		args := []any{
			string(c.name), db.Micros(now), db.Micros(now.Add(b.o.Lease)),
			db.Micros(now.Add(-c.limit.recipientWindow)), c.limit.mostForRecipient, c.limit.mostByStrangers(), min(n, room),
		}
		return tx.Query(ctx, claim, args, func(scan func(...any) error) error {
			var m claimed
			var created int64
			err := scan(&m.id, &m.Channel, &m.Kind, &m.SubjectID, &m.Lang, &m.Ref, &m.sealed, &created, &m.attempts, &m.refusals)
			m.createdAt = db.Time(created)
			list = append(list, m)
			return err
		})
	})
	return list, wrap("claim messages", err)
}

// send makes one attempt and notes its end.
func (b *Outbox) send(ctx context.Context, c *channel, m claimed) {
	within, cancel := context.WithTimeout(ctx, b.o.SendWithin)
	defer cancel()
	begun := b.o.Now()
	err := b.attempt(within, c, &m)
	at := b.o.Now()
	b.metrics.took(c.name, at.Sub(begun))
	if err == nil {
		c.resume()
		if b.note(ctx, m, func(ctx context.Context, tx *db.Tx) (bool, error) { return b.sent(ctx, tx, c, m, at) }) {
			b.metrics.sent(c.name)
		}
		return
	}
	why := asSendError(err)
	if !why.Down {
		c.resume()
	}
	switch {
	case ctx.Err() != nil: // cut off by our own end: another start tries at once
		why, at = &SendError{Class: "stopped", Down: true}, at.Add(-time.Microsecond)
		b.note(ctx, m, func(ctx context.Context, tx *db.Tx) (bool, error) { return b.putOff(ctx, tx, m, why, at) })
	case why.Permanent:
		b.note(ctx, m, func(ctx context.Context, tx *db.Tx) (bool, error) { return b.failed(ctx, tx, m, why, at) })
		b.metrics.failed(c.name)
		b.o.Log.LogAttrs(ctx, slog.LevelWarn, "message failed for good", slog.String("id", m.id), slog.String("kind", string(m.Kind)), slog.String("error", why.Class))
	default:
		delay := delayAfter(m.refusals)
		if why.Down {
			delay = b.pause(ctx, c, at, why)
		}
		b.note(ctx, m, func(ctx context.Context, tx *db.Tx) (bool, error) { return b.putOff(ctx, tx, m, why, at.Add(delay)) })
		b.metrics.retried(c.name)
	}
}

// attempt opens, renders and sends.
func (b *Outbox) attempt(ctx context.Context, c *channel, m *claimed) error {
	if err := open(b.o.Keys, m.id, &m.Message, m.sealed); err != nil {
		return &SendError{Class: "does not open", Permanent: true}
	}
	e := Envelope{ID: m.id, To: m.To, Lang: m.Lang, Kind: m.Kind, CreatedAt: m.createdAt, Link: m.Data["link"], Code: m.Data["code"]}
	if err := b.render(ctx, m.Message, &e); err != nil {
		return err
	}
	return c.sender.Send(ctx, e)
}

// render makes the text. A template that panics would do so again at each start.
func (b *Outbox) render(ctx context.Context, m Message, e *Envelope) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil { // whose words may quote what it could not render: a link
			b.o.Log.LogAttrs(ctx, slog.LevelError, "message cannot be rendered", slog.String("id", e.ID), slog.String("kind", string(m.Kind)))
			err = &SendError{Class: "cannot be rendered", Permanent: true}
		}
	}()
	c, err := b.o.Render(m)
	e.Subject, e.Text, e.HTML = c.Subject, c.Text, c.HTML
	return err
}

// note writes the end of an attempt. A message that has left and is not noted
// would leave again, so this goes on until the database takes it, the claim is
// another's, or the program must end.
func (b *Outbox) note(ctx context.Context, m claimed, f func(context.Context, *db.Tx) (bool, error)) (noted bool) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.o.Lease)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(noteWithin, cancel) })()
	refused := false
	t := teller{log: b.o.Log, what: "note what was sent"}
	for tries := 1; ; tries++ {
		var ours bool
		err := b.o.DB.Tx(last, func(tx *db.Tx) (err error) {
			ours, err = f(last, tx)
			return err
		})
		t.tell(last, err)
		switch {
		case err == nil: // not ours: dropped, forgotten, or claimed by another meanwhile
			return ours && !refused
		case last.Err() != nil, tries > 2*noteTries && !errors.Is(err, db.ErrUnavailable):
			return false
		case tries == noteTries && !errors.Is(err, db.ErrUnavailable):
			// Whoever refuses here would refuse again, and the message be sent again
			// and again.
			refused = true
			f = func(ctx context.Context, tx *db.Tx) (bool, error) {
				return b.failed(ctx, tx, m, &SendError{Class: "sent, and refused by OnSent"}, b.o.Now())
			}
		}
		select {
		case <-last.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *Outbox) sent(ctx context.Context, tx *db.Tx, c *channel, m claimed, at time.Time) (bool, error) {
	n, err := tx.Exec(ctx, markSent, m.id, m.attempts, db.Micros(at), []byte{}, db.Micros(at.Add(c.limit.recipientWindow)))
	if err != nil || n == 0 {
		return false, err
	}
	if m.Ref != "" && b.o.OnSent != nil {
		return true, b.o.OnSent(ctx, tx, m.Ref, at)
	}
	return true, nil
}

func (b *Outbox) putOff(ctx context.Context, tx *db.Tx, m claimed, why *SendError, until time.Time) (bool, error) {
	refused := 1
	if why.Down {
		refused = 0
	}
	n, err := tx.Exec(ctx, putOff, m.id, m.attempts, db.Micros(until), why.Class, refused)
	return n > 0, err
}

func (b *Outbox) failed(ctx context.Context, tx *db.Tx, m claimed, why *SendError, at time.Time) (bool, error) {
	n, err := tx.Exec(ctx, markFailed, m.id, m.attempts, db.Micros(at), why.Class, db.Micros(at.Add(failedKept)))
	return n > 0, err
}

// pause holds the channel back, and gives for how long.
func (b *Outbox) pause(ctx context.Context, c *channel, at time.Time, why *SendError) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pauses == 0 {
		b.o.Log.LogAttrs(ctx, slog.LevelWarn, "messages cannot be sent", slog.String("channel", string(c.name)), slog.String("error", why.Class))
	}
	if c.pauses > 0 && at.Before(c.until) { // others that were under way; it is said already
		return c.until.Sub(at)
	}
	d := min(firstPause<<min(c.pauses, 8), lastPause)
	c.pauses++
	c.until = at.Add(d)
	return d
}

func (c *channel) paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pauses > 0
}

func (c *channel) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses = 0
}

// delayAfter is the wait after so many refusals before this one: 30 s, 1, 2, 4 …
// minutes, and up to a quarter more, so that what was refused together does not
// come back together.
func delayAfter(refusals int) time.Duration {
	d := min(firstDelay<<min(refusals, 16), lastDelay)
	var random [8]byte
	_, _ = rand.Read(random[:])                                                 // never fails: crypto/rand ends the program instead
	return d + time.Duration(binary.LittleEndian.Uint64(random[:])%uint64(d/4)) //nolint:gosec // both are small
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// teller tells once that background work fails, and once more when it is over.
type teller struct {
	log     *slog.Logger
	what    string
	failing bool
}

func (t *teller) tell(ctx context.Context, err error) {
	switch {
	case err != nil && !t.failing && ctx.Err() == nil:
		t.failing = true
		level := slog.LevelError
		if errors.Is(err, db.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			level = slog.LevelWarn
		}
		t.log.LogAttrs(ctx, level, "background work fails", slog.String("work", t.what), slog.String("error", err.Error()))
	case err == nil && t.failing:
		t.failing = false
		t.log.LogAttrs(ctx, slog.LevelInfo, "background work goes on", slog.String("work", t.what))
	}
}
