package account

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
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
	Device    Device        // of a login
}

// Session is one login as its owner sees it.
type Session struct {
	ID              string
	UserID          string
	Role            string
	Remembered      bool
	CreatedAt       time.Time
	AuthenticatedAt time.Time // the last proof of identity
	StrongAt        time.Time // the last with a second factor; zero: there was none
	LastSeenAt      time.Time // to within a minute
	ExpiresAt       time.Time
	IdleExpiresAt   time.Time // zero where there is no idle limit
	IP              string
	UserAgent       string
	Methods         Methods
}

// maxSessions is how many sessions a user can have; the next one ends the
// oldest. Whoever knows a password could otherwise fill memory and disk.
const maxSessions = 100

// issued is a session that was just made or renewed, on its way into memory.
type issued struct {
	token      Token
	id         string
	entry      liveEntry
	ended      int64 // how many older ones it has displaced
	generation int64 // of memory, from before the transaction
}

// issue makes a session: the one place that does, whatever the way in. u is the
// user as of this transaction; before it, [Service.metOthers].
func (s *Service) issue(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, by Methods, remember bool) (issued, error) {
	lifetime := s.policy.TokenLifetime
	if remember {
		lifetime = s.policy.TokenLifetimeRemembered
	}
	us, strong := db.Micros(now), int64(0)
	if by.Strong() {
		strong = us
		if most := s.policy.SecondFactorLifetime; most > 0 {
			lifetime = min(lifetime, most)
		}
	}
	t := Token{Token: secret.NewSessionToken(), UserID: u.ID, ExpiresAt: now.Add(lifetime), Lifetime: lifetime}
	i := issued{token: t, id: secret.NewID()}
	hash := secret.HashOf(t.Token.Reveal())
	_, err := tx.Exec(ctx, insertSession, hash[:], i.id, u.ID, btoi(remember), us, us, us, db.Micros(t.ExpiresAt), caller.ip(), caller.UserAgent, int64(by), strong)
	if err != nil {
		return i, err
	}
	if i.entry, err = s.newEntry(hash, i.id, u.ID, u.Role, remember, us, us, us, db.Micros(t.ExpiresAt), int64(by), strong); err != nil {
		return i, err
	}
	i.ended, err = tx.Exec(ctx, deleteOldest, u.ID, maxSessions)
	if err == nil && i.ended > 0 {
		_, err = announce(ctx, tx, now, u.ID)
	}
	return i, err
}

// renewToken gives a session a new token after a new proof of identity. The old
// one ends with it: whoever planted or stole it is left behind (ASVS 7.2.4).
// Only inside [Service.revoke].
func (s *Service) renewToken(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, role string, by Methods) (issued, error) {
	i := issued{token: Token{Token: secret.NewSessionToken(), UserID: caller.UserID}, id: caller.SessionID}
	us := db.Micros(now)
	hash := secret.HashOf(i.token.Token.Reveal())
	var remembered, created, expires, methods, strong int64
	proved, latest := int64(0), int64(math.MaxInt64)
	if by&secondFactors != 0 { // together with what the session was begun with, it makes two
		proved = us
		if most := s.policy.SecondFactorLifetime; most > 0 {
			latest = us + most.Microseconds()
		}
	}
	err := tx.QueryRow(ctx, replaceToken, []any{hash[:], us, caller.tokenHash[:], int64(by), proved, latest}, &remembered, &created, &expires, &methods, &strong)
	if err != nil {
		return i, notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	i.token.ExpiresAt = db.Time(expires)
	i.token.Lifetime = i.token.ExpiresAt.Sub(now)
	i.entry, err = s.newEntry(hash, i.id, caller.UserID, role, remembered != 0, created, us, us, expires, methods, strong)
	return i, err
}

// keep takes a session that was committed into memory, where it is checked.
// Before that its token must not be told to anyone.
func (s *Service) keep(i *issued) {
	if i.ended > 0 {
		s.live.forget(i.token.UserID)
	}
	s.live.put(&i.entry, i.generation)
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
	e, ok, err := s.liveSession(ctx, now, &hash)
	if err != nil {
		return caller, Session{}, err
	}
	if !ok {
		return caller, Session{}, errTokenInvalid
	}
	se := s.session(&e)
	caller.Kind = User
	caller.UserID, caller.Role, caller.SessionID = se.UserID, se.Role, se.ID
	caller.AuthenticatedAt, caller.StrongAt, caller.tokenHash = se.AuthenticatedAt, se.StrongAt, hash
	return caller, se, nil
}

// Pass is what memory says of a token that is good: a [Session] for whoever
// writes it down at once, without texts to allocate.
type Pass struct {
	Role                                         string
	Methods                                      Methods
	Strong                                       int64 // the last proof with a second factor; 0: there was none
	Created, Authenticated, Expires, IdleExpires int64 // microseconds since 1970; IdleExpires is 0 where there is no idle limit

	session, user secret.UUID
}

// AppendSessionID appends the session's id to b.
func (p *Pass) AppendSessionID(b []byte) []byte { return p.session.Append(b) }

// AppendUserID appends the user's id to b.
func (p *Pass) AppendUserID(b []byte) []byte { return p.user.Append(b) }

// Peek is [Service.Authenticate] for a token whose session is in memory. It
// reads no database; where it tells false, only Authenticate knows why.
func (s *Service) Peek(token secret.Text) (p Pass, ok bool) {
	text := token.Reveal()
	if !secret.IsCanonicalUUID(text) {
		return p, false
	}
	hash := secret.HashOf(text)
	e, v := s.inMemory(s.now(), &hash)
	if v != live {
		return p, false
	}
	p = Pass{
		Role: s.live.table.roles.name(e.role), Methods: e.methods, Strong: e.strong, Created: e.created, Authenticated: e.authenticated, Expires: e.expires,
		session: e.id, user: e.user,
	}
	if idle := s.policy.idleOf(&e); idle > 0 {
		p.IdleExpires = e.seen + idle.Microseconds()
	}
	return p, true
}

// Alone tells whether no other process issues or ends sessions on the database:
// then a revocation here is one everywhere.
func (s *Service) Alone() bool { return s.live.alone.Load() }

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
	return s.revoke(ctx, caller.UserID, func() error {
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
			_, err = announce(ctx, tx, now, caller.UserID)
			return err
		})
	})
}

// EndOtherSessions ends all of the caller's sessions but the one that asks, and
// gives their number. No device of his is trusted any more, this one neither: which
// of them has a mark that somebody else has too, nobody knows.
func (s *Service) EndOtherSessions(ctx context.Context, caller Caller) (ended int64, err error) {
	if caller.Kind != User {
		return 0, refuse(Unauthenticated, CodeTokenRequired)
	}
	now := s.now()
	err = s.revoke(ctx, caller.UserID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if _, err := tx.Exec(ctx, endTrust, caller.UserID, db.Micros(now)); err != nil {
				return err
			}
			if ended, err = tx.Exec(ctx, deleteSessionsOf, caller.UserID, caller.SessionID); err != nil {
				return err
			}
			if ended == 0 {
				return confirm(ctx, tx, now, caller)
			}
			if err := s.authorize(ctx, tx, now, caller, endSessions, caller.UserID, nil); err != nil {
				return err
			}
			_, err = announce(ctx, tx, now, caller.UserID)
			return err
		})
	})
	return ended, err
}

// RevokeSessions ends every session of a user (or the one with sessionID, if
// given) on an operator's word, and gives their number. With all of them ends the
// trust in the user's devices.
func (s *Service) RevokeSessions(ctx context.Context, caller Caller, userID, sessionID string) (ended int64, err error) {
	if err := s.may(caller, endSessions, userID); err != nil {
		return 0, err
	}
	now := s.now()
	err = s.revoke(ctx, userID, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if sessionID == "" {
				ended, err = s.endAllSessions(ctx, tx, now, caller, userID)
				return err
			}
			if ended, err = tx.Exec(ctx, deleteSession, sessionID, userID); err != nil || ended == 0 {
				return err
			}
			if _, err = announce(ctx, tx, now, userID); err != nil {
				return err
			}
			return s.authorize(ctx, tx, now, caller, endSession, userID, map[string]string{"session_id": sessionID})
		})
	})
	return ended, err
}

func (s *Service) endAllSessions(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, userID string) (ended int64, err error) {
	known, err := tx.Exec(ctx, endTrust, userID, db.Micros(now))
	if err != nil || known == 0 {
		return 0, err
	}
	if ended, err = endSessionsOf(ctx, tx, now, userID, ""); err != nil {
		return 0, err
	}
	if ended == 0 {
		return 0, confirm(ctx, tx, now, caller)
	}
	return ended, s.authorize(ctx, tx, now, caller, endSessions, userID, nil)
}

// endSessionsOf ends all sessions of a user save one ("" for none), and tells
// other processes.
func endSessionsOf(ctx context.Context, tx *db.Tx, now time.Time, userID, exceptID string) (int64, error) {
	n, err := tx.Exec(ctx, deleteSessionsOf, userID, exceptID)
	if err == nil {
		_, err = announce(ctx, tx, now, userID)
	}
	return n, err
}

// announce tells every process on this database of a change: that it must forget
// what it knows of a user's sessions, or [aboutNodes], [aboutKeys]. The epoch is
// taken last in a transaction and its row stays locked until the commit: epochs
// become visible in their order.
func announce(ctx context.Context, tx *db.Tx, now time.Time, subject string) (epoch int64, err error) {
	if err := tx.QueryRow(ctx, nextEpoch, nil, &epoch); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, insertSessionChange, epoch, subject, db.Micros(now))
	return epoch, err
}

// revoke runs a change that ends sessions of a user, and lets the table in
// memory forget them before it returns: also after a fault, for a commit whose
// answer was lost may have happened. After a refusal nothing has happened, and
// many of them at once must not keep the table from being filled. On a new node it
// waits for [Service.metOthers]: who takes himself for alone lets gateways keep
// answers.
func (s *Service) revoke(ctx context.Context, userID string, change func() error) error {
	if err := s.metOthers(ctx); err != nil {
		return err
	}
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
		var ip, userAgent string
		e, err := s.scanSession(scan, &ip, &userAgent)
		if err != nil {
			return err
		}
		s.live.table.use(&e.hash, func(in *liveEntry) { e.seen = max(e.seen, in.seen) }) // memory knows better
		if e.valid(db.Micros(now), s.policy.idleOf(&e)) {
			se := s.session(&e)
			se.IP, se.UserAgent = ip, userAgent
			out = append(out, se)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, err
}

// ProofAgain is one proof of identity more, of one kind.
type ProofAgain struct {
	Password secret.Text
	Code     secret.Text // of an authenticator app, or a recovery code
	Passkey  []byte      // the answer of a passkey, in JSON
}

func (in ProofAgain) check(s *Service) error {
	broken := faults{}
	given := 0
	for _, yes := range []bool{in.Password.Reveal() != "", in.Code.Reveal() != "", in.Passkey != nil} {
		given += int(btoi(yes))
	}
	switch {
	case given == 0:
		broken.add("password", &Fault{Code: CodeRequired})
	case given > 1:
		broken.add("password", &Fault{Code: CodeOneProof})
	case in.Password.Reveal() != "":
		broken.add("password", s.checkSubmitted(in.Password))
	case in.Code.Reveal() != "" && !isCode(in.Code) && canonicalRecoveryCode(in.Code) == "":
		broken.add("code", &Fault{Code: CodeFactorCodeInvalid})
	}
	return broken.err(Invalid, CodeInvalidFields)
}

// Reauthenticate takes the caller's password, or one of his second factors, as a
// new proof of identity, and gives the session a new token. What asks for a second
// factor is not content with a password.
func (s *Service) Reauthenticate(ctx context.Context, caller Caller, in ProofAgain) (Token, error) {
	if caller.Kind != User {
		return Token{}, refuse(Unauthenticated, CodeTokenRequired)
	}
	if err := in.check(s); err != nil {
		return Token{}, err
	}
	now := s.now()
	p, err := s.proveAgain(ctx, now, caller, in)
	if err != nil {
		return Token{}, err
	}
	i, generation := issued{}, s.live.now()
	err = s.revoke(ctx, caller.UserID, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			u, by, err := s.use(ctx, tx, now, p)
			if err != nil {
				return err
			}
			about := map[string]string{"session_id": caller.SessionID, "by": strings.Join(by.Names(), " ")}
			if err := s.authorize(ctx, tx, now, caller, proveAgain, caller.UserID, about); err != nil {
				return err
			}
			if i, err = s.renewToken(ctx, tx, now, caller, u.Role, by&^ByTrustedDevice); err != nil {
				return err
			}
			_, err = announce(ctx, tx, now, caller.UserID)
			return err
		})
	})
	if err != nil {
		return Token{}, s.noteWrongFactor(ctx, now, caller, caller.UserID, in.Passkey, err)
	}
	i.generation = generation
	s.keep(&i)
	return i.token, nil
}

func (s *Service) proveAgain(ctx context.Context, now time.Time, caller Caller, in ProofAgain) (proof, error) {
	if in.Password.Reveal() != "" {
		return s.prove(ctx, caller, in.Password, "password")
	}
	a, err := s.takeFactorTry(ctx, now, caller, caller.UserID, in.Passkey != nil)
	if err != nil {
		return proof{}, err
	}
	return proof{userID: caller.UserID, attempt: a, check: func(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (Methods, error) {
		if a.closed {
			return 0, errWrongCode
		}
		c := ceremony{forPasskeyAgain, u.ID, caller.SessionID}
		return s.useFactor(ctx, tx, now, caller, u, SecondFactor{Code: in.Code, Passkey: in.Passkey}, c)
	}}, nil
}

// scanSession reads a row of [sessionColumns], with more columns behind them.
func (s *Service) scanSession(scan func(...any) error, more ...any) (liveEntry, error) {
	var hash []byte
	var id, user, role string
	var remembered, created, authenticated, seen, expires, methods, strong int64
	err := scan(append([]any{&hash, &id, &user, &role, &remembered, &created, &authenticated, &seen, &expires, &methods, &strong}, more...)...)
	if err != nil {
		return liveEntry{}, err
	}
	if len(hash) != len(secret.Hash{}) {
		return liveEntry{}, errors.New("stored token hash has another length")
	}
	return s.newEntry(secret.Hash(hash), id, user, role, remembered != 0, created, authenticated, seen, expires, methods, strong)
}

func (s *Service) newEntry(hash secret.Hash, id, user, role string, remembered bool, created, authenticated, seen, expires, methods, strong int64) (liveEntry, error) {
	e := liveEntry{
		hash: hash, role: s.live.table.roles.of(role), remembered: remembered, methods: Methods(methods), //nolint:gosec // we wrote it
		created: created, authenticated: authenticated, seen: seen, written: seen, expires: expires, strong: strong,
	}
	var ok, ok2 bool
	e.id, ok = secret.ParseUUID(id)
	if e.user, ok2 = secret.ParseUUID(user); !ok || !ok2 {
		return e, errors.New("stored session has no id, or no user")
	}
	return e, nil
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// recordLogin is the entry of a login, with the session that it gave and how its
// owner has proved himself.
func recordLogin(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, i issued, by Methods) error {
	data := map[string]string{"session_id": i.id, "by": strings.Join(by.Names(), " ")}
	if i.ended > 0 {
		data["sessions_ended"] = strconv.FormatInt(i.ended, 10)
	}
	return record(ctx, tx, now, caller, login, event.Success, i.token.UserID, data)
}
