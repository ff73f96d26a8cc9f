package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// Login is what somebody gives to get a token.
type Login struct {
	EmailOrName string
	Password    secret.Text
	RememberMe  bool
}

// Login proves a password and gives a token. An unknown name, a wrong password
// and a disabled account are the same answer after the same work, at the same
// time.
func (s *Service) Login(ctx context.Context, caller Caller, in Login) (Token, error) {
	begun, step := s.clock(), 3*s.hasher.Pace() // before this login's own hash can change it
	t, err := s.login(ctx, caller, in)
	s.metrics.logins.WithLabelValues(outcome(err)).Inc()
	s.holdBack(ctx, begun, step, err)
	return t, err
}

func (s *Service) login(ctx context.Context, caller Caller, in Login) (Token, error) {
	broken := faults{}
	if strings.Trim(in.EmailOrName, " ") == "" {
		broken.add("email_or_name", &Fault{Code: CodeRequired})
	}
	broken.add("password", s.checkSubmitted(in.Password))
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return Token{}, err
	}
	now := s.now()
	u, a, place, err := s.admit(ctx, now, caller, in)
	if err != nil {
		return Token{}, err
	}
	defer place.Release()
	who := hashingFor(caller, a.account, a.known)
	who.Place = place
	phc := u.passwordHash
	if a.closed {
		phc = "" // the same work, and never right
	}
	ok, stale, err := s.verify(ctx, who, in.Password, phc)
	if err != nil {
		s.unused(ctx, a.taken, err)
		return Token{}, err
	}
	if !ok || !u.disabledAt.IsZero() {
		return Token{}, s.refuseLogin(ctx, now, caller, u.ID)
	}
	if stale {
		if u.passwordHash, err = s.rehash(ctx, caller, u, in.Password); err != nil {
			return Token{}, err
		}
	}
	return s.advance(ctx, caller, proof{userID: u.ID, phc: u.passwordHash, first: u.provedAt.IsZero(), attempt: a}, in.RememberMe)
}

// entranceSize is how many attempts are looked up at one time, and entranceWait
// how long one waits for that. A flood of them stands here, where it costs
// nothing, and not before the cores, where it would keep token checks waiting.
const (
	entranceSize = 16
	entranceWait = time.Second
)

// admit keeps a place in the hashing queue, finds the user and takes an attempt.
// Who brings no mark of a device is told before he is looked up that there is no
// place; whether a mark makes a device known only the account can tell.
func (s *Service) admit(ctx context.Context, now time.Time, caller Caller, in Login) (u userRow, a attempt, place *secret.Place, err error) {
	reserve := func(known bool) (err error) {
		place, err = s.hasher.Reserve(hashingFor(caller, "", known))
		return overloaded(err)
	}
	if len(caller.Devices) == 0 {
		if err := reserve(false); err != nil {
			return u, a, nil, err
		}
	}
	defer func() {
		if err != nil && place != nil {
			place.Release()
		}
	}()
	leave, err := s.enterAttempts(ctx)
	if err != nil {
		return u, a, place, err
	}
	defer leave()
	u, account, err := s.userByLogin(ctx, s.db, in.EmailOrName)
	if err != nil {
		return u, a, place, err
	}
	if place == nil {
		m := s.knownDevice(now, account, caller.Devices)
		if err := reserve(m.known); err != nil {
			return u, a, nil, err
		}
	}
	a, err = s.attempt(ctx, now, caller, account, u.ID != "")
	return u, a, place, err
}

func (s *Service) enterAttempts(ctx context.Context) (leave func(), err error) {
	leave = func() { <-s.entrance }
	select {
	case s.entrance <- struct{}{}:
		return leave, nil
	default:
	}
	wait, cancel := context.WithTimeout(ctx, entranceWait)
	defer cancel()
	select {
	case s.entrance <- struct{}{}:
		return leave, nil
	case <-wait.Done():
		return nil, &Error{Kind: Overloaded, Fault: Fault{Code: CodeOverloaded}, RetryAfter: busyRetry}
	}
}

// RefusalPace is how long somebody waits to be told that there are too many: it
// slows down whoever asks again at once.
const RefusalPace = 30 * time.Millisecond

func (s *Service) clock() time.Duration {
	if s.elapsed == nil {
		return 0
	}
	return s.elapsed()
}

// holdBack keeps the refusal of a password until a moment that does not depend on
// how long looking at it took: hashes of other parameters, a longer path through
// the database and the state of caches would tell accounts apart. It is a
// multiple of step: three times the usual time of a hash, which lies in the
// middle between two of them.
func (s *Service) holdBack(ctx context.Context, begun, step time.Duration, err error) {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return
	}
	switch {
	case refusal.Fault.Code == CodeInvalidCredentials:
		s.holdToMultiple(ctx, begun, step)
	case refusal.Kind == Overloaded, refusal.Kind == Throttled:
		s.hold(ctx, RefusalPace-(s.clock()-begun))
	}
}

// holdToMultiple waits until as much time has gone by as the next multiple of step.
func (s *Service) holdToMultiple(ctx context.Context, begun, step time.Duration) {
	took := s.clock() - begun
	s.hold(ctx, (took/step+1)*step-took)
}

func (s *Service) hold(ctx context.Context, wait time.Duration) {
	if s.elapsed == nil || wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// advance decides what comes after a proof: the only place that does, whatever
// the way in: a session, or a challenge where a second factor is outstanding.
func (s *Service) advance(ctx context.Context, caller Caller, p proof, remember bool) (t Token, err error) {
	if err := s.metOthers(ctx); err != nil {
		return Token{}, err
	}
	now := s.now()
	i, generation := issued{}, s.live.now()
	var held *Error
	err = s.tx(ctx, func(tx *db.Tx) error {
		u, methods, err := s.use(ctx, tx, now, p)
		if err != nil {
			return err
		}
		caller.UserID = p.userID
		if held, err = s.holds(ctx, tx, now, u, methods, p, remember); err != nil {
			return err
		}
		if held != nil { // the proof was right, and stays used
			return record(ctx, tx, now, caller, loginHeld, event.Failure, p.userID, map[string]string{"code": outcome(held)})
		}
		if i, err = s.issue(ctx, tx, now, caller, u, methods, remember); err != nil {
			return err
		}
		if err := s.noticeSignIn(ctx, tx, now, caller, u, methods, p); err != nil {
			return err
		}
		return recordLogin(ctx, tx, now, caller, i, methods)
	})
	if errors.Is(err, errTokenInvalid) { // the password or the account changed under our hands
		err = refuse(Unauthenticated, CodeInvalidCredentials)
	}
	if err == nil && held != nil {
		err = held
	}
	if err != nil {
		return Token{}, err
	}
	i.generation = generation
	s.keep(&i)
	m := p.attempt.mark
	if !m.known {
		m.device = secret.NewUUID()
	}
	if p.trust && s.policy.TrustDevices > 0 {
		m.trusted = now
	}
	i.token.Device = s.newDevice(now, p.userID, m)
	return i.token, nil
}

// holds tells what keeps a proof from being a session: nil, or the refusal.
func (s *Service) holds(ctx context.Context, tx *db.Tx, now time.Time, u userRow, by Methods, p proof, remember bool) (*Error, error) {
	if s.policy.RequireVerified && u.emailVerifiedAt.IsZero() && u.contactVerifiedAt.IsZero() {
		return refuse(Forbidden, CodeVerificationRequired), nil
	}
	return s.next(ctx, tx, now, u, by, p, remember)
}

// noticeSignIn tells the owner of a sign-in from a device that the account does
// not know; not of the first one, nor of one that came by his mail, and not of
// every one where clients keep no mark.
func (s *Service) noticeSignIn(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, by Methods, p proof) error {
	if !s.policy.NoticeSignIns || p.attempt.known || p.first || by&ByMail != 0 || u.emailVerifiedAt.IsZero() {
		return nil
	}
	taken, err := s.newBudget(bucket, scopeNotices, u.ID, noticesAtATime, noticesRefill).take(ctx, tx, now, 0)
	if err != nil || !taken {
		return err
	}
	return s.tell(ctx, tx, now, u, outbox.NewSignIn, originOf(caller, now), nil)
}

// refuseLogin records the failure, of a known account or of none, and gives the
// one answer for both.
func (s *Service) refuseLogin(ctx context.Context, now time.Time, caller Caller, userID string) error {
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		return record(ctx, tx, now, caller, loginFailed, event.Failure, userID, nil)
	})
	if err != nil {
		return err
	}
	return refuse(Unauthenticated, CodeInvalidCredentials)
}

// userByLogin finds the user by e-mail address or name: the one with an @ is an
// address, for no name holds one. account names the budget of attempts. Where
// there is no such user, u is empty and account is the canonical form of what
// was typed.
func (s *Service) userByLogin(ctx context.Context, q db.Querier, typed string) (u userRow, account string, err error) {
	query, key := selectUserByUsername, loginKey(typed)
	if strings.Contains(typed, "@") {
		query = selectUserByEmail
	}
	account = canonicalName(typed)
	u, err = queryUser(ctx, q, query, key)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return userRow{}, account, nil
	case err != nil:
		return userRow{}, "", err
	}
	return u, u.ID, nil
}

// loginKey is the key of what was typed, "" where nobody can be called that.
func loginKey(typed string) string {
	if strings.Contains(typed, "@") {
		if e, fault := parseEmail(typed); fault == nil {
			return e.key
		}
	} else if n, fault := parseUsername(typed); fault == nil {
		return n.key
	}
	return ""
}

// canonicalName is the same for all spellings of a name. What nobody can be called
// has one for all that looks alike.
func canonicalName(typed string) string {
	if key := loginKey(typed); key != "" {
		return "name " + key
	}
	return "other " + fold(strings.TrimSpace(typed[:min(len(typed), maxInputBytes)]))
}

// rehash replaces a hash whose parameters are no longer ours, now that the
// password is at hand. Sessions live on: it is the same password.
func (s *Service) rehash(ctx context.Context, caller Caller, u userRow, password secret.Text) (string, error) {
	phc, err := s.hash(ctx, hashingFor(caller, u.ID, true), password)
	if err != nil {
		return "", err
	}
	now := s.now()
	owner := caller
	owner.Kind, owner.UserID = User, u.ID // it was his password
	replaced := false
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, replaceHash, phc, u.ID, u.passwordHash)
		if replaced = n == 1; err != nil || !replaced {
			return err
		}
		return record(ctx, tx, now, owner, rehash, event.Success, u.ID, nil)
	})
	if err != nil || replaced {
		return phc, err
	}
	return s.rehashed(ctx, caller, u, password)
}

// rehashed is for a login whose twin was faster: the stored hash is another one
// now, and the password counts if it is that of the new hash as well.
func (s *Service) rehashed(ctx context.Context, caller Caller, u userRow, password secret.Text) (string, error) {
	now, err := userByID(ctx, s.db, u.ID)
	if err != nil {
		return "", notFoundIs(err, refuse(Unauthenticated, CodeInvalidCredentials))
	}
	ok, _, err := s.verify(ctx, hashingFor(caller, u.ID, true), password, now.passwordHash)
	if err == nil && !ok {
		err = refuse(Unauthenticated, CodeInvalidCredentials)
	}
	return now.passwordHash, err
}
