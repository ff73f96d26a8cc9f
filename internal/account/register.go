package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// Registration is what somebody gives to have an account.
type Registration struct {
	UserType      string // "": the default
	Username      string
	Password      secret.Text
	Email         string
	ContactNumber string // "": none
	// IdempotencyKey makes repeated requests have one effect; "" for none.
	IdempotencyKey string
}

// profile is what identifies a user, in the form in which it is stored.
type profile struct {
	email    email
	username username
	phone    string
	userType string
}

// words are what a password must not be made of. A field that was found at fault
// has none: it may be of any length, and nothing will be stored.
func (p profile) words() ownWords { return ownWordsOf(p.email.address, p.username.name, p.phone) }

func (s *Service) checkProfile(broken faults, userType, name, address, phone string) profile {
	var p profile
	var fault *Fault
	p.email, fault = parseEmail(address)
	broken.add("email", fault)
	p.username, fault = parseUsername(name)
	broken.add("username", fault)
	if phone != "" {
		p.phone, fault = parsePhone(phone, s.policy.PhoneRegion)
		broken.add("contact_number", fault)
	}
	if p.userType = userType; userType == "" {
		p.userType = s.policy.UserTypes[0]
	} else if !slices.Contains(s.policy.UserTypes, userType) {
		broken.add("user_type", &Fault{Code: CodeUserTypeUnknown})
	}
	return p
}

// Register makes an account for whoever asks and gives its id. replayed tells
// that the same request had been answered before.
func (s *Service) Register(ctx context.Context, caller Caller, in Registration) (userID string, replayed bool, err error) {
	userID, replayed, err = s.register(ctx, caller, in)
	s.metrics.registrations.WithLabelValues(outcome(err)).Inc()
	return userID, replayed, err
}

func (s *Service) register(ctx context.Context, caller Caller, in Registration) (string, bool, error) {
	switch s.policy.Registration {
	case RegistrationOpen:
	case RegistrationVerifyFirst:
		replayed, err := s.registerLater(ctx, caller, in)
		return "", replayed, err
	case RegistrationClosed:
		return "", false, refuse(Forbidden, CodeRegistrationClosed)
	}
	once := s.newOnce("register", in.IdempotencyKey, in.UserType, in.Username, in.Password.Reveal(), in.Email, in.ContactNumber)
	now := s.now()
	if id, done, err := once.earlier(ctx, s.db, now); err != nil || done {
		return id, done, err
	}
	u, err := s.newUser(ctx, now, caller, in, false)
	if err != nil {
		return s.raced(ctx, once, now, err)
	}
	if u.ID, err = s.firstID(ctx, u.ID); err != nil {
		return "", false, err
	}
	caller.UserID = u.ID // who registers is the user that comes of it
	var replayed bool
	err = s.tx(ctx, func(tx *db.Tx) error {
		earlier, done, err := once.claim(ctx, tx, now, u.ID)
		if err != nil {
			return err
		}
		if replayed = done; done {
			u.ID = earlier
			return nil
		}
		if err := s.insert(ctx, tx, u); err != nil {
			return err
		}
		if err := record(ctx, tx, now, caller, register, event.Success, u.ID, nil); err != nil {
			return err
		}
		return s.welcome(ctx, tx, now, caller, u)
	})
	return u.ID, replayed, err
}

// raced: the twin of this very request may have taken the names in the
// meantime; then its answer is ours too.
func (s *Service) raced(ctx context.Context, once *once, now time.Time, cause error) (string, bool, error) {
	var e *Error
	if errors.As(cause, &e) && e.Kind == Conflict {
		if id, done, err := once.earlier(ctx, s.db, now); err != nil || done {
			return id, done, err
		}
	}
	return "", false, cause
}

// welcome asks a newcomer to confirm his address, where mail can be sent.
func (s *Service) welcome(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow) error {
	if !s.policy.Mail {
		return nil
	}
	_, err := s.verificationMail(ctx, tx, now, u, request{Language: caller.Language, Origin: originOf(caller, now)})
	return err
}

// newUser checks everything that can be checked, and hashes the password. Whether
// another has the address is not told where hideEmail says so.
func (s *Service) newUser(ctx context.Context, now time.Time, caller Caller, in Registration, hideEmail bool) (userRow, error) {
	broken := faults{}
	p := s.checkProfile(broken, in.UserType, in.Username, in.Email, in.ContactNumber)
	broken.add("password", s.checkPassword(in.Password, p.words()))
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return userRow{}, err
	}
	who := hashingFor(caller, p.email.key, false)
	place, err := s.hasher.Reserve(who)
	if err != nil {
		return userRow{}, overloaded(err)
	}
	defer place.Release()
	who.Place = place
	// Also before it tells which names are taken.
	spent, err := s.takeRegistration(ctx, now, caller)
	if err != nil {
		return userRow{}, err
	}
	open := p
	if hideEmail {
		open.email = email{}
	}
	if err := checkFree(ctx, s.db, "", open); err != nil { // before the expensive part, and every taken name at once
		return userRow{}, err
	}
	phc, err := s.hash(ctx, who, in.Password)
	if err != nil {
		s.unused(ctx, spent, err)
		return userRow{}, err
	}
	u := userRow{passwordHash: phc, passwordChangedAt: now, version: 1}
	u.ID, u.Role, u.CreatedAt, u.UpdatedAt, u.language = secret.NewID(), RoleNotVerified, now, now, caller.Language
	u.set(p)
	return u, nil
}

// checkFree refuses names that somebody else has; every one of them at once.
// The unique indices decide in the end: see insert.
func checkFree(ctx context.Context, q db.Querier, exceptID string, p profile) error {
	taken := faults{}
	err := q.Query(ctx, selectHolders, []any{p.email.key, p.username.key, exceptID}, func(scan func(...any) error) error {
		var emailKey, usernameKey string
		if err := scan(&emailKey, &usernameKey); err != nil {
			return err
		}
		if emailKey == p.email.key {
			taken.add("email", &Fault{Code: CodeEmailTaken})
		}
		if usernameKey == p.username.key {
			taken.add("username", &Fault{Code: CodeUsernameTaken})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return taken.conflict()
}

// conflict names the taken field where it is the only one.
func (f faults) conflict() error {
	if len(f) == 1 {
		for _, fault := range f {
			return f.err(Conflict, fault.Code)
		}
	}
	return f.err(Conflict, CodeAlreadyTaken)
}

// takenBy turns a broken unique index into the field that it guards.
func takenBy(err error) error {
	var c *db.ConflictError
	if !errors.As(err, &c) {
		return err
	}
	taken := faults{}
	switch c.Index {
	case "users_email_key":
		taken.add("email", &Fault{Code: CodeEmailTaken})
	case "users_username_key":
		taken.add("username", &Fault{Code: CodeUsernameTaken})
	case "users_contact_number":
		taken.add("contact_number", &Fault{Code: CodeContactNumberTaken})
	default:
		return err
	}
	return taken.conflict()
}

// firstID is the id of a new user: the agreed one for the first of a throwaway
// instance.
func (s *Service) firstID(ctx context.Context, id string) (string, error) {
	if s.policy.FirstUserID == "" {
		return id, nil
	}
	var n int
	err := s.db.QueryRow(ctx, countUserID, []any{s.policy.FirstUserID}, &n)
	if err == nil && n == 0 {
		id = s.policy.FirstUserID
	}
	return id, err
}

// registration is a user that is to be, as it waits for its mail to be answered.
type registration struct {
	ID           string `json:"id"`
	Email        string `json:"email"`
	Username     string `json:"username"`
	Phone        string `json:"phone,omitzero"`
	UserType     string `json:"user_type"`
	PasswordHash string `json:"password_hash"`
	Language     string `json:"language,omitzero"`
}

// registerLater puts a registration down and has a mail sent. The answer and what
// it takes do not depend on whether somebody has the address: if so, he is told.
// A name that is taken is refused, for it has to be chosen. The same request with
// the same Idempotency-Key is put down once.
func (s *Service) registerLater(ctx context.Context, caller Caller, in Registration) (replayed bool, err error) {
	once := s.newOnce("register", in.IdempotencyKey, in.UserType, in.Username, in.Password.Reveal(), in.Email, in.ContactNumber)
	now := s.now()
	if _, done, err := once.earlier(ctx, s.db, now); err != nil || done {
		return done, err
	}
	u, err := s.newUser(ctx, now, caller, in, true)
	if err != nil {
		_, replayed, err = s.raced(ctx, once, now, err)
		return replayed, err
	}
	return s.ask(ctx, now, caller, once, request{Purpose: forRegister, Named: u.Email, Newcomer: &registration{
		ID: u.ID, Email: u.Email, Username: u.Username, Phone: u.ContactNumber, UserType: u.UserType, PasswordHash: u.passwordHash, Language: u.language,
	}})
}

func (s *Service) serveRegistration(ctx context.Context, tx *db.Tx, now time.Time, r request) error {
	n := r.Newcomer
	if n == nil {
		return nil
	}
	u, _, err := s.userByLogin(ctx, tx, n.Email)
	if err != nil {
		return err
	}
	if ok, err := s.mayWrite(ctx, tx, now, u, n.Email, r); err != nil || !ok {
		return err
	}
	if u.ID != "" {
		return s.send(ctx, tx, now, outbox.Message{
			Channel: outbox.Mail, Kind: outbox.AccountExists, SubjectID: u.ID, To: u.Email, Lang: s.languageOf(u, r.Language),
			Data: s.data(u, r.Origin), Lifetime: sentWithin,
		})
	}
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("keep registration: %w", err)
	}
	u = userRow{language: n.Language}
	u.ID, u.Username = n.ID, n.Username
	return s.sendLink(ctx, tx, now, u, singleUse{purpose: forRegister, holder: n.ID, address: n.Email, data: data}, pageRegister, outbox.Register, r)
}

// registrationHolder is for whom the code of a registration is looked up.
func registrationHolder(address string) string { return canonicalName(address) }

// ConfirmRegistration makes the account that a registration has asked for, once
// its mail was answered: by the link, or by the code and the address. It gives the
// user's id, and no session.
func (s *Service) ConfirmRegistration(ctx context.Context, caller Caller, in Answer) (string, error) {
	id, err := s.confirmRegistration(ctx, caller, in)
	s.metrics.registrations.WithLabelValues(outcome(err)).Inc()
	s.metrics.broughtBack(forRegister, err)
	return id, err
}

func (s *Service) confirmRegistration(ctx context.Context, caller Caller, in Answer) (string, error) {
	if s.policy.Registration == RegistrationClosed { // since it was asked for
		return "", refuse(Forbidden, CodeRegistrationClosed)
	}
	broken := faults{}
	in.check(broken, true)
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return "", err
	}
	now := s.now()
	a, holder := attempt{}, registrationHolder(in.EmailOrName)
	if !in.byLink() {
		var err error
		if a, err = s.takeTryFor(ctx, now, caller, holder, forRegister, false); err != nil {
			return "", err
		}
	}
	var u userRow
	err := s.tx(ctx, func(tx *db.Tx) error {
		var used usedToken
		var err error
		if in.byLink() {
			used, err = s.consumeLink(ctx, tx, now, in.Token, nil, forRegister, forRegister)
		} else {
			used, err = s.consumeCode(ctx, tx, now, holder, in.Code, forRegister)
		}
		if err != nil {
			return err
		}
		if a.closed {
			return errTokenSpent
		}
		if u, err = s.newcomer(now, used.data); err != nil {
			return err
		}
		if err := s.insert(ctx, tx, u); err != nil {
			return err
		}
		caller.UserID = u.ID
		if err := record(ctx, tx, now, caller, register, event.Success, u.ID, nil); err != nil {
			return err
		}
		return s.giveBack(ctx, tx, now, a.clears)
	})
	if errors.Is(err, errTokenSpent) && !in.byLink() {
		c := claim{s: s, caller: caller, purposes: [2]purpose{forRegister, forRegister}}
		err = c.refuse(ctx, now, "")
	}
	return u.ID, err
}

// newcomer is the user that a registration has asked for, with a proven address.
func (s *Service) newcomer(now time.Time, data []byte) (userRow, error) {
	var n registration
	if err := json.Unmarshal(data, &n); err != nil {
		return userRow{}, fmt.Errorf("read registration: %w", err)
	}
	broken := faults{}
	p := s.checkProfile(broken, n.UserType, n.Username, n.Email, n.Phone)
	if len(broken) > 0 { // it was asked for under other rules
		return userRow{}, errTokenSpent
	}
	u := userRow{passwordHash: n.PasswordHash, passwordChangedAt: now, emailVerifiedAt: now, language: n.Language, version: 1}
	u.ID, u.Role, u.CreatedAt, u.UpdatedAt = n.ID, RoleVerified, now, now
	u.set(p)
	return u, nil
}
