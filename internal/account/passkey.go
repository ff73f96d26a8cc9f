package account

import (
	"context"
	"time"

	"propusk/internal/db"
)

// PasskeyData is a passkey as its owner sees it.
type PasskeyData struct {
	ID         string
	Name       string
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never
	BackedUp   bool      // its key is on more than one device
}

func (s *Service) passkeysPossible() bool { return false }

func (s *Service) passkeysOf(context.Context, db.Querier, string) ([]PasskeyData, error) {
	return nil, nil
}

func (s *Service) usePasskey(context.Context, *db.Tx, time.Time, userRow, []byte, purpose) (Methods, error) {
	return 0, errWrongCode
}

func (s *Service) addPasskey(context.Context, *db.Tx, time.Time, userRow, []byte, string, purpose) (Methods, string, error) {
	return 0, "", errWrongCode
}
