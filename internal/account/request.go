package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// What strangers may ask for by a name (a link to recover an account, a code to
// log in with) must not tell them whether there is such a user: not by the answer,
// and not by the time that it takes. So nothing is looked up while they wait. The
// request is put down, sealed, whoever it is for; the work is done behind it, a
// while later. If it began at once, it would compete for the cores and the
// database with the answer to that very request, and there is more of it for some
// names than for others. What is left of earlier ones is hidden by answering at
// multiples of askPace only.
const (
	askPace    = 25 * time.Millisecond
	serveAfter = 200 * time.Millisecond
)

// request is what somebody asked for.
type request struct {
	Purpose  purpose       `json:"purpose"`
	Named    string        `json:"named"` // as it was typed
	Via      Contact       `json:"via,omitzero"`
	Browser  []byte        `json:"browser,omitzero"`
	Language string        `json:"language,omitzero"`
	Origin   origin        `json:"origin"`
	Request  string        `json:"request_id"`
	Agent    string        `json:"user_agent,omitzero"`
	Marks    []string      `json:"marks,omitzero"` // of devices
	Newcomer *registration `json:"newcomer,omitzero"`

	cause outbox.Cause // where it is not for [Service.causeOf] to tell
}

// Contact is a way to reach a user.
type Contact string

// The ways.
const (
	Email Contact = "email"
	Phone Contact = "phone"
)

// ask puts a request down. It is refused where the network has asked too often;
// where the name was asked for too often already, nothing happens, and nobody is
// told. A registration that carries an Idempotency-Key is put down once.
func (s *Service) ask(ctx context.Context, now time.Time, caller Caller, once *once, r request) (replayed bool, err error) {
	begun := s.clock()
	defer func() { s.holdToMultiple(ctx, begun, askPace) }()
	r.Named = strings.ToValidUTF8(r.Named[:min(len(r.Named), maxInputBytes)], "") // nobody has a longer name
	r.Language, r.Origin, r.Request, r.Agent = caller.Language, originOf(caller, now), caller.RequestID, caller.UserAgent
	for _, m := range caller.Devices[:min(len(caller.Devices), maxDeviceMarks)] {
		r.Marks = append(r.Marks, m.Reveal())
	}
	if caller.Kind != Operator && caller.IP.IsValid() && !caller.IP.IsLoopback() {
		b := s.newBudget(bucket, scopeAskers, networkOf(caller.IP), s.policy.AsksPerNetwork, askersRefill)
		if err := s.takeOrRefuse(ctx, now, b); err != nil {
			return false, err
		}
	}
	id := secret.NewOrderedID(now)
	plain, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("seal request: %w", err)
	}
	sealed := s.keys.Seal("request", id, plain)
	asked := s.newBudget(bucket, scopeAsked, s.askedFor(r), s.policy.MessagesPerAddress, s.policy.MessagesRefill)
	if r.Newcomer == nil {
		// A flood for one name must not queue up for the row of its budget.
		if s.knownEmpty(now, asked) != nil {
			return false, nil
		}
	}
	err = s.throttled(now, s.db.Tx(ctx, func(tx *db.Tx) error {
		replayed = false
		if r.Newcomer != nil {
			_, done, err := once.claim(ctx, tx, now, r.Newcomer.ID)
			if replayed = done; err != nil || done {
				return err
			}
		}
		taken, err := asked.take(ctx, tx, now, 0)
		if err == nil && !taken {
			err = asked.refusal(ctx, tx, now)
		}
		if err == nil {
			_, err = tx.Exec(ctx, insertRequest, id, sealed, db.Micros(now))
		}
		return err
	}))
	var refusal *Error
	switch {
	case errors.As(err, &refusal) && refusal.Kind == Throttled:
		return false, nil
	case err == nil && !replayed:
		s.metrics.requests.WithLabelValues(string(r.Purpose)).Inc()
		select {
		case s.requested <- struct{}{}:
		default:
		}
	}
	return replayed, err
}

// askedFor names the budget of a request: by what was typed, and by the known
// device that it came from, which nobody else has. Whether a mark makes a device
// known only the account can tell, so any mark has a budget of its own here, and
// the message's own budget decides.
func (s *Service) askedFor(r request) string {
	name := string(r.Purpose) + " " + canonicalName(r.Named)
	if len(r.Marks) > 0 {
		name += " " + strings.Join(r.Marks, " ")
	}
	return name
}

const requestsEvery = time.Second

// serveRequests does what was asked for, a little later.
func (s *Service) serveRequests(ctx context.Context) {
	t := teller{s: s, what: "do what was asked for"}
	ticks := time.NewTicker(requestsEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		case <-s.requested:
			select {
			case <-ctx.Done():
				return
			case <-time.After(serveAfter):
			}
		}
		work, cancel := context.WithTimeout(ctx, time.Minute)
		t.tell(ctx, s.ServeRequests(work))
		cancel()
	}
}

// ServeRequests does all that was asked for and waits, oldest first.
func (s *Service) ServeRequests(ctx context.Context) error {
	for {
		more, err := s.serveRequest(ctx)
		if err != nil || !more {
			return err
		}
	}
}

func (s *Service) serveRequest(ctx context.Context) (more bool, err error) {
	var waiting int
	if err := s.db.QueryRow(ctx, countRequests, nil, &waiting); err != nil || waiting == 0 {
		return false, err
	}
	now := s.now()
	var broken error
	err = s.tx(ctx, func(tx *db.Tx) error {
		broken = nil
		var id string
		var sealed []byte
		err := tx.QueryRow(ctx, takeRequest, nil, &id, &sealed)
		if errors.Is(err, db.ErrNotFound) { // another process has it
			return nil
		}
		if err != nil {
			return err
		}
		plain, err := s.keys.Open("request", id, sealed)
		var r request
		if err == nil {
			err = json.Unmarshal(plain, &r)
		}
		if err != nil { // it must not keep the others waiting
			broken = err
			return nil
		}
		err = s.serve(ctx, tx, now, r)
		var refusal *Error
		if errors.As(err, &refusal) { // there is nobody to be told
			err = nil
		}
		return err
	})
	if broken != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "a request cannot be read and is dropped", slog.String("error", broken.Error()))
	}
	return true, err
}

func (s *Service) serve(ctx context.Context, tx *db.Tx, now time.Time, r request) error {
	if now.Sub(r.Origin.At) > sentWithin { // nobody waits for it any more
		return nil
	}
	if r.Purpose == forRegister {
		return s.serveRegistration(ctx, tx, now, r)
	}
	u, _, err := s.userByLogin(ctx, tx, r.Named)
	if err != nil || u.ID == "" {
		return err
	}
	u, err = s.lockUser(ctx, tx, u.ID) // or the token could outlive a change that ends all of them
	if err != nil {
		return err
	}
	switch r.Purpose {
	case forRecovery:
		return s.sendRecovery(ctx, tx, now, u, r)
	case forLogin:
		return s.sendLoginCode(ctx, tx, now, u, r)
	case forVerifyEmail:
		return s.sendVerification(ctx, tx, now, u, r)
	}
	return nil
}

// askingDevice is the mark of the device that asks, where the account knows it and
// the address is the account's own. Every login makes such a mark: whoever could
// write with it to an address that nobody has proven, could write to anybody as
// often as he logs in.
func (s *Service) askingDevice(now time.Time, u userRow, address string, r request) mark {
	if !u.hasProven(address) {
		return mark{}
	}
	marks := make([]secret.Text, len(r.Marks))
	for i, m := range r.Marks {
		marks[i] = secret.NewText(m)
	}
	return s.knownDevice(now, u.ID, marks)
}

// hasProven tells whether an address or a number is the user's, and proven.
func (u userRow) hasProven(address string) bool {
	return address == u.Email && !u.emailVerifiedAt.IsZero() || address == u.ContactNumber && !u.contactVerifiedAt.IsZero()
}

// causeOf is why what was asked for is sent.
func (s *Service) causeOf(now time.Time, u userRow, address string, r request) outbox.Cause {
	if r.cause == outbox.ByStranger && s.askingDevice(now, u, address, r).known {
		return outbox.ByOwner
	}
	return r.cause
}

// mayWrite takes a message to an address from its budget; the device that asks
// may have one of its own.
func (s *Service) mayWrite(ctx context.Context, tx *db.Tx, now time.Time, u userRow, address string, r request) (bool, error) {
	device := ""
	if m := s.askingDevice(now, u, address, r); m.known {
		device = m.device.String()
	}
	ok, err := s.takeMessage(ctx, tx, now, string(r.Purpose), address, device)
	if err == nil && !ok {
		s.metrics.throttled.WithLabelValues(scopeRecipient).Inc()
	}
	return ok, err
}

// writeOrRefuse is the same for one who may know that there was none left.
func (s *Service) writeOrRefuse(ctx context.Context, tx *db.Tx, now time.Time, u userRow, address string, r request) error {
	ok, err := s.mayWrite(ctx, tx, now, u, address, r)
	if err == nil && !ok {
		err = s.tooManyMessages()
	}
	return err
}

func (s *Service) tooManyMessages() error {
	return &Error{Kind: Throttled, Fault: Fault{Code: CodeTooManyMessages}, RetryAfter: s.policy.MessagesRefill}
}

// recordAsked writes into the trail that somebody asked for something.
func (r request) record(ctx context.Context, tx *db.Tx, now time.Time, action Action, userID string) error {
	return event.Record(ctx, tx, now, event.Entry{
		Action: event.Action(action), Outcome: event.Success, Actor: event.Actor{Kind: Anonymous.String()},
		TargetID: userID, RequestID: r.Request, Personal: event.Personal{IP: r.Origin.IP, UserAgent: r.Agent},
	})
}
