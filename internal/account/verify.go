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

// SendVerification sends a link and a code (by SMS: a code) to the caller's own
// address or number, to prove that it is his. Where a change of the address waits,
// they go to the new one. Without a token, emailOrName says whose address is to be
// proven; the answer tells nothing of whether there is such a user.
func (s *Service) SendVerification(ctx context.Context, caller Caller, contact Contact, emailOrName string) error {
	now := s.now()
	if caller.Kind != User {
		if contact != Email {
			return refuse(Unauthenticated, CodeTokenRequired)
		}
		if err := required("email_or_name", emailOrName); err != nil {
			return err
		}
		_, err := s.ask(ctx, now, caller, nil, request{Purpose: forVerifyEmail, Named: emailOrName})
		return err
	}
	return s.tx(ctx, func(tx *db.Tx) error {
		u, err := s.lockSelf(ctx, tx, caller)
		if err != nil {
			return err
		}
		if err := s.authorize(ctx, tx, now, caller, sendCode, u.ID, map[string]string{"contact": string(contact)}); err != nil {
			return err
		}
		r := request{Language: caller.Language, Origin: originOf(caller, now)}
		for _, m := range caller.Devices {
			r.Marks = append(r.Marks, m.Reveal())
		}
		if contact == Phone {
			return s.sendPhoneCode(ctx, tx, now, u, r)
		}
		sent, err := s.verificationMail(ctx, tx, now, u, r)
		if err == nil && !sent {
			err = s.tooManyMessages()
		}
		return err
	})
}

// sendVerification is what a stranger asked for.
func (s *Service) sendVerification(ctx context.Context, tx *db.Tx, now time.Time, u userRow, r request) error {
	if !u.emailVerifiedAt.IsZero() {
		return nil
	}
	sent, err := s.verificationMail(ctx, tx, now, u, r)
	if err == nil && sent {
		err = r.record(ctx, tx, now, sendCode, u.ID)
	}
	return err
}

// verificationMail sends a link to the address that is to be proven: the one that
// waits to replace the present one, or that one. It tells whether there was one
// left for the address.
func (s *Service) verificationMail(ctx context.Context, tx *db.Tx, now time.Time, u userRow, r request) (bool, error) {
	t, kind := singleUse{purpose: forVerifyEmail, holder: u.ID, address: u.Email}, outbox.VerifyEmail
	if !u.emailVerifiedAt.IsZero() {
		err := tx.QueryRow(ctx, selectEmailChange, []any{u.ID, db.Micros(now)}, &t.address)
		if errors.Is(err, db.ErrNotFound) {
			return true, refuse(Conflict, CodeAlreadyVerified)
		}
		if err != nil {
			return false, err
		}
		t.purpose, kind = forChangeEmail, outbox.EmailChangeConfirm
	}
	r.Purpose = t.purpose
	ok, err := s.mayWrite(ctx, tx, now, u, t.address, r)
	if err != nil || !ok {
		return ok, err
	}
	return true, s.sendLink(ctx, tx, now, u, t, pageVerify, kind, r)
}

// sendLink makes a token and queues the mail that brings it.
func (s *Service) sendLink(ctx context.Context, tx *db.Tx, now time.Time, u userRow, t singleUse, p page, kind outbox.Kind, r request) error {
	m, err := s.makeToken(ctx, tx, now, t)
	if err != nil {
		return err
	}
	lang := s.languageOf(u, r.Language)
	data := merge(s.data(u, r.Origin), lifetimes(t.purpose))
	if data["link"] = s.link(p, m.secret, lang); data["link"] == "" {
		delete(data, "link")
	}
	if m.code.Reveal() != "" {
		data["code"] = m.code.Reveal()
	}
	return s.send(ctx, tx, now, outbox.Message{
		Channel: outbox.Mail, Kind: kind, SubjectID: u.ID, Cause: s.causeOf(now, u, t.address, r), To: t.address, Lang: lang, Data: data,
		Ref: m.id, Lifetime: tokenKinds[t.purpose].worthSending(),
	})
}

// lifetimes is what a message says of how long a link and a code live.
func lifetimes(p purpose) map[string]string {
	k := tokenKinds[p]
	d := map[string]string{}
	if k.codeLifetime > 0 {
		d["minutes"] = itoa(k.codeLifetime / time.Minute)
	}
	if k.lifetime >= time.Hour {
		d["hours"] = itoa(k.lifetime / time.Hour)
	}
	return d
}

func (s *Service) sendPhoneCode(ctx context.Context, tx *db.Tx, now time.Time, u userRow, r request) error {
	switch {
	case u.ContactNumber == "":
		return refuse(Conflict, CodeNoContactNumber)
	case !u.contactVerifiedAt.IsZero():
		return refuse(Conflict, CodeAlreadyVerified)
	}
	r.Purpose = forVerifyPhone
	if err := s.writeOrRefuse(ctx, tx, now, u, u.ContactNumber, r); err != nil {
		return err
	}
	return s.sendSMS(ctx, tx, now, u, singleUse{purpose: forVerifyPhone, holder: u.ID, address: u.ContactNumber}, outbox.VerifyPhone, r)
}

func (s *Service) sendSMS(ctx context.Context, tx *db.Tx, now time.Time, u userRow, t singleUse, kind outbox.Kind, r request) error {
	m, err := s.makeToken(ctx, tx, now, t)
	if err != nil {
		return err
	}
	data := merge(s.data(u, r.Origin), lifetimes(t.purpose))
	data["code"] = m.code.Reveal()
	return s.send(ctx, tx, now, outbox.Message{
		Channel: outbox.SMS, Kind: kind, SubjectID: u.ID, Cause: s.causeOf(now, u, t.address, r), To: t.address, Lang: s.languageOf(u, r.Language), Data: data,
		Ref: m.id, Lifetime: tokenKinds[t.purpose].worthSending(),
	})
}

// Verified is what an answer has proven.
type Verified struct {
	UserID  string
	Email   string // that is proven now, and the user's
	Changed bool   // it has taken the place of another
}

// VerifyEmail takes the answer to a mail. A link proves the address whoever opens
// it; that says nothing about who he is, and gives no session. A code counts for
// the caller's own account, or for the one that is named.
func (s *Service) VerifyEmail(ctx context.Context, caller Caller, in Answer) (Verified, error) {
	v, err := s.verifyEmail(ctx, caller, in)
	p := forVerifyEmail
	if v.Changed {
		p = forChangeEmail
	}
	s.metrics.broughtBack(p, err)
	return v, err
}

func (s *Service) verifyEmail(ctx context.Context, caller Caller, in Answer) (Verified, error) {
	broken := faults{}
	in.check(broken, caller.Kind != User)
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return Verified{}, err
	}
	now := s.now()
	c := claim{s: s, caller: caller, in: in, purposes: [2]purpose{forVerifyEmail, forChangeEmail}}
	if err := c.find(ctx, now); err != nil {
		return Verified{}, err
	}
	out := Verified{UserID: c.holder}
	err := s.revoke(ctx, c.holder, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			u, used, err := c.use(ctx, tx, now)
			if err != nil {
				return err
			}
			caller := caller
			if caller.Kind != User {
				caller.UserID = u.ID // whoever has the mailbox
			}
			out.Email, out.Changed = used.address, used.purpose == forChangeEmail
			if out.Changed {
				err = s.takeNewEmail(ctx, tx, now, caller, u, used.address)
			} else {
				err = s.proveEmail(ctx, tx, now, caller, u, used.address)
			}
			if err != nil {
				return err
			}
			_, err = announce(ctx, tx, now, u.ID) // the role may be another
			return err
		})
	})
	return out, err
}

// proveEmail marks the present address as proven, if it still is the one that the
// token was sent to.
func (s *Service) proveEmail(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, address string) error {
	if u.Email != address || !u.emailVerifiedAt.IsZero() {
		return errTokenSpent
	}
	if _, err := tx.Exec(ctx, verifyEmail, db.Micros(now), u.ID); err != nil {
		return err
	}
	return record(ctx, tx, now, caller, verifiedEmail, event.Success, u.ID, nil)
}

// takeNewEmail gives the user the address that was asked for, now that it is
// proven, and tells the old one how to undo that.
func (s *Service) takeNewEmail(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, address string) error {
	var waiting string
	err := tx.QueryRow(ctx, selectEmailChange, []any{u.ID, db.Micros(now)}, &waiting)
	if errors.Is(err, db.ErrNotFound) || err == nil && waiting != address {
		return errTokenSpent
	}
	if err != nil {
		return err
	}
	if err := s.setEmail(ctx, tx, now, u.ID, address); err != nil {
		return err
	}
	// What was sent to the old address is worth nothing any more.
	for _, p := range []purpose{forRecovery, forLogin, forVerifyEmail, forSecondFactor} {
		if _, err := tx.Exec(ctx, deleteTokensFor, u.ID, string(p)); err != nil {
			return err
		}
	}
	// Nor is what began with it: a session, or a login that waits for a second factor.
	if _, err := tx.Exec(ctx, deleteWeakSessionsBy, u.ID, int64(ByMail), caller.SessionID); err != nil {
		return err
	}
	if err := record(ctx, tx, now, caller, changedEmail, event.Success, u.ID, nil); err != nil {
		return err
	}
	r := request{Language: caller.Language, Origin: originOf(caller, now), cause: outbox.Undo}
	return s.sendLink(ctx, tx, now, u, singleUse{purpose: forUndoEmail, holder: u.ID, address: u.Email, keeps: u.emailKey}, pageUndo, outbox.EmailChanged, r)
}

func (s *Service) setEmail(ctx context.Context, tx *db.Tx, now time.Time, userID, address string) error {
	e, fault := parseEmail(address)
	if fault != nil {
		return errTokenSpent // it was sent under other rules
	}
	if _, err := tx.Exec(ctx, changeEmail, db.Micros(now), userID, e.address, e.key); err != nil {
		return takenBy(err)
	}
	_, err := tx.Exec(ctx, deleteEmailChange, userID)
	return err
}

// VerifyPhone takes the code that was sent to the caller's own number.
func (s *Service) VerifyPhone(ctx context.Context, caller Caller, code secret.Text) error {
	err := s.verifyPhone(ctx, caller, code)
	s.metrics.broughtBack(forVerifyPhone, err)
	return err
}

func (s *Service) verifyPhone(ctx context.Context, caller Caller, code secret.Text) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	broken := faults{}
	if !isCode(code) {
		broken.add("code", &Fault{Code: CodeCodeInvalid})
	}
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return err
	}
	now := s.now()
	c := claim{s: s, caller: caller, in: Answer{Code: code}, purposes: [2]purpose{forVerifyPhone, forVerifyPhone}}
	if err := c.find(ctx, now); err != nil {
		return err
	}
	return s.revoke(ctx, c.holder, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			u, used, err := c.use(ctx, tx, now)
			if err != nil {
				return err
			}
			if u.ContactNumber != used.address {
				return errTokenSpent
			}
			// Before the role changes, which a session must agree with.
			if err := s.authorize(ctx, tx, now, caller, verifiedPhone, u.ID, nil); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, verifyPhone, db.Micros(now), u.ID); err != nil {
				return takenBy(err)
			}
			_, err = announce(ctx, tx, now, u.ID)
			return err
		})
	})
}

// lockUser reads a user whom no other transaction changes from here on.
func (s *Service) lockUser(ctx context.Context, tx *db.Tx, id string) (userRow, error) {
	u, err := queryUser(ctx, tx, lockUser, id)
	if err == nil && !u.disabledAt.IsZero() {
		err = errTokenSpent
	}
	return u, notFoundIs(err, refuse(Unauthenticated, CodeLinkInvalid))
}

// lockSelf reads the owner of a session so. Where he is no more, or was disabled a
// moment ago, his token is worth nothing.
func (s *Service) lockSelf(ctx context.Context, tx *db.Tx, caller Caller) (userRow, error) {
	u, err := s.lockUser(ctx, tx, caller.UserID)
	if errors.Is(err, errTokenSpent) {
		err = errTokenInvalid
	}
	return u, err
}

// claim is an answer on its way: it is looked at first, to find out whose account
// it is for, and used up in the transaction of what it is for.
type claim struct {
	s        *Service
	caller   Caller
	in       Answer
	browser  *secret.Hash
	purposes [2]purpose // one of them; the same twice where there is one

	holder  string
	attempt attempt
}

// find looks at the answer. Of a code it takes a try first.
func (c *claim) find(ctx context.Context, now time.Time) error {
	if c.in.byLink() {
		t, err := c.s.lookAtLink(ctx, c.s.db, now, c.in.Token, c.browser, c.purposes[0], c.purposes[1])
		c.holder = t.holder
		return err
	}
	holder, account := c.caller.UserID, c.caller.UserID
	if c.caller.Kind != User || c.in.EmailOrName != "" {
		u, name, err := c.s.userByLogin(ctx, c.s.db, c.in.EmailOrName)
		if err != nil {
			return err
		}
		holder, account = u.ID, name
	}
	var err error
	if c.attempt, err = c.s.takeTryFor(ctx, now, c.caller, account, c.purposes[0], holder != ""); err != nil {
		return err
	}
	for _, p := range c.purposes {
		_, err = c.s.lookAtCode(ctx, c.s.db, now, holder, c.in.Code, p)
		if err == nil || !errors.Is(err, errTokenSpent) {
			break
		}
	}
	if err == nil && (c.attempt.closed || holder == "") {
		err = errTokenSpent
	}
	if errors.Is(err, errTokenSpent) {
		err = c.refuse(ctx, now, holder)
	}
	c.holder = holder
	return err
}

// refuse records a wrong code, of a known account or of none.
func (c *claim) refuse(ctx context.Context, now time.Time, userID string) error {
	err := c.s.db.Tx(ctx, func(tx *db.Tx) error {
		return record(ctx, tx, now, c.caller, codeFailed, event.Failure, userID, map[string]string{"purpose": string(c.purposes[0])})
	})
	if err != nil {
		return err
	}
	return refuse(Unauthenticated, CodeWrongCode)
}

// use locks the user and uses the token up.
func (c *claim) use(ctx context.Context, tx *db.Tx, now time.Time) (userRow, usedToken, error) {
	u, err := c.s.lockUser(ctx, tx, c.holder)
	if err != nil {
		return u, usedToken{}, err
	}
	t, err := c.consume(ctx, tx, now)
	if err != nil {
		return u, t, err
	}
	return u, t, c.s.giveBack(ctx, tx, now, c.attempt.clears)
}

func (c *claim) consume(ctx context.Context, tx *db.Tx, now time.Time) (t usedToken, err error) {
	if c.in.byLink() {
		return c.s.consumeLink(ctx, tx, now, c.in.Token, c.browser, c.purposes[0], c.purposes[1])
	}
	for _, p := range c.purposes {
		t, err = c.s.consumeCode(ctx, tx, now, c.holder, c.in.Code, p)
		if err == nil || !errors.Is(err, errTokenSpent) {
			break
		}
	}
	return t, err
}

// useToLogIn uses up a code or link of a login, for the user whom the transaction
// has locked. It tells by which way it came.
func (c *claim) useToLogIn(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (Methods, error) {
	t, err := c.consume(ctx, tx, now)
	switch {
	case err != nil:
		return 0, err
	case t.address == u.Email && !u.emailVerifiedAt.IsZero():
		return ByMail, nil
	case t.address == u.ContactNumber && !u.contactVerifiedAt.IsZero():
		return BySMS, nil
	}
	return 0, errTokenSpent // it was sent to an address that is the user's no more
}

// required refuses a field that was left empty.
func required(field, value string) error {
	broken := faults{}
	if strings.Trim(value, " ") == "" {
		broken.add(field, &Fault{Code: CodeRequired})
	}
	return broken.err(Invalid, CodeInvalidFields)
}
