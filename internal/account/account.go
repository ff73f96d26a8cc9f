// Package account holds the rules: who may have an account, how a person proves
// to be its owner, what a session is worth and how long, who may read and change
// what, and how many guesses anyone has. It decides; it speaks no HTTP.
//
// It owns the tables users, email_changes, sessions, session_changes,
// session_epoch, nodes, service_keys, throttle, tokens, requests, totp,
// recovery_codes, passkeys, idempotency and installation;
// nobody else reads or writes them.
//
//	account.go      Service; authorize: decide and record
//	caller.go       who asks
//	errors.go       refusals; messages.go their words
//	register.go     making an account; idempotency.go doing so once
//	login.go        from a proof to a session: what comes next
//	logincode.go    proof by a code or a link
//	token.go        single-use tokens: links and codes
//	request.go      what strangers ask to be sent
//	verify.go       proving an address or a number, and changing them
//	undo.go         taking a change of the address back
//	recover.go      when the password is gone
//	notice.go       what is written to whom
//	methods.go      how somebody has proved himself
//	factor.go       second factors; totp.go, recoverycode.go, passkey.go each kind;
//	                ceremony.go how passkeys answer, passkeylogin.go what for
//	secondfactor.go a login that needs one
//	session.go      issue, authenticate, revoke
//	livesessions.go what is known of sessions in memory; livetable.go the table;
//	                listen.go how it keeps up with others; node.go who they are;
//	                background.go what runs beside the requests
//	servicekey.go   keys of services, and what these may ask
//	password.go     policy, proof, change
//	user.go         read, change, disable, erase
//	email.go, username.go, confusable.go, phone.go
//	                what a name is, and when two are the same
//	throttle.go     budgets against guessing; device.go who is known;
//	                shed.go what is refused before it costs anything
//	outbox.go       what an operator sees and does of messages
//	janitor.go      what is over is swept away
//	installation.go what ties a database to its master key
package account

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/sync/singleflight"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/secret"
)

// Options are what a Service is built from. Every field is needed unless its
// comment says otherwise.
type Options struct {
	DB     *db.DB
	Keys   *secret.Keys
	Hasher *secret.Hasher
	Log    *slog.Logger
	Now    func() time.Time
	// Elapsed is a clock that only runs on, for holding refusals back; nil: none
	// is.
	Elapsed func() time.Duration
	Policy  Policy
	// Wake is called when a message was queued; it must not wait. Nil: nobody is told.
	Wake func()
}

// Policy is what an operator may decide.
type Policy struct {
	TokenLifetime           time.Duration
	TokenLifetimeRemembered time.Duration
	TokenIdle               time.Duration // 0: no idle limit
	PasswordMinLength       int           // code points
	PasswordBlocklist       bool          // refuse common passwords and those made of the account's own data
	UserTypes               []string      // the first is the default
	PhoneRegion             string        // ISO 3166, for numbers in local form
	Registration            RegistrationPolicy
	RequireVerified         bool           // no login before an address or a number is proven
	AttemptsPerAccount      int            // wrong passwords in a row before one has to wait
	AttemptsPerNetwork      int            // the same for a /24 or /64, over all accounts
	AttemptsRefill          time.Duration  // the first wait; later ones are 4, 9, 16 … times as long
	AttemptsMaxWait         time.Duration  // the longest
	AttemptsLimit           int            // wrong passwords in a row before the password is worth nothing from unknown devices
	DeviceLifetime          time.Duration  // for how long a login makes a device known
	RegistrationsPerNetwork int            // at once, from a /24 or /64
	RegistrationsRefill     time.Duration  // how long until it has one more
	SecondFactorLifetime    time.Duration  // of sessions with a second factor; 0: as of others
	SecondFactorIdle        time.Duration  // likewise
	RequiredFactor          []string       // roles that must have a second factor; "all" is everybody
	TrustDevices            time.Duration  // for how long a device may go without a second factor; 0: never
	PasskeyRPID             string         // the relying party: a domain; "": there are no passkeys
	PasskeyOrigins          []string       // whose pages may use them, as browsers name them
	PasskeyAAGUIDs          []string       // models that are taken, in canonical form; nil: any
	PasskeyRoots            *x509.CertPool // of makers whose attestation is taken; nil: none is asked for
	MessagesPerAddress      int            // messages that anybody may have sent to one address at once
	MessagesRefill          time.Duration  // how long until there may be one more
	AsksPerNetwork          int            // messages that strangers of a /24 or /64 may ask for at once
	NoticeSignIns           bool           // tell owners of sign-ins from devices that are not known
	Mail                    bool           // mail can be sent: newcomers are asked to confirm their address
	PublicURL               string         // that links in mails begin with; "" for none, and no links
	Zone                    *time.Location // of instants in mails; nil: UTC
	Language                string         // of mails to those whose language is not known
	FixedCode               string         // of a throwaway instance: what every code is; "" for real ones
	SessionMemory           int64          // bytes for sessions in memory
	OfflineChecks           time.Duration  // for how long a lone process checks tokens without its database
	// FirstUserID, if set, is the id of the first user to register: a throwaway
	// instance gives the one of the API's seed, so that its examples can be
	// replayed word for word.
	FirstUserID string
}

// RegistrationPolicy says who may make an account.
type RegistrationPolicy uint8

// The ways to register.
const (
	RegistrationClosed      RegistrationPolicy = iota // nobody but an operator makes accounts
	RegistrationOpen                                  // there is an account at once
	RegistrationVerifyFirst                           // there is none before the mail is answered
)

// RequireSecondFactor tells whether users of a role must have one.
func (p Policy) RequireSecondFactor(role string) bool {
	return slices.Contains(p.RequiredFactor, role) || slices.Contains(p.RequiredFactor, "all")
}

// ProofWindow is how long a proof of identity counts for what needs a recent one.
const ProofWindow = 15 * time.Minute

// Service is the rules over one database. Its methods are safe for concurrent
// use.
type Service struct {
	db      *db.DB
	keys    *secret.Keys
	hasher  *secret.Hasher
	log     *slog.Logger
	now     func() time.Time
	policy  Policy
	live    *liveSessions
	node    node
	metrics *Metrics
	elapsed func() time.Duration
	party   *webauthn.WebAuthn // nil: there are no passkeys

	serviceKeys serviceKeys
	readingKeys singleflight.Group
	empty       emptyBudgets
	entrance    chan struct{} // a place for each attempt that is looked up, before it is hashed
	requested   chan struct{} // somebody has asked for a message
	wake        func()        // the outbox has something to send
}

// New builds the service. Call [Service.Run] to keep it up to date with other
// processes on the same database.
func New(o Options) *Service {
	s := &Service{db: o.DB, keys: o.Keys, hasher: o.Hasher, log: o.Log, policy: o.Policy, metrics: newMetrics(o.Hasher), elapsed: o.Elapsed, entrance: make(chan struct{}, entranceSize), requested: make(chan struct{}, 1), wake: o.Wake}
	if s.wake == nil {
		s.wake = func() {}
	}
	s.now = func() time.Time { return o.Now().UTC().Truncate(time.Microsecond) }
	var err error
	if s.party, err = newRelyingParty(o.Policy, s.issuer()); err != nil { // settings are checked before: see config
		s.log.LogAttrs(context.Background(), slog.LevelError, "there are no passkeys", slog.String("error", err.Error()))
	}
	s.live = newLiveSessions(s.now(), o.Policy.SessionMemory)
	s.metrics.liveSessions(s.live)
	return s
}

// Now is the time by the service's clock.
func (s *Service) Now() time.Time { return s.now() }

// Action is what somebody wants to do with an account.
type Action string

// The actions that authorize decides on.
const (
	readUser          Action = "user.read"
	replaceUser       Action = "user.replaced" // PUT
	patchUser         Action = "user.patched"  // PATCH
	deleteUser        Action = "user.deleted"
	createUser        Action = "user.created" // by an operator
	setRole           Action = "user.role_set"
	disableUser       Action = "user.disabled"
	enableUser        Action = "user.enabled"
	listUsers         Action = "user.listed"
	manageSessions    Action = "session.listed"
	endSession        Action = "session.ended"
	endSessions       Action = "session.others_ended"
	changePassword    Action = "password.changed"
	proveAgain        Action = "session.renewed"
	logout            Action = "session.logged_out"
	register          Action = "user.registered"
	login             Action = "user.logged_in"
	loginFailed       Action = "user.login_failed"
	proofFailed       Action = "user.proof_failed"
	rehash            Action = "password.rehashed"
	unlockUser        Action = "user.unlocked"
	resetLimits       Action = "limits.reset"
	addKey            Action = "key.added"
	listKeys          Action = "key.listed"
	revokeKey         Action = "key.revoked"
	introspect        Action = "token.introspected"
	revokeToken       Action = "token.revoked"
	verifiedEmail     Action = "email.verified"
	changedEmail      Action = "email.changed"
	undidEmail        Action = "email.change_undone"
	verifiedPhone     Action = "phone.verified"
	codeFailed        Action = "code.failed"
	askedRecovery     Action = "recovery.requested"
	recovered         Action = "recovery.completed"
	issueRecovery     Action = "recovery.issued"
	askedCode         Action = "login_code.requested"
	sendCode          Action = "verification.requested"
	loginHeld         Action = "user.login_held" // something is outstanding
	listFactors       Action = "factor.listed"
	beginFactor       Action = "factor.begun"
	addedFactor       Action = "factor.added"
	removedFactor     Action = "factor.removed" // by its owner, or with the change of address that he undoes
	clearFactors      Action = "factor.cleared" // by an administrator
	renamedFactor     Action = "factor.renamed"
	factorFailed      Action = "factor.failed"
	recoveryCodeUsed  Action = "recovery_code.used"
	passkeyCopied     Action = "passkey.copied" // its counter has gone back
	setFactorRequired Action = "factor.required"
	listMessages      Action = "message.listed"
	revealMessage     Action = "message.revealed"
	retryMessage      Action = "message.retried"
	dropMessage       Action = "message.dropped"
)

// may decides. To somebody who may not even know of the target, it looks like
// one that does not exist.
func (s *Service) may(caller Caller, action Action, targetID string) error {
	switch caller.Kind {
	case Operator:
		return nil
	case User:
		if caller.UserID == targetID && selfMay(action) {
			return nil
		}
		if caller.Role == RoleAdmin && adminMay(action) {
			return nil
		}
		return refuse(NotFound, CodeUserNotFound)
	case Network:
		if action == readUser || action == replaceUser {
			return nil
		}
	case ServiceCaller:
		if serviceMay(caller.Scopes, action) {
			return nil
		}
		return refuse(Forbidden, CodeScopeMissing)
	case Anonymous:
	}
	return refuse(Unauthenticated, CodeTokenRequired)
}

// serviceMay: whoever was handed a token may end it, as anybody can who has it.
func serviceMay(scopes []Scope, a Action) bool {
	switch a {
	case introspect, revokeToken:
		return slices.Contains(scopes, ScopeIntrospect)
	default:
		return false
	}
}

func selfMay(a Action) bool {
	switch a {
	case readUser, replaceUser, patchUser, deleteUser, manageSessions, endSession, endSessions, changePassword, proveAgain, logout, sendCode, verifiedPhone,
		listFactors, beginFactor, addedFactor, renamedFactor, removedFactor:
		return true
	default:
		return false
	}
}

func adminMay(a Action) bool {
	switch a {
	case readUser, replaceUser, patchUser, deleteUser, issueRecovery, listFactors, clearFactors:
		return true
	default:
		return false
	}
}

// authorize decides and records, in the transaction of the change: where the
// entry cannot be written, the change does not happen.
func (s *Service) authorize(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, action Action, targetID string, data map[string]string) error {
	if err := s.may(caller, action, targetID); err != nil {
		return err
	}
	if err := confirm(ctx, tx, now, caller); err != nil {
		return err
	}
	return record(ctx, tx, now, caller, action, event.Success, targetID, data)
}

// confirm makes sure that a caller still is who he was when his token was
// checked: between that and the change lie the reading of a body and the hashing
// of a password, which he can draw out, and in which his session can end, his
// role go, his account be disabled. Writing to the row of the session keeps
// whoever wants to end it waiting until the change is committed.
func confirm(ctx context.Context, tx *db.Tx, now time.Time, caller Caller) error {
	if caller.Kind == ServiceCaller {
		var name string
		return notFoundIs(tx.QueryRow(ctx, selectKeyName, []any{caller.KeyID}, &name), refuse(Unauthenticated, CodeKeyInvalid))
	}
	if caller.Kind != User {
		return nil
	}
	n, err := tx.Exec(ctx, confirmSession, caller.tokenHash[:], caller.UserID, db.Micros(now), caller.Role)
	if err == nil && n == 0 {
		err = errTokenInvalid
	}
	return err
}

// record writes what happened by itself: a login is allowed to everyone, and
// its failure too is an entry.
func record(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, action Action, outcome event.Outcome, targetID string, data map[string]string) error {
	return event.Record(ctx, tx, now, event.Entry{
		Action: event.Action(action), Outcome: outcome,
		Actor:    event.Actor{Kind: caller.Kind.String(), ID: cmp.Or(caller.UserID, caller.KeyID)},
		TargetID: targetID, RequestID: caller.RequestID, Data: data,
		Personal: event.Personal{IP: caller.ip(), UserAgent: caller.UserAgent},
	})
}

// Ready tells whether the database answers.
func (s *Service) Ready(ctx context.Context) error { return s.db.Ping(ctx) }

// Secret is a password or a token: it never prints.
type Secret = secret.Text

// NewSecret wraps s.
func NewSecret(s string) Secret { return secret.NewText(s) }

// IsID tells whether s has the form of a user's or session's id.
func IsID(s string) bool { return secret.IsCanonicalUUID(s) }

// IsRole tells whether s has the form of a role.
func IsRole(s string) bool { return validRole(s) }

// Unavailable tells whether err means that the database cannot serve now.
func Unavailable(err error) bool { return errors.Is(err, db.ErrUnavailable) }

// notFoundIs replaces "no such row" by a refusal.
func notFoundIs(err error, refusal *Error) error {
	if errors.Is(err, db.ErrNotFound) {
		return refusal
	}
	return err
}
