package account

import (
	"context"
	"crypto/subtle"
	"errors"

	"propusk/internal/db"
)

// ErrOtherKey: the database was started with another master key, so nothing
// that it holds sealed could be opened.
var ErrOtherKey = errors.New("the database belongs to another master key")

// HasKey tells whether a master key has been tied to the database already: then
// a new one must not be made.
func HasKey(ctx context.Context, d *db.DB) (bool, error) {
	var v []byte
	err := d.QueryRow(ctx, selectInstallation, []any{keyCheck}, &v)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

const keyCheck = "master key check"

// Claim ties the database to the master key on the first start, and refuses
// another one ever after.
func (s *Service) Claim(ctx context.Context) error {
	want := s.keys.MAC(keyCheck, nil)
	var have []byte
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, insertInstallation, keyCheck, want); err != nil {
			return err
		}
		return tx.QueryRow(ctx, selectInstallation, []any{keyCheck}, &have)
	})
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(have, want) != 1 {
		return ErrOtherKey
	}
	return nil
}
