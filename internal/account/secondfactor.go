package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

// A login whose first factor was right, and which needs another, gets a challenge:
// a single-use token that is good for nothing but finishing this login, or, where
// the user has to have a factor and has none, for adding one and finishing it.

// Challenge is such a login on its way.
type Challenge struct {
	Token   secret.Text
	Factors []FactorKind // that it can be finished with
	Enrol   bool         // there is none yet: one has to be added first
	Expires time.Time
}

const challengeLifetime = 10 * time.Minute

// openLogin is what a challenge remembers.
type openLogin struct {
	Methods  Methods `json:"methods"`
	Remember bool    `json:"remember,omitzero"`
	Enrol    bool    `json:"enrol,omitzero"`
	First    bool    `json:"first,omitzero"`
}

// next decides what a proof leads to: nil to a session, or the refusal that holds
// the challenge.
func (s *Service) next(ctx context.Context, tx *db.Tx, now time.Time, u userRow, by Methods, p proof, remember bool) (*Error, error) {
	if by.Strong() {
		return nil, nil //nolint:nilnil // no refusal, no fault
	}
	enrol := !u.factors.any()
	if enrol && !s.mustHaveFactor(u) {
		return nil, nil //nolint:nilnil // as above
	}
	if !enrol && by&ByTrustedDevice != 0 {
		return nil, nil //nolint:nilnil // as above
	}
	data, err := json.Marshal(openLogin{Methods: by, Remember: remember, Enrol: enrol, First: p.first})
	if err != nil {
		return nil, fmt.Errorf("open login: %w", err)
	}
	m, err := s.makeToken(ctx, tx, now, singleUse{purpose: forSecondFactor, holder: u.ID, data: data, sent: true})
	if err != nil {
		return nil, err
	}
	c := &Challenge{Token: m.secret, Factors: u.factors.kinds(), Enrol: enrol, Expires: m.expires}
	code := CodeSecondFactorRequired
	if enrol {
		code, c.Factors = CodeSecondFactorEnrolment, []FactorKind{TOTP}
		if s.passkeysPossible() {
			c.Factors = append(c.Factors, Passkey)
		}
	}
	return &Error{Kind: Unauthenticated, Fault: Fault{Code: code}, Challenge: c}, nil
}

// openedBy finds the login that a challenge is of, and leaves it.
func (s *Service) openedBy(ctx context.Context, q db.Querier, now time.Time, challenge secret.Text) (userID string, l openLogin, err error) {
	t, err := s.lookAtLink(ctx, q, now, challenge, nil, forSecondFactor, forSecondFactor)
	if err != nil {
		if errors.Is(err, errTokenSpent) {
			err = refuse(Unauthenticated, CodeChallengeInvalid)
		}
		return "", l, err
	}
	if err := json.Unmarshal(t.data, &l); err != nil {
		return "", l, fmt.Errorf("read open login: %w", err)
	}
	return t.holder, l, nil
}

// SecondFactor is what finishes a login.
type SecondFactor struct {
	Challenge   secret.Text
	Code        secret.Text // of an app, or a recovery code
	Passkey     []byte      // or the answer of a passkey, as browsers give it in JSON
	TrustDevice bool        // do not ask for it here for a while, where that is allowed
}

// FinishLogin takes the second factor of a login, and gives a token. A wrong one
// leaves the challenge as it is; there are only so many tries.
func (s *Service) FinishLogin(ctx context.Context, caller Caller, in SecondFactor) (Token, FactorAdded, error) {
	t, added, err := s.finishLogin(ctx, caller, in)
	s.metrics.logins.WithLabelValues(outcome(err)).Inc()
	return t, added, err
}

func (s *Service) finishLogin(ctx context.Context, caller Caller, in SecondFactor) (t Token, added FactorAdded, err error) {
	broken := faults{}
	switch hasCode := in.Code.Reveal() != ""; {
	case hasCode && in.Passkey != nil, !hasCode && in.Passkey == nil:
		broken.add("code", &Fault{Code: CodeCodeOrPasskey})
	case hasCode && !isCode(in.Code) && canonicalRecoveryCode(in.Code) == "":
		broken.add("code", &Fault{Code: CodeFactorCodeInvalid})
	}
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return t, added, err
	}
	caller.Kind, caller.UserID = Anonymous, ""
	now := s.now()
	userID, l, err := s.openedBy(ctx, s.db, now, in.Challenge)
	if err != nil {
		return t, added, err
	}
	a, err := s.takeFactorTry(ctx, now, caller, userID, in.Passkey != nil)
	if err != nil {
		return t, added, err
	}
	p := proof{userID: userID, first: l.First, attempt: a, trust: in.TrustDevice}
	p.check = func(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (by Methods, err error) {
		if _, err := s.consumeLink(ctx, tx, now, in.Challenge, nil, forSecondFactor, forSecondFactor); err != nil {
			return 0, refuse(Unauthenticated, CodeChallengeInvalid)
		}
		if a.closed {
			return 0, errWrongCode
		}
		if l.Enrol {
			by, added, err = s.enrolAtLogin(ctx, tx, now, caller, u, in)
		} else {
			by, err = s.useFactor(ctx, tx, now, caller, u, in, ceremony{forPasskeyFactor, u.ID, loginOf(in.Challenge)})
		}
		return l.Methods | by, err
	}
	finish := func() error {
		t, err = s.advance(ctx, caller, p, l.Remember)
		return err
	}
	if l.Enrol { // which ends all other sessions
		err = s.revoke(ctx, userID, finish)
	} else {
		err = finish()
	}
	return t, added, s.noteWrongFactor(ctx, now, caller, userID, in.Passkey, err)
}

// noteWrongFactor records whatever was wrong.
func (s *Service) noteWrongFactor(ctx context.Context, now time.Time, caller Caller, userID string, passkey []byte, err error) error {
	if passkey != nil {
		return s.noteRefusedPasskey(ctx, now, caller, userID, passkey, err)
	}
	return s.noteWrongCode(ctx, now, caller, userID, err)
}

// useFactor takes one of the user's second factors, a passkey in the ceremony c.
func (s *Service) useFactor(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, in SecondFactor, c ceremony) (Methods, error) {
	switch {
	case in.Passkey != nil:
		return s.usePasskey(ctx, tx, now, caller, u, in.Passkey, c)
	case isCode(in.Code):
		return ByTOTP, s.useTOTP(ctx, tx, now, u.ID, in.Code)
	default:
		return ByRecoveryCode, s.useRecoveryCode(ctx, tx, now, caller, u, in.Code)
	}
}

// Enrolment is what a new factor begins with: one of the two.
type Enrolment struct {
	Seed    TOTPSeed
	Passkey PasskeyOptions // nil: it is an app
}

// EnrolAtLogin makes a seed for an app, or the options for a passkey, of somebody
// who must have a second factor before he gets a token. Its first code or answer
// finishes the login.
func (s *Service) EnrolAtLogin(ctx context.Context, caller Caller, challenge secret.Text, kind FactorKind) (out Enrolment, err error) {
	switch {
	case kind != TOTP && kind != Passkey:
		return out, &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"factor": {Code: CodeFactorKindUnknown}}}
	case kind == Passkey && !s.passkeysPossible():
		return out, refuse(Conflict, CodePasskeysUnavailable)
	}
	now := s.now()
	userID, l, err := s.openedBy(ctx, s.db, now, challenge)
	if err != nil {
		return out, err
	}
	if !l.Enrol {
		return out, refuse(Conflict, CodeFactorExists)
	}
	caller.Kind, caller.UserID = Anonymous, userID // in the middle of his login: a token that came along says nothing here
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		u, err := s.lockUser(ctx, tx, userID)
		if err != nil {
			return err
		}
		// Meanwhile it may have been used up, or another may have added a factor.
		if _, _, err := s.openedBy(ctx, tx, now, challenge); err != nil {
			return err
		}
		if u.factors.any() {
			return refuse(Conflict, CodeFactorExists)
		}
		if err := record(ctx, tx, now, caller, beginFactor, event.Success, u.ID, map[string]string{"factor": string(kind)}); err != nil {
			return err
		}
		if kind == Passkey {
			out.Passkey, err = s.beginAdding(ctx, tx, now, u, ceremony{forPasskeyEnrol, u.ID, loginOf(challenge)})
		} else {
			out.Seed, err = s.newTOTP(ctx, tx, now, u)
		}
		return err
	})
	return out, err
}

// enrolAtLogin adds the factor whose first answer this is.
func (s *Service) enrolAtLogin(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, in SecondFactor) (by Methods, added FactorAdded, err error) {
	if u.factors.any() {
		return 0, added, refuse(Unauthenticated, CodeChallengeInvalid)
	}
	kind, name := TOTP, ""
	if in.Passkey != nil {
		var r passkeyRow
		r, by, err = s.addPasskey(ctx, tx, now, caller, u, in.Passkey, "", ceremony{forPasskeyEnrol, u.ID, loginOf(in.Challenge)})
		kind, name = Passkey, r.Name
	} else {
		by, err = ByTOTP, s.confirmTOTP(ctx, tx, now, u, in.Code)
	}
	if err != nil {
		return 0, added, err
	}
	caller.UserID = u.ID
	added, err = s.factorAdded(ctx, tx, now, caller, u, kind, name)
	return by, added, err
}

// takeFactorTry takes one try at a user's second factors, all of them together.
// At a passkey there is nothing to guess: whoever tries at the other factors must
// not close it, and it takes none.
func (s *Service) takeFactorTry(ctx context.Context, now time.Time, caller Caller, userID string, passkey bool) (attempt, error) {
	if passkey {
		return attempt{account: userID, mark: s.knownDevice(now, userID, caller.Devices)}, nil
	}
	return s.takeTryAt(ctx, now, caller, userID, codesOfFactors, true)
}
