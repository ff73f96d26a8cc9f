package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

// An authenticator app makes a code every 30 seconds from a seed that it shares
// with us (RFC 6238). A code counts in its own step and the ones beside it, for
// clocks differ; once, and never after a later one, for somebody may have looked.

const (
	totpSeedSize = 20 // bytes; RFC 4226, section 4, recommends 160 bits
	totpStep     = 30
	totpSkew     = 1 // steps
)

// TOTPSeed is what an authenticator app is given.
type TOTPSeed struct {
	Secret secret.Text // base32, to be typed
	URI    secret.Text // otpauth://, to be shown as a QR code
}

// EnrolTOTP makes a seed for the caller's authenticator app. It counts once
// [Service.ConfirmTOTP] has seen a code of it.
func (s *Service) EnrolTOTP(ctx context.Context, caller Caller) (seed TOTPSeed, err error) {
	err = s.asSelf(ctx, caller, func(tx *db.Tx, now time.Time, u userRow) error {
		if err := s.beginsFactor(ctx, tx, now, caller, u, TOTP); err != nil {
			return err
		}
		seed, err = s.newTOTP(ctx, tx, now, u)
		return err
	})
	return seed, err
}

func (s *Service) newTOTP(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (TOTPSeed, error) {
	raw := make([]byte, totpSeedSize)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	n, err := tx.Exec(ctx, upsertTOTP, u.ID, s.keys.Seal("totp", u.ID, raw), db.Micros(now))
	if err != nil {
		return TOTPSeed{}, err
	}
	if n == 0 {
		return TOTPSeed{}, refuse(Conflict, CodeFactorExists)
	}
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)
	label := url.PathEscape(s.issuer() + ":" + u.Username)
	query := url.Values{"secret": {text}, "issuer": {s.issuer()}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	return TOTPSeed{Secret: secret.NewText(text), URI: secret.NewText("otpauth://totp/" + label + "?" + query.Encode())}, nil
}

// issuer is what apps call this service.
func (s *Service) issuer() string {
	if u, err := url.Parse(s.policy.PublicURL); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "Propusk"
}

// ConfirmTOTP takes the first code of the caller's app: from here on his account
// has a second factor. With the first one it gives recovery codes.
func (s *Service) ConfirmTOTP(ctx context.Context, caller Caller, code secret.Text) (FactorAdded, error) {
	if caller.Kind != User {
		return FactorAdded{}, refuse(Unauthenticated, CodeTokenRequired)
	}
	if err := checkCode("code", code); err != nil {
		return FactorAdded{}, err
	}
	now := s.now()
	a, err := s.takeFactorTry(ctx, now, caller, caller.UserID, false)
	if err != nil {
		return FactorAdded{}, err
	}
	var out FactorAdded
	err = s.changeFactors(ctx, caller, now, func(tx *db.Tx, u userRow) error {
		if a.closed {
			return errWrongCode
		}
		if err := s.confirmTOTP(ctx, tx, now, u, code); err != nil {
			return err
		}
		out, err = s.factorAdded(ctx, tx, now, caller, u, TOTP, "")
		if err != nil {
			return err
		}
		return s.giveBack(ctx, tx, now, a.clears)
	})
	return out, s.noteWrongCode(ctx, now, caller, caller.UserID, err)
}

func (s *Service) confirmTOTP(ctx context.Context, tx *db.Tx, now time.Time, u userRow, code secret.Text) error {
	step, err := s.totpStepOf(ctx, tx, now, u.ID, code, selectNewTOTP)
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, confirmNewTOTP, u.ID, step, db.Micros(now))
	if err == nil && n == 0 {
		err = errWrongCode
	}
	return err
}

// useTOTP takes a code of the user's app, once.
func (s *Service) useTOTP(ctx context.Context, tx *db.Tx, now time.Time, userID string, code secret.Text) error {
	step, err := s.totpStepOf(ctx, tx, now, userID, code, selectTOTP)
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, useTOTPStep, userID, step, db.Micros(now))
	if err == nil && n == 0 { // it, or a later one, was used before
		err = errWrongCode
	}
	return err
}

// totpStepOf finds the step that a code belongs to.
func (s *Service) totpStepOf(ctx context.Context, tx *db.Tx, now time.Time, userID string, code secret.Text, query string) (step int64, err error) {
	var sealed []byte
	if err := tx.QueryRow(ctx, query, []any{userID}, &sealed); err != nil {
		if errors.Is(err, db.ErrNotFound) {
			err = errWrongCode
		}
		return 0, err
	}
	raw, err := s.keys.Open("totp", userID, sealed)
	if err != nil {
		return 0, err
	}
	seed := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)
	present := now.Unix() / totpStep
	found := int64(-1)
	for i := present - totpSkew; i <= present+totpSkew; i++ {
		want, err := hotp.GenerateCodeCustom(seed, uint64(i), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}) //nolint:gosec // after 1970
		if err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code.Reveal())) == 1 {
			found = i
		}
	}
	if found < 0 {
		return 0, errWrongCode
	}
	return found, nil
}

// RemoveTOTP takes the authenticator app off the caller's account.
func (s *Service) RemoveTOTP(ctx context.Context, caller Caller) error {
	return s.removeOwn(ctx, caller, TOTP, "", deleteConfirmedTOTP)
}

// noteWrongCode records a wrong code, when the transaction in which it was found
// wrong is over.
func (s *Service) noteWrongCode(ctx context.Context, now time.Time, caller Caller, userID string, err error) error {
	if !errors.Is(err, errWrongCode) {
		return err
	}
	s.metrics.factors.WithLabelValues("refused").Inc()
	failed := s.db.Tx(ctx, func(tx *db.Tx) error {
		return record(ctx, tx, now, caller, factorFailed, event.Failure, userID, nil)
	})
	return cmp.Or(failed, wrongCode(caller))
}

// wrongCode is the refusal of a code. To the owner of a session it is no word
// about his token.
func wrongCode(caller Caller) error {
	if caller.Kind == User {
		return refuse(Forbidden, CodeWrongCode)
	}
	return errWrongCode
}

// errWrongCode refuses a code of a second factor.
var errWrongCode error = refuse(Unauthenticated, CodeWrongCode)

func checkCode(field string, code secret.Text) error {
	broken := faults{}
	if !isCode(code) {
		broken.add(field, &Fault{Code: CodeCodeInvalid})
	}
	return broken.err(Invalid, CodeInvalidFields)
}
