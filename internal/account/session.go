package account

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

// Token is what a login gives: the bearer of it is the user.
type Token struct {
	Token     secret.Text
	UserID    string
	ExpiresAt time.Time
	Lifetime  time.Duration // from now to ExpiresAt
}

// Session is one login as its owner sees it.
type Session struct {
	ID              string
	UserID          string
	Role            string
	Remembered      bool
	CreatedAt       time.Time
	AuthenticatedAt time.Time // the last proof of identity
	LastSeenAt      time.Time // to within a minute
	ExpiresAt       time.Time
	IdleExpiresAt   time.Time // zero where there is no idle limit
	IP              string
	UserAgent       string

	ended int64 // how many older ones it has displaced
}

// maxSessions is how many sessions a user can have; the next one ends the
// oldest. Whoever knows a password could otherwise fill memory and disk.
const maxSessions = 100

// issue makes a session: the one place that does, whatever the way in.
func (s *Service) issue(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, userID string, remember bool) (Token, Session, error) {
	lifetime := s.policy.TokenLifetime
	if remember {
		lifetime = s.policy.TokenLifetimeRemembered
	}
	t := Token{Token: secret.NewSessionToken(), UserID: userID, ExpiresAt: now.Add(lifetime), Lifetime: lifetime}
	se := Session{
		ID: secret.NewID(), UserID: userID, Remembered: remember, CreatedAt: now, AuthenticatedAt: now,
		LastSeenAt: now, ExpiresAt: t.ExpiresAt, IP: caller.ip(), UserAgent: caller.UserAgent,
	}
	hash := secret.HashOf(t.Token.Reveal())
	_, err := tx.Exec(ctx, insertSession, hash[:], se.ID, userID, btoi(remember), db.Micros(now), db.Micros(now),
		db.Micros(now), db.Micros(t.ExpiresAt), se.IP, se.UserAgent)
	if err != nil {
		return t, se, err
	}
	se.ended, err = tx.Exec(ctx, deleteOldest, userID, maxSessions)
	if err == nil && se.ended > 0 {
		err = announce(ctx, tx, now, userID)
	}
	return t, se, err
}

// renewToken gives a session a new token after a new proof of identity. The old
// one ends with it: whoever planted or stole it is left behind (ASVS 7.2.4).
func (s *Service) renewToken(ctx context.Context, tx *db.Tx, now time.Time, caller Caller) (Token, error) {
	t := Token{Token: secret.NewSessionToken(), UserID: caller.UserID}
	hash := secret.HashOf(t.Token.Reveal())
	var expires int64
	err := tx.QueryRow(ctx, replaceToken, []any{hash[:], db.Micros(now), caller.tokenHash[:]}, &expires)
	if err != nil {
		return Token{}, notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	t.ExpiresAt = db.Time(expires)
	t.Lifetime = t.ExpiresAt.Sub(now)
	return t, nil
}

// Authenticate finds out whose token it is. It gives the caller completed with
// what the session says, and the session. An unknown, expired or revoked token,
// and any spelling but the canonical one, is refused with the same words. Where
// that cannot be known now, the error is not a refusal.
func (s *Service) Authenticate(ctx context.Context, token secret.Text, caller Caller) (Caller, Session, error) {
	if !secret.IsCanonicalUUID(token.Reveal()) {
		return caller, Session{}, errTokenInvalid
	}
	now := s.now()
	hash := secret.HashOf(token.Reveal())
	ls, err := s.liveSession(ctx, now, hash)
	if err != nil {
		return caller, Session{}, err
	}
	if ls == nil {
		return caller, Session{}, errTokenInvalid
	}
	if !ls.valid(now, s.policy.TokenIdle) {
		s.expire(ctx, now, ls)
		return caller, Session{}, errTokenInvalid
	}
	ls.touch(now)
	caller.Kind = User
	caller.UserID, caller.Role, caller.SessionID = ls.UserID, ls.Role, ls.ID
	caller.AuthenticatedAt, caller.tokenHash = ls.AuthenticatedAt, hash
	return caller, ls.seen(s.policy.TokenIdle), nil
}

// Peek is [Service.Authenticate] for a token whose session is in memory. It
// reads no database; where it tells false, only Authenticate knows why.
func (s *Service) Peek(token secret.Text) (Session, bool) {
	if !secret.IsCanonicalUUID(token.Reveal()) {
		return Session{}, false
	}
	now := s.now()
	ls := s.inMemory(now, secret.HashOf(token.Reveal()))
	if ls == nil {
		return Session{}, false
	}
	ls.touch(now)
	return ls.seen(s.policy.TokenIdle), true
}

// expire takes away a session whose end was seen: a clock that is set back must
// not bring it to life again. Where that cannot be written now, it is left to
// [Service.Sweep].
func (s *Service) expire(ctx context.Context, now time.Time, ls *liveSession) {
	ls.stale.Store(true)
	var unusedSince time.Time // longer ago than any use
	if idle := s.policy.TokenIdle; idle > 0 {
		unusedSince = now.Add(-idle)
	}
	_, _ = s.db.Exec(ctx, deleteExpired, ls.hash[:], db.Micros(now), db.Micros(unusedSince))
}

// errTokenInvalid is one value, since a flood of bad tokens makes it often.
var errTokenInvalid error = refuse(Unauthenticated, CodeTokenInvalid)

// Logout ends the caller's own session.
func (s *Service) Logout(ctx context.Context, caller Caller) error {
	return s.endOwn(ctx, caller, logout, caller.SessionID)
}

// EndSession ends one of the caller's sessions by its id.
func (s *Service) EndSession(ctx context.Context, caller Caller, sessionID string) error {
	return s.endOwn(ctx, caller, endSession, sessionID)
}

func (s *Service) endOwn(ctx context.Context, caller Caller, action Action, sessionID string) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	if !IsID(sessionID) {
		return refuse(NotFound, CodeSessionNotFound)
	}
	now := s.now()
	return s.revoke(caller.UserID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if err := s.authorize(ctx, tx, now, caller, action, caller.UserID, map[string]string{"session_id": sessionID}); err != nil {
				return err
			}
			n, err := tx.Exec(ctx, deleteSession, sessionID, caller.UserID)
			if err != nil {
				return err
			}
			if n == 0 {
				return refuse(NotFound, CodeSessionNotFound)
			}
			return announce(ctx, tx, now, caller.UserID)
		})
	})
}

// EndOtherSessions ends all of the caller's sessions but the one that asks, and
// gives their number.
func (s *Service) EndOtherSessions(ctx context.Context, caller Caller) (ended int64, err error) {
	if caller.Kind != User {
		return 0, refuse(Unauthenticated, CodeTokenRequired)
	}
	now := s.now()
	err = s.revoke(caller.UserID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if ended, err = tx.Exec(ctx, deleteSessionsOf, caller.UserID, caller.SessionID); err != nil || ended == 0 {
				return err
			}
			if err := s.authorize(ctx, tx, now, caller, endSessions, caller.UserID, nil); err != nil {
				return err
			}
			return announce(ctx, tx, now, caller.UserID)
		})
	})
	return ended, err
}

// RevokeSessions ends every session of a user (or the one with sessionID, if
// given) on an operator's word, and gives their number.
func (s *Service) RevokeSessions(ctx context.Context, caller Caller, userID, sessionID string) (ended int64, err error) {
	if err := s.may(caller, endSessions, userID); err != nil {
		return 0, err
	}
	now := s.now()
	err = s.revoke(userID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			action, data := endSessions, map[string]string(nil)
			if sessionID != "" {
				action, data = endSession, map[string]string{"session_id": sessionID}
				if ended, err = tx.Exec(ctx, deleteSession, sessionID, userID); err != nil {
					return err
				}
				err = announce(ctx, tx, now, userID)
			} else {
				ended, err = endSessionsOf(ctx, tx, now, userID, "")
			}
			if err != nil || ended == 0 {
				return err
			}
			return s.authorize(ctx, tx, now, caller, action, userID, data)
		})
	})
	return ended, err
}

// endSessionsOf ends all sessions of a user save one ("" for none), and tells
// other processes.
func endSessionsOf(ctx context.Context, tx *db.Tx, now time.Time, userID, exceptID string) (int64, error) {
	n, err := tx.Exec(ctx, deleteSessionsOf, userID, exceptID)
	if err != nil {
		return 0, err
	}
	return n, announce(ctx, tx, now, userID)
}

// announce tells every process on this database to forget what it knows of the
// user's sessions. The epoch is taken last in a transaction and its row stays
// locked until the commit: epochs become visible in their order.
func announce(ctx context.Context, tx *db.Tx, now time.Time, userID string) error {
	var epoch int64
	if err := tx.QueryRow(ctx, nextEpoch, nil, &epoch); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertSessionChange, epoch, userID, db.Micros(now))
	return err
}

// revoke runs a change that ends sessions of a user, and lets the table in
// memory forget them before it returns: also after a fault, for a commit whose
// answer was lost may have happened. After a refusal nothing has happened, and
// many of them at once must not keep the table from being filled.
func (s *Service) revoke(userID string, change func() error) error {
	nothing := false
	defer func() {
		if !nothing {
			s.live.forget(userID)
		}
	}()
	err := change()
	var refusal *Error
	nothing = errors.As(err, &refusal)
	return err
}

// Sessions lists the live sessions of the caller himself, the newest first.
func (s *Service) Sessions(ctx context.Context, caller Caller) ([]Session, error) {
	if caller.Kind != User {
		return nil, refuse(Unauthenticated, CodeTokenRequired)
	}
	return s.SessionsOf(ctx, caller, caller.UserID)
}

// SessionsOf lists the live sessions of a user, the newest first.
func (s *Service) SessionsOf(ctx context.Context, caller Caller, userID string) ([]Session, error) {
	if err := s.may(caller, manageSessions, userID); err != nil {
		return nil, err
	}
	now := s.now()
	var out []Session
	err := s.db.Query(ctx, selectSessionsOf, []any{userID}, func(scan func(...any) error) error {
		ls, err := scanSession(scan)
		if err != nil {
			return err
		}
		s.live.lastSeen(ls)
		if ls.valid(now, s.policy.TokenIdle) {
			out = append(out, ls.seen(s.policy.TokenIdle))
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, err
}

// Reauthenticate takes the caller's password as a new proof of identity, and
// gives the session a new token.
func (s *Service) Reauthenticate(ctx context.Context, caller Caller, password secret.Text) (Token, error) {
	if caller.Kind != User {
		return Token{}, refuse(Unauthenticated, CodeTokenRequired)
	}
	if fault := s.checkSubmitted(password); fault != nil {
		return Token{}, &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"password": *fault}}
	}
	proof, err := s.prove(ctx, caller, password, "password")
	if err != nil {
		return Token{}, err
	}
	now := s.now()
	var t Token
	err = s.revoke(caller.UserID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if err := proof.use(ctx, tx, now); err != nil {
				return err
			}
			if err := s.authorize(ctx, tx, now, caller, proveAgain, caller.UserID, map[string]string{"session_id": caller.SessionID}); err != nil {
				return err
			}
			if t, err = s.renewToken(ctx, tx, now, caller); err != nil {
				return err
			}
			return announce(ctx, tx, now, caller.UserID)
		})
	})
	return t, err
}

func scanSession(scan func(...any) error) (*liveSession, error) {
	var ls liveSession
	var hash []byte
	var remembered, created, authenticated, seen, expires int64
	err := scan(&hash, &ls.ID, &ls.UserID, &ls.Role, &remembered, &created, &authenticated, &seen, &expires, &ls.IP, &ls.UserAgent)
	if err != nil {
		return nil, err
	}
	if len(hash) != len(ls.hash) {
		return nil, errors.New("stored token hash has another length")
	}
	copy(ls.hash[:], hash)
	ls.Remembered = remembered != 0
	ls.CreatedAt, ls.AuthenticatedAt, ls.ExpiresAt = db.Time(created), db.Time(authenticated), db.Time(expires)
	ls.lastSeen.Store(seen)
	ls.written.Store(seen)
	return &ls, nil
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// recordLogin is the entry of a login, with the session that it gave.
func recordLogin(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, se Session) error {
	data := map[string]string{"session_id": se.ID}
	if se.ended > 0 {
		data["sessions_ended"] = strconv.FormatInt(se.ended, 10)
	}
	return record(ctx, tx, now, caller, login, event.Success, se.UserID, data)
}
