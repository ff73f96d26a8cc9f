package account

import (
	"context"
	"errors"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// AskLoginCode has a code sent to log in with: by mail, with a link beside it, or
// by SMS to a number that is proven. What it gives back belongs to the browser
// that asked: the link logs in no other. The answer and what it takes to give it
// do not depend on whether there is such an account.
func (s *Service) AskLoginCode(ctx context.Context, caller Caller, emailOrName string, via Contact) (browser secret.Text, lifetime time.Duration, err error) {
	broken := faults{}
	if err := required("email_or_name", emailOrName); err != nil {
		return browser, 0, err
	}
	if via != Email && via != Phone {
		broken.add("via", &Fault{Code: CodeContactUnknown})
	}
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return browser, 0, err
	}
	browser = secret.NewToken()
	hash := secret.HashOf(browser.Reveal())
	_, err = s.ask(ctx, s.now(), caller, nil, request{Purpose: forLogin, Named: emailOrName, Via: via, Browser: hash[:]})
	return browser, sentWithin + loginLifetime, err
}

// sendLoginCode: whoever has an address that nobody has proven is not its user
// yet. He is sent what makes him that.
func (s *Service) sendLoginCode(ctx context.Context, tx *db.Tx, now time.Time, u userRow, r request) error {
	if r.Via == Phone {
		if u.contactVerifiedAt.IsZero() {
			return nil
		}
	} else if u.emailVerifiedAt.IsZero() {
		r.Purpose = forRecovery
		return s.sendRecovery(ctx, tx, now, u, r)
	}
	t := singleUse{purpose: forLogin, holder: u.ID, address: u.Email}
	if len(r.Browser) == len(secret.Hash{}) {
		browser := secret.Hash(r.Browser)
		t.browser = &browser
	}
	if r.Via == Phone {
		t.address = u.ContactNumber
	}
	ok, err := s.mayWrite(ctx, tx, now, u, t.address, r)
	if err != nil || !ok {
		return err
	}
	if err := r.record(ctx, tx, now, askedCode, u.ID); err != nil {
		return err
	}
	if r.Via == Phone {
		return s.sendSMS(ctx, tx, now, u, t, outbox.LoginCode, r)
	}
	return s.sendLink(ctx, tx, now, u, t, pageLogin, outbox.LoginCode, r)
}

// CodeLogin is what somebody gives to get a token without a password.
type CodeLogin struct {
	Answer
	Browser    secret.Text // what [Service.AskLoginCode] gave; a link needs it
	RememberMe bool
}

// LoginWithCode gives a token for a code, or for a link in the browser that asked
// for it.
func (s *Service) LoginWithCode(ctx context.Context, caller Caller, in CodeLogin) (Token, error) {
	t, err := s.loginWithCode(ctx, caller, in)
	s.metrics.logins.WithLabelValues(outcome(err)).Inc()
	s.metrics.broughtBack(forLogin, err)
	return t, err
}

func (s *Service) loginWithCode(ctx context.Context, caller Caller, in CodeLogin) (Token, error) {
	broken := faults{}
	in.check(broken, true)
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return Token{}, err
	}
	caller.Kind, caller.UserID = Anonymous, ""
	c := claim{s: s, caller: caller, in: in.Answer, purposes: [2]purpose{forLogin, forLogin}}
	browser := secret.HashOf(in.Browser.Reveal())
	c.browser = &browser
	if err := c.find(ctx, s.now()); err != nil {
		return Token{}, err
	}
	return s.advance(ctx, caller, proof{userID: c.holder, check: c.useToLogIn, attempt: c.attempt}, in.RememberMe)
}

// CodeOfLink gives the code that belongs to the link of a login, for a browser
// that did not ask for it: there the code can be read, to be typed where it was
// asked for. It looks at nothing: for a link that is worth nothing, the code is
// not either.
func (s *Service) CodeOfLink(token secret.Text) (secret.Text, bool) {
	if !secret.IsToken(token.Reveal()) {
		return secret.Text{}, false
	}
	return s.codeOf(token), true
}

// LoginLinkIsOf tells whether the link of a login belongs to a browser, by what
// [Service.AskLoginCode] gave that. It uses nothing up. A link that is spent or
// has ended is refused.
func (s *Service) LoginLinkIsOf(ctx context.Context, token, browser secret.Text) (bool, error) {
	if !secret.IsToken(token.Reveal()) {
		return false, errTokenSpent
	}
	hash, of := secret.HashOf(token.Reveal()), secret.HashOf(browser.Reveal())
	var same int
	err := s.db.QueryRow(ctx, selectLoginBrowser, []any{hash[:], string(forLogin), db.Micros(s.now()), of[:]}, &same)
	if errors.Is(err, db.ErrNotFound) {
		err = errTokenSpent
	}
	return same == 1, err
}

// MayBeToken tells whether a text has the form of the token of a link. One that
// was cut off on its way has not.
func MayBeToken(text string) bool { return secret.IsToken(text) }
