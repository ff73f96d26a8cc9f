package account

import (
	"context"
	"errors"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// FactorKind is a kind of second factor.
type FactorKind string

// The kinds. Recovery codes stand in for the others, and are none by themselves.
const (
	TOTP          FactorKind = "totp"
	Passkey       FactorKind = "passkey"
	RecoveryCodes FactorKind = "recovery_codes"
)

// factorSet is which kinds a user has.
type factorSet uint8

const (
	hasTOTP factorSet = 1 << iota
	hasPasskey
	// mustHave: an administrator wants this user to have one.
	mustHave
)

func (f factorSet) any() bool { return f&(hasTOTP|hasPasskey) != 0 }

// kinds are those that can be asked for at a login.
func (f factorSet) kinds() (out []FactorKind) {
	if f&hasTOTP != 0 {
		out = append(out, TOTP)
	}
	if f&hasPasskey != 0 {
		out = append(out, Passkey)
	}
	if f.any() {
		out = append(out, RecoveryCodes)
	}
	return out
}

// mustHaveFactor tells whether a user may not be without a second factor.
func (s *Service) mustHaveFactor(u userRow) bool {
	return u.factors&mustHave != 0 || s.policy.RequireSecondFactor(u.Role)
}

// FactorAdded is a factor that was added.
type FactorAdded struct {
	RecoveryCodes []secret.Text // with the first factor; shown this once
}

// Factors are the second factors of a user.
type Factors struct {
	TOTP              bool
	TOTPAddedAt       time.Time
	TOTPUsedAt        time.Time // zero: never
	Passkeys          []PasskeyData
	RecoveryCodesLeft int
	Required          bool // the last one cannot be removed
}

// Factors lists those of a user: one's own, or for an operator anyone's.
func (s *Service) Factors(ctx context.Context, caller Caller, userID string) (f Factors, err error) {
	if err := s.may(caller, listFactors, userID); err != nil {
		return f, err
	}
	u, err := userByID(ctx, s.db, userID)
	if err != nil {
		return f, notFoundIs(err, refuse(NotFound, CodeUserNotFound))
	}
	f.Required = s.mustHaveFactor(u)
	var added, used int64
	err = s.db.QueryRow(ctx, selectTOTPTimes, []any{userID}, &added, &used)
	switch {
	case err == nil:
		f.TOTP, f.TOTPAddedAt = true, db.Time(added)
		if used > 0 {
			f.TOTPUsedAt = db.Time(used)
		}
	case !errors.Is(err, db.ErrNotFound):
		return f, err
	}
	if err := s.db.QueryRow(ctx, countRecoveryCodes, []any{userID}, &f.RecoveryCodesLeft); err != nil {
		return f, err
	}
	f.Passkeys, err = s.listPasskeys(ctx, userID)
	return f, err
}

// changeFactors runs a change of the caller's own factors, for which he must have
// proved himself lately with the strongest that he has. His other sessions end,
// and what was sent him: they date from before.
func (s *Service) changeFactors(ctx context.Context, caller Caller, now time.Time, change func(*db.Tx, userRow) error) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	return s.revoke(ctx, caller.UserID, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			u, err := s.lockSelf(ctx, tx, caller)
			if err != nil {
				return err
			}
			if err := s.fresh(caller, u, now); err != nil {
				return err
			}
			return change(tx, u)
		})
	})
}

// asSelf runs a transaction that has locked the owner of the caller's session.
func (s *Service) asSelf(ctx context.Context, caller Caller, f func(tx *db.Tx, now time.Time, u userRow) error) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	now := s.now()
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		u, err := s.lockSelf(ctx, tx, caller)
		if err != nil {
			return err
		}
		return f(tx, now, u)
	})
}

// beginsFactor is what goes with the beginning of a factor: it asks for the same
// proof as its end.
func (s *Service) beginsFactor(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, kind FactorKind) error {
	if err := s.fresh(caller, u, now); err != nil {
		return err
	}
	return s.authorize(ctx, tx, now, caller, beginFactor, u.ID, map[string]string{"factor": string(kind)})
}

// factorAdded is what goes with a new factor. The first one comes with recovery
// codes.
func (s *Service) factorAdded(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, kind FactorKind, name string) (out FactorAdded, err error) {
	if !u.factors.any() {
		if out.RecoveryCodes, err = s.newRecoveryCodes(ctx, tx, now, u.ID); err != nil {
			return out, err
		}
	}
	return out, s.factorChanged(ctx, tx, now, caller, u, addedFactor, kind, name)
}

// factorChanged is what goes with every change of factors: the trail has it, the
// owner is told, his other sessions end, no device is trusted any more.
func (s *Service) factorChanged(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, action Action, kind FactorKind, name string) error {
	if _, err := tx.Exec(ctx, recountFactors, u.ID, db.Micros(now)); err != nil {
		return err
	}
	about := map[string]string{"factor": string(kind)}
	if caller.Kind == Anonymous { // in the middle of his login: see enrolAtLogin
		if err := record(ctx, tx, now, caller, action, event.Success, u.ID, about); err != nil {
			return err
		}
	} else if err := s.authorize(ctx, tx, now, caller, action, u.ID, about); err != nil {
		return err
	}
	message := outbox.FactorAdded
	if action != addedFactor {
		message = outbox.FactorRemoved
	}
	data := map[string]string{"factor": string(kind)}
	if name != "" {
		data["name"] = name
	}
	if err := s.tell(ctx, tx, now, u, message, originOf(caller, now), data); err != nil {
		return err
	}
	if err := dropTokens(ctx, tx, u.ID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteEmailChange, u.ID); err != nil { // whose link has just ended could be sent anew
		return err
	}
	keep := ""
	if caller.Kind == User && caller.UserID == u.ID {
		keep = caller.SessionID
	}
	_, err := endSessionsOf(ctx, tx, now, u.ID, keep)
	return err
}

// removeOwn takes a factor off the caller's own account. The last way in stays,
// and so does the last factor of who must have one.
func (s *Service) removeOwn(ctx context.Context, caller Caller, kind FactorKind, name, sql string, args ...any) error {
	now := s.now()
	return s.changeFactors(ctx, caller, now, func(tx *db.Tx, u userRow) error {
		if err := s.removeFactor(ctx, tx, now, u, sql, args...); err != nil {
			return err
		}
		left, err := userByID(ctx, tx, u.ID)
		if err != nil {
			return err
		}
		switch {
		case !left.factors.any() && s.mustHaveFactor(u):
			return refuse(Conflict, CodeLastFactor)
		case !hasWayIn(left):
			return refuse(Conflict, CodeLastWayIn)
		}
		return s.factorChanged(ctx, tx, now, caller, u, removedFactor, kind, name)
	})
}

// removeFactor deletes one ($1 is the user), and the recovery codes with the last.
func (s *Service) removeFactor(ctx context.Context, tx *db.Tx, now time.Time, u userRow, sql string, args ...any) error {
	n, err := tx.Exec(ctx, sql, append([]any{u.ID}, args...)...)
	if err != nil {
		return err
	}
	if n == 0 {
		return refuse(NotFound, CodeFactorNotFound)
	}
	if _, err := tx.Exec(ctx, recountFactors, u.ID, db.Micros(now)); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, deleteOrphanedCodes, u.ID)
	return err
}

// hasWayIn tells whether a user can still log in.
func hasWayIn(u userRow) bool {
	return u.passwordHash != "" || !u.emailVerifiedAt.IsZero() || !u.contactVerifiedAt.IsZero() || u.factors&hasPasskey != 0
}

// RemoveFactors takes factors off a user who has lost them, on an administrator's
// or operator's word: all of a kind, or all there are for "".
func (s *Service) RemoveFactors(ctx context.Context, caller Caller, userID string, kind FactorKind) error {
	if err := s.may(caller, clearFactors, userID); err != nil {
		return err
	}
	now := s.now()
	return s.revoke(ctx, userID, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			if err := s.freshCaller(ctx, tx, caller, now); err != nil {
				return err
			}
			u, err := queryUser(ctx, tx, lockUser, userID)
			if err != nil {
				return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
			}
			if caller.Kind == User && u.Role == RoleAdmin { // his own he removes as everybody does
				return refuse(Forbidden, CodeNotOverAdmins)
			}
			removed := false
			for _, k := range []struct {
				kind FactorKind
				sql  string
			}{{TOTP, deleteTOTP}, {Passkey, deletePasskeys}, {RecoveryCodes, deleteRecoveryCodes}} {
				if kind != "" && kind != k.kind {
					continue
				}
				n, err := tx.Exec(ctx, k.sql, u.ID)
				if err != nil {
					return err
				}
				removed = removed || n > 0
			}
			if !removed {
				return refuse(NotFound, CodeFactorNotFound)
			}
			if _, err := tx.Exec(ctx, recountFactors, u.ID, db.Micros(now)); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, deleteOrphanedCodes, u.ID); err != nil {
				return err
			}
			if kinds := u.factors.kinds(); kind == "" && len(kinds) > 0 {
				kind = kinds[0]
			}
			if kind == "" { // an app that was never confirmed, of which nobody need be told
				return s.authorize(ctx, tx, now, caller, clearFactors, u.ID, nil)
			}
			return s.factorChanged(ctx, tx, now, caller, u, clearFactors, kind, "")
		})
	})
}

// SetFactorRequired says whether a user must have a second factor, on an
// operator's word. He is asked for one at his next login.
func (s *Service) SetFactorRequired(ctx context.Context, caller Caller, userID string, required bool) error {
	sql := updateFactorFree
	if required {
		sql = updateFactorRequired
	}
	return s.administer(ctx, caller, setFactorRequired, userID, map[string]string{"required": map[bool]string{true: "yes", false: "no"}[required]}, sql, uint8(mustHave))
}

// fresh refuses a user whose last proof of identity is too old, or was too weak,
// for what he wants to do: who has second factors must have used one. A stolen
// token alone, or a password alone, must not be enough to take an account over.
func (s *Service) fresh(caller Caller, u userRow, now time.Time) error {
	if caller.Kind != User {
		return nil
	}
	proved, code := caller.AuthenticatedAt, CodeReauthenticationRequired
	if u.factors.any() {
		proved, code = caller.StrongAt, CodeSecondFactorProofRequired
	}
	age := now.Sub(proved)
	if age > ProofWindow || age < -clockSlack { // a proof of the future: the clock was set back
		return &Error{Kind: Forbidden, Fault: Fault{Code: code}, Factors: u.factors.kinds()}
	}
	return nil
}

// freshCaller is fresh for whoever acts upon another.
func (s *Service) freshCaller(ctx context.Context, q db.Querier, caller Caller, now time.Time) error {
	if caller.Kind != User {
		return nil
	}
	u, err := userByID(ctx, q, caller.UserID)
	if err != nil {
		return notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	return s.fresh(caller, u, now)
}
