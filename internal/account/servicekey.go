package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Scope is what a service may do with its key.
type Scope string

// The scopes.
const (
	ScopeIntrospect Scope = "introspect" // ask about tokens, and end those that it was handed
)

// Scopes is every scope that there is.
var Scopes = []Scope{ScopeIntrospect} //nolint:gochecknoglobals // a constant list

// ServiceKey is the key of a service, without the key.
type ServiceKey struct {
	ID        string
	Name      string
	Scopes    []Scope
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// keyPrefix makes a key that has leaked into a repository recognisable.
const keyPrefix = "propusk_key_"

// readKeysWithin bounds how long a wrong key waits for the database.
const readKeysWithin = 2 * time.Second

// serviceKeys is all keys, in memory: a gateway or service asks with every
// request of its own, also while the database is away.
type serviceKeys struct {
	reading sync.Mutex

	mu     sync.RWMutex
	byHash map[secret.Hash]ServiceKey
}

// AddKey makes a key. The key itself is given this once and is not stored.
func (s *Service) AddKey(ctx context.Context, caller Caller, name string, scopes []Scope, lifetime time.Duration) (ServiceKey, secret.Text, error) {
	if err := s.may(caller, addKey, ""); err != nil {
		return ServiceKey{}, secret.Text{}, err
	}
	if name == "" {
		name = "key-" + secret.NewID()[:8]
	}
	if !validKeyName(name) {
		return ServiceKey{}, secret.Text{}, refuse(Invalid, CodeKeyNameInvalid)
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes, scope) {
			return ServiceKey{}, secret.Text{}, refuse(Invalid, CodeScopeUnknown)
		}
	}
	if len(scopes) == 0 {
		return ServiceKey{}, secret.Text{}, refuse(Invalid, CodeScopeUnknown)
	}
	now := s.now()
	k := ServiceKey{ID: secret.NewID(), Name: name, CreatedAt: now}
	for _, scope := range scopes {
		if !slices.Contains(k.Scopes, scope) {
			k.Scopes = append(k.Scopes, scope)
		}
	}
	if lifetime > 0 {
		k.ExpiresAt = now.Add(lifetime)
	}
	key := secret.NewText(keyPrefix + secret.NewToken().Reveal())
	hash := secret.HashOf(key.Reveal())
	return k, key, s.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, insertKey, k.ID, k.Name, hash[:], joinScopes(k.Scopes), db.Micros(now), db.NullMicros(k.ExpiresAt))
		if err != nil {
			return keyTaken(err)
		}
		if err := s.authorize(ctx, tx, now, caller, addKey, "", map[string]string{"key_id": k.ID, "scopes": joinScopes(k.Scopes)}); err != nil {
			return err
		}
		_, err = announce(ctx, tx, now, aboutKeys)
		return err
	})
}

// validKeyName: 1 to 64 letters, digits, '-', '_' and '.', and not the form of an
// id, since keys are named by either.
func validKeyName(name string) bool {
	return validRole(strings.ReplaceAll(name, ".", "-")) && !IsID(name)
}

func keyTaken(err error) error {
	var c *db.ConflictError
	if errors.As(err, &c) && c.Index == "service_keys_name" {
		return refuse(Conflict, CodeKeyNameTaken)
	}
	return err
}

// Keys lists the keys, the oldest first.
func (s *Service) Keys(ctx context.Context, caller Caller) (out []ServiceKey, err error) {
	if err := s.may(caller, listKeys, ""); err != nil {
		return nil, err
	}
	err = s.eachKey(ctx, func(_ secret.Hash, k ServiceKey) { out = append(out, k) })
	return out, err
}

// RevokeKey ends a key by its id or name.
func (s *Service) RevokeKey(ctx context.Context, caller Caller, ref string) (ServiceKey, error) {
	if err := s.may(caller, revokeKey, ""); err != nil {
		return ServiceKey{}, err
	}
	now := s.now()
	var k ServiceKey
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		if err := tx.QueryRow(ctx, deleteKey, []any{ref}, &k.ID, &k.Name); err != nil {
			return notFoundIs(err, refuse(NotFound, CodeKeyNotFound))
		}
		if err := s.authorize(ctx, tx, now, caller, revokeKey, "", map[string]string{"key_id": k.ID}); err != nil {
			return err
		}
		_, err := announce(ctx, tx, now, aboutKeys)
		return err
	})
	return k, err
}

func (s *Service) eachKey(ctx context.Context, f func(secret.Hash, ServiceKey)) error {
	return s.db.Query(ctx, selectKeys, nil, func(scan func(...any) error) error {
		var k ServiceKey
		var hash []byte
		var scopes string
		var created int64
		var expires sql.NullInt64
		if err := scan(&k.ID, &k.Name, &hash, &scopes, &created, &expires); err != nil {
			return err
		}
		if len(hash) != len(secret.Hash{}) {
			return errors.New("stored hash of a key has another length")
		}
		for scope := range strings.FieldsSeq(scopes) {
			k.Scopes = append(k.Scopes, Scope(scope))
		}
		k.CreatedAt, k.ExpiresAt = db.Time(created), db.NullTime(expires)
		f(secret.Hash(hash), k)
		return nil
	})
}

// readKeys brings the keys in memory up to date.
func (s *Service) readKeys(ctx context.Context) error {
	s.serviceKeys.reading.Lock() // who reads later also stores later
	defer s.serviceKeys.reading.Unlock()
	fresh := map[secret.Hash]ServiceKey{}
	if err := s.eachKey(ctx, func(hash secret.Hash, k ServiceKey) { fresh[hash] = k }); err != nil {
		return err
	}
	s.serviceKeys.mu.Lock()
	defer s.serviceKeys.mu.Unlock()
	s.serviceKeys.byHash = fresh
	return nil
}

// AuthenticateService finds out whose key this is; id, where it came along, has to
// be that of the key. A key counts for as long as memory may be believed: see
// [liveSessions.trusted]. Where that cannot be known now, the error is not a
// refusal.
func (s *Service) AuthenticateService(ctx context.Context, caller Caller, id string, key secret.Text) (Caller, error) {
	now := s.now()
	hash := secret.HashOf(key.Reveal())
	k, known := s.serviceKey(hash)
	if !known || !s.live.trusted(now, s.policy.OfflineChecks) {
		// A key that was made just now, beside the running service, works at once.
		// However many come with a wrong one, one of them asks the database.
		_, err, _ := s.readingKeys.Do("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readKeysWithin)
			defer cancel()
			return nil, s.readKeys(ctx)
		})
		if err != nil {
			return caller, fmt.Errorf("read service keys: %w", err)
		}
		k, known = s.serviceKey(hash)
	}
	if !known || id != "" && id != k.ID && id != k.Name || !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return caller, refuse(Unauthenticated, CodeKeyInvalid)
	}
	caller.Kind, caller.KeyID, caller.Scopes = ServiceCaller, k.ID, k.Scopes
	return caller, nil
}

func (s *Service) serviceKey(hash secret.Hash) (ServiceKey, bool) {
	s.serviceKeys.mu.RLock()
	defer s.serviceKeys.mu.RUnlock()
	k, ok := s.serviceKeys.byHash[hash]
	return k, ok
}

// Introspect tells a service whose token it was handed. active is false where the
// token is worth nothing, whatever the reason. Where that cannot be known now,
// the error is not a refusal.
func (s *Service) Introspect(ctx context.Context, caller Caller, token secret.Text) (se Session, active bool, err error) {
	if err := s.may(caller, introspect, ""); err != nil {
		return se, false, err
	}
	_, se, err = s.Authenticate(ctx, token, Caller{})
	if errors.Is(err, errTokenInvalid) {
		return Session{}, false, nil
	}
	return se, err == nil, err
}

// RevokeToken ends the session of a token that a service was handed. A token that
// is worth nothing already is no error (RFC 7009, section 2.2).
func (s *Service) RevokeToken(ctx context.Context, caller Caller, token secret.Text) error {
	if err := s.may(caller, revokeToken, ""); err != nil {
		return err
	}
	owner, se, err := s.Authenticate(ctx, token, Caller{})
	if errors.Is(err, errTokenInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	now := s.now()
	return s.revoke(ctx, se.UserID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			n, err := tx.Exec(ctx, deleteByToken, owner.tokenHash[:], se.UserID)
			if err != nil || n == 0 {
				return err
			}
			if err := s.authorize(ctx, tx, now, caller, revokeToken, se.UserID, map[string]string{"session_id": se.ID}); err != nil {
				return err
			}
			_, err = announce(ctx, tx, now, se.UserID)
			return err
		})
	})
}

func joinScopes(scopes []Scope) string {
	var b strings.Builder
	for i, scope := range scopes {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(scope))
	}
	return b.String()
}
