package account

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strconv"
	"strings"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// Recovery codes stand for a second factor that is lost. There are ten, of 80
// bits each, each is good once, and a new set takes the place of the whole old one.

const (
	recoveryCodes     = 10
	recoveryCodeBytes = 10
	// fewCodes is when their owner is told that they run out.
	fewCodes = 3
)

var recoveryAlphabet = base32.NewEncoding("abcdefghjkmnpqrstuvwxyz123456789").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a constant; without i, l, o and 0

// newRecoveryCodes makes a set.
func (s *Service) newRecoveryCodes(ctx context.Context, tx *db.Tx, now time.Time, userID string) ([]secret.Text, error) {
	if _, err := tx.Exec(ctx, deleteRecoveryCodes, userID); err != nil {
		return nil, err
	}
	codes := make([]secret.Text, recoveryCodes)
	for i := range codes {
		var raw [recoveryCodeBytes]byte
		_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
		text := recoveryAlphabet.EncodeToString(raw[:])
		codes[i] = secret.NewText(text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:])
		if _, err := tx.Exec(ctx, insertRecoveryCode, s.recoveryMAC(userID, text), userID, db.Micros(now)); err != nil {
			return nil, err
		}
	}
	return codes, nil
}

func (s *Service) recoveryMAC(userID, text string) []byte {
	return s.keys.MAC("recovery code", []byte(userID+"\x00"+text))
}

// canonicalRecoveryCode takes what people add when they copy by hand out of a
// code; "" where it has not the form of one.
func canonicalRecoveryCode(code secret.Text) string {
	if len(code.Reveal()) > 64 {
		return ""
	}
	text := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code.Reveal()))
	if raw, err := recoveryAlphabet.DecodeString(text); err != nil || len(raw) != recoveryCodeBytes {
		return ""
	}
	return text
}

// useRecoveryCode uses one up, and tells the owner when few are left.
func (s *Service) useRecoveryCode(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, code secret.Text) error {
	text := canonicalRecoveryCode(code)
	n, err := tx.Exec(ctx, useRecoveryCode, s.recoveryMAC(u.ID, text), u.ID)
	if err != nil {
		return err
	}
	if text == "" || n == 0 {
		return errWrongCode
	}
	var left int
	if err := tx.QueryRow(ctx, countRecoveryCodes, []any{u.ID}, &left); err != nil {
		return err
	}
	// By its name a recovery code is a code like any other (see [Methods.Names]):
	// that it was one is told by an entry of its own.
	caller.UserID = u.ID
	if err := record(ctx, tx, now, caller, recoveryCodeUsed, event.Success, u.ID, map[string]string{"left": strconv.Itoa(left)}); err != nil {
		return err
	}
	if left > fewCodes {
		return nil
	}
	return s.tell(ctx, tx, now, u, outbox.RecoveryCodesLow, origin{At: now}, map[string]string{"left": itoa(time.Duration(left))})
}

// NewRecoveryCodes replaces the caller's set, and shows the new one this once.
func (s *Service) NewRecoveryCodes(ctx context.Context, caller Caller) (codes []secret.Text, err error) {
	now := s.now()
	err = s.changeFactors(ctx, caller, now, func(tx *db.Tx, u userRow) error {
		if !u.factors.any() {
			return refuse(Conflict, CodeNoFactor)
		}
		if codes, err = s.newRecoveryCodes(ctx, tx, now, u.ID); err != nil {
			return err
		}
		return s.factorChanged(ctx, tx, now, caller, u, addedFactor, RecoveryCodes, "")
	})
	return codes, err
}
