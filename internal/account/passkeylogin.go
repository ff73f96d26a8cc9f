package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// The ways in which passkeys are added and used.

// BeginPasskey makes the options for a new passkey of the caller's.
func (s *Service) BeginPasskey(ctx context.Context, caller Caller) (o PasskeyOptions, err error) {
	err = s.asSelf(ctx, caller, func(tx *db.Tx, now time.Time, u userRow) error {
		if !s.passkeysPossible() {
			return refuse(Conflict, CodePasskeysUnavailable)
		}
		if err := s.beginsFactor(ctx, tx, now, caller, u, Passkey); err != nil {
			return err
		}
		o, err = s.beginAdding(ctx, tx, now, u, ceremony{forPasskeyRegister, u.ID, caller.SessionID})
		return err
	})
	return o, err
}

// AddPasskey takes the answer to the options of [Service.BeginPasskey]. With the
// first factor it gives recovery codes.
func (s *Service) AddPasskey(ctx context.Context, caller Caller, name string, answer []byte) (p PasskeyData, out FactorAdded, err error) {
	if caller.Kind != User {
		return p, out, refuse(Unauthenticated, CodeTokenRequired)
	}
	if answer == nil {
		return p, out, &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"passkey": {Code: CodeRequired}}}
	}
	if name != "" {
		if name, err = parsePasskeyName(name); err != nil {
			return p, out, err
		}
	}
	now := s.now()
	err = s.changeFactors(ctx, caller, now, func(tx *db.Tx, u userRow) error {
		r, _, err := s.addPasskey(ctx, tx, now, caller, u, answer, name, ceremony{forPasskeyRegister, u.ID, caller.SessionID})
		if err != nil {
			return err
		}
		p = r.PasskeyData
		out, err = s.factorAdded(ctx, tx, now, caller, u, Passkey, r.Name)
		return err
	})
	return p, out, s.noteRefusedPasskey(ctx, now, caller, caller.UserID, answer, err)
}

// PasskeyLoginOptions makes the options for logging in with a passkey. They are the
// same for every name and for none: which passkeys somebody has, only he is told.
// Whoever is named must be he who answers.
func (s *Service) PasskeyLoginOptions(ctx context.Context, caller Caller, emailOrName string) (o PasskeyOptions, err error) {
	if !s.passkeysPossible() {
		return nil, refuse(Conflict, CodePasskeysUnavailable)
	}
	now := s.now()
	if caller.Kind != Operator && caller.IP.IsValid() && !caller.IP.IsLoopback() {
		b := s.newBudget(bucket, scopePasskeys, networkOf(caller.IP), s.policy.AttemptsPerNetwork, networkRefill)
		if err := s.takeOrRefuse(ctx, now, b); err != nil {
			return nil, err
		}
	}
	named := strings.ToValidUTF8(emailOrName[:min(len(emailOrName), maxInputBytes)], "") // nobody has a longer name
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		o, err = s.begin(ctx, tx, now, ceremony{purpose: forPasskeyLogin}, named, func(challenge protocol.URLEncodedBase64) (any, *webauthn.SessionData, error) {
			assertion, data, err := s.party.BeginDiscoverableLogin(webauthn.WithChallenge(challenge), webauthn.WithUserVerification(protocol.VerificationRequired))
			if err != nil {
				return nil, nil, err
			}
			return assertion.Response, data, nil
		})
		return err
	})
	return o, err
}

// PasskeyLogin is what somebody gives to get a token for a passkey.
type PasskeyLogin struct {
	Passkey    []byte // the answer, as browsers give it in JSON
	RememberMe bool
}

// LoginWithPasskey gives a token for a passkey that has verified its user: that is
// two factors in one. There is nothing to guess, so nobody's wrong attempts can
// close it.
func (s *Service) LoginWithPasskey(ctx context.Context, caller Caller, in PasskeyLogin) (Token, error) {
	now := s.now()
	caller.Kind, caller.UserID = Anonymous, ""
	t, userID, err := s.loginWithPasskey(ctx, now, caller, in)
	if errors.Is(err, errInvalidCredentials) { // the account was disabled, or is going
		err = refusePasskey(Unauthenticated, CodePasskeyRefused, "the account is disabled")
	}
	err = s.noteRefusedPasskey(ctx, now, caller, userID, in.Passkey, err)
	s.metrics.logins.WithLabelValues(outcome(err)).Inc()
	return t, err
}

var errInvalidCredentials error = refuse(Unauthenticated, CodeInvalidCredentials)

func (s *Service) loginWithPasskey(ctx context.Context, now time.Time, caller Caller, in PasskeyLogin) (t Token, userID string, err error) {
	if !s.passkeysPossible() {
		return t, "", refuse(Conflict, CodePasskeysUnavailable)
	}
	if in.Passkey == nil {
		return t, "", &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"passkey": {Code: CodeRequired}}}
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(in.Passkey)
	if err != nil {
		return t, "", errMalformedPasskey
	}
	challenge, _, err := s.challengeOf(parsed.Raw.AssertionResponse.ClientDataJSON)
	if err != nil {
		return t, "", err
	}
	c := ceremony{purpose: forPasskeyLogin}
	b, err := readChallenge(c, func() (usedToken, error) { return s.lookAtLink(ctx, s.db, now, challenge, nil, c.purpose, c.purpose) })
	if err != nil { // strangers get no further
		return t, "", err
	}
	if err := s.db.QueryRow(ctx, selectPasskeyOwner, []any{parsed.RawID}, &userID); err != nil {
		return t, "", notFoundPasskey(err)
	}
	if b.Named != "" {
		named, _, err := s.userByLogin(ctx, s.db, b.Named)
		if err != nil {
			return t, userID, err
		}
		if named.ID != userID {
			return t, userID, refusePasskey(Unauthenticated, CodePasskeyRefused, "it is another user's than the one who was named")
		}
	}
	p := proof{userID: userID, attempt: attempt{account: userID, mark: s.knownDevice(now, userID, caller.Devices)}}
	p.check = func(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (Methods, error) {
		return s.usePasskey(ctx, tx, now, caller, u, in.Passkey, c)
	}
	t, err = s.advance(ctx, caller, p, in.RememberMe)
	return t, userID, err
}

func notFoundPasskey(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return refusePasskey(Unauthenticated, CodePasskeyRefused, "there is no such passkey")
	}
	return err
}

// PasskeyFactorOptions makes the options for finishing a login with one of the
// passkeys of its user.
func (s *Service) PasskeyFactorOptions(ctx context.Context, challenge secret.Text) (o PasskeyOptions, err error) {
	if !s.passkeysPossible() {
		return nil, refuse(Conflict, CodePasskeysUnavailable)
	}
	now := s.now()
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		userID, _, err := s.openedBy(ctx, tx, now, challenge)
		if err != nil {
			return err
		}
		u, err := s.lockUser(ctx, tx, userID)
		if err != nil {
			return err
		}
		o, err = s.beginUsing(ctx, tx, now, u, ceremony{forPasskeyFactor, u.ID, loginOf(challenge)})
		return err
	})
	return o, err
}

// PasskeyAgainOptions makes the options for a new proof of identity by one of the
// caller's passkeys.
func (s *Service) PasskeyAgainOptions(ctx context.Context, caller Caller) (o PasskeyOptions, err error) {
	err = s.asSelf(ctx, caller, func(tx *db.Tx, now time.Time, u userRow) error {
		if !s.passkeysPossible() {
			return refuse(Conflict, CodePasskeysUnavailable)
		}
		o, err = s.beginUsing(ctx, tx, now, u, ceremony{forPasskeyAgain, u.ID, caller.SessionID})
		return err
	})
	return o, err
}
