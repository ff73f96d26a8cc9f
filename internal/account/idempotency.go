package account

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"propusk/internal/db"
)

// idempotencyLifetime is how long a repeated request is recognised.
const idempotencyLifetime = 24 * time.Hour

// once makes a request that carries an Idempotency-Key have one effect. What is
// stored of key and request is keyed with the master key: the request holds a
// password, and an unkeyed fingerprint of it could be guessed at.
type once struct {
	key         []byte
	fingerprint []byte
}

// newOnce gives nil where the request carries no key. request is everything
// that makes two requests the same one.
func (s *Service) newOnce(operation, key string, request ...string) *once {
	if key == "" {
		return nil
	}
	return &once{
		key:         s.keys.MAC("idempotency key", []byte(operation+"\x00"+key)),
		fingerprint: s.keys.MAC("idempotency request", []byte(strings.Join(request, "\x00"))),
	}
}

// earlier gives the result of the same request, if it was answered before, and
// refuses another request under the same key.
func (o *once) earlier(ctx context.Context, q db.Querier, now time.Time) (userID string, done bool, err error) {
	if o == nil {
		return "", false, nil
	}
	var fingerprint []byte
	err = q.QueryRow(ctx, selectIdempotency, []any{o.key, db.Micros(now)}, &fingerprint, &userID)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return "", false, nil
	case err != nil:
		return "", false, err
	case !bytes.Equal(fingerprint, o.fingerprint):
		return "", false, refuse(Invalid, CodeIdempotencyKeyReused)
	}
	return userID, true, nil
}

// claim reserves the key for this transaction's effect. Where another one was
// faster, it gives what that one did.
func (o *once) claim(ctx context.Context, tx *db.Tx, now time.Time, userID string) (earlierID string, done bool, err error) {
	if o == nil {
		return "", false, nil
	}
	n, err := tx.Exec(ctx, insertIdempotency, o.key, o.fingerprint, userID, db.Micros(now.Add(idempotencyLifetime)), db.Micros(now))
	if err != nil || n == 1 {
		return "", false, err
	}
	return o.earlier(ctx, tx, now)
}
