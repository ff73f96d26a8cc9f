package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

// Login is what somebody gives to get a token.
type Login struct {
	EmailOrName string
	Password    secret.Text
	RememberMe  bool
}

// Login proves a password and gives a token. An unknown name, a wrong password
// and a disabled account are the same answer after the same work.
func (s *Service) Login(ctx context.Context, caller Caller, in Login) (Token, error) {
	t, err := s.login(ctx, caller, in)
	s.metrics.logins.WithLabelValues(outcome(err)).Inc()
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
	u, account, err := s.userByLogin(ctx, in.EmailOrName)
	if err != nil {
		return Token{}, err
	}
	budgets := s.budgets(caller, account)
	if err := s.take(ctx, now, budgets); err != nil {
		return Token{}, err
	}
	ok, stale, err := s.verify(ctx, in.Password, u.passwordHash)
	if err != nil {
		s.unused(ctx, budgets)
		return Token{}, err
	}
	if !ok || !u.disabledAt.IsZero() {
		return Token{}, s.refuseLogin(ctx, now, caller, u.ID)
	}
	if stale {
		if u.passwordHash, err = s.rehash(ctx, u, in.Password); err != nil {
			return Token{}, err
		}
	}
	return s.advance(ctx, caller, proof{userID: u.ID, phc: u.passwordHash, budgets: budgets}, in.RememberMe)
}

// advance decides what comes after a proof: the only place that does, whatever
// the way in. Today a password is enough; a second factor will be asked for
// here, and nowhere else.
func (s *Service) advance(ctx context.Context, caller Caller, p proof, remember bool) (t Token, err error) {
	now := s.now()
	var se Session
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		if err := p.use(ctx, tx, now); err != nil {
			return err
		}
		if t, se, err = s.issue(ctx, tx, now, caller, p.userID, remember); err != nil {
			return err
		}
		caller.UserID = p.userID
		return recordLogin(ctx, tx, now, caller, se)
	})
	if se.ended > 0 {
		s.live.forget(p.userID)
	}
	if errors.Is(err, errTokenInvalid) { // the password or the account changed under our hands
		err = refuse(Unauthenticated, CodeInvalidCredentials)
	}
	return t, err
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
func (s *Service) userByLogin(ctx context.Context, typed string) (u userRow, account string, err error) {
	query, key := selectUserByUsername, ""
	if strings.Contains(typed, "@") {
		query = selectUserByEmail
		if e, fault := parseEmail(typed); fault == nil {
			key = e.key
		}
	} else if n, fault := parseUsername(typed); fault == nil {
		key = n.key
	}
	account = "name " + key
	if key == "" { // nobody can be called that; one budget for all spellings of it
		account = "other " + fold(strings.TrimSpace(typed[:min(len(typed), maxInputBytes)]))
	}
	u, err = queryUser(ctx, s.db, query, key)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return userRow{}, account, nil
	case err != nil:
		return userRow{}, "", err
	}
	return u, u.ID, nil
}

// rehash replaces a hash whose parameters are no longer ours, now that the
// password is at hand. Sessions live on: it is the same password.
func (s *Service) rehash(ctx context.Context, u userRow, password secret.Text) (string, error) {
	phc, err := s.hash(ctx, password)
	if err != nil {
		return "", err
	}
	now := s.now()
	replaced := false
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, replaceHash, phc, u.ID, u.passwordHash)
		if replaced = n == 1; err != nil || !replaced {
			return err
		}
		return record(ctx, tx, now, Caller{Kind: User, UserID: u.ID}, rehash, event.Success, u.ID, nil)
	})
	if err != nil || replaced {
		return phc, err
	}
	return s.rehashed(ctx, u, password)
}

// rehashed is for a login whose twin was faster: the stored hash is another one
// now, and the password counts if it is that of the new hash as well.
func (s *Service) rehashed(ctx context.Context, u userRow, password secret.Text) (string, error) {
	now, err := userByID(ctx, s.db, u.ID)
	if err != nil {
		return "", notFoundIs(err, refuse(Unauthenticated, CodeInvalidCredentials))
	}
	ok, _, err := s.verify(ctx, password, now.passwordHash)
	if err == nil && !ok {
		err = refuse(Unauthenticated, CodeInvalidCredentials)
	}
	return now.passwordHash, err
}
