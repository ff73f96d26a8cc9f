package account

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// Roles that mean something here. Others are data.
const (
	RoleNotVerified = "Not_Verifyed" // the spelling of the API's seed
	RoleVerified    = "Verified"
	RoleAdmin       = "Admin"
)

// emailChangeLifetime is how long a new address may take to be proven: as long as
// the link that was sent to it lives, whenever that was.
const emailChangeLifetime = sentWithin + verifyLifetime

// UserData is a user as others see it.
type UserData struct {
	ID            string
	Email         string
	UserType      string
	Username      string
	ContactNumber string // "" where there is none
	Role          string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Version       int64 // counts changes
	Disabled      bool
}

// User gives the data of one user.
func (s *Service) User(ctx context.Context, caller Caller, id string) (UserData, error) {
	if err := s.may(caller, readUser, id); err != nil {
		return UserData{}, err
	}
	u, err := userByID(ctx, s.db, id)
	if err != nil {
		return UserData{}, notFoundIs(err, refuse(NotFound, CodeUserNotFound))
	}
	return u.data(), nil
}

// Field is a value that may be left out.
type Field[T any] struct {
	Set   bool
	Value T
}

// Given is a field that is not left out.
func Given[T any](v T) Field[T] { return Field[T]{Set: true, Value: v} }

// UserChange is what is to become of a user. What is not set stays as it is.
type UserChange struct {
	UserType      Field[string] // "": the default
	Username      Field[string]
	Email         Field[string]
	ContactNumber Field[string] // "": none
	Password      Field[secret.Text]
	// CurrentPassword of the caller proves anew who he is, for changing password
	// or e-mail address.
	CurrentPassword Field[secret.Text]
	// ReadOnly fields may come along if they equal the present values, so that
	// what was read can be written back. The function compares one of them.
	ReadOnly map[string]func(present UserData) bool
	// IfVersion, if not nil, accepts the version that the change is meant for.
	IfVersion func(version int64) bool
}

// ReplaceUser changes a user to what a whole document says (PUT).
func (s *Service) ReplaceUser(ctx context.Context, caller Caller, id string, c UserChange) error {
	return s.changeUser(ctx, caller, replaceUser, id, c)
}

// PatchUser changes single fields of a user (PATCH).
func (s *Service) PatchUser(ctx context.Context, caller Caller, id string, c UserChange) error {
	return s.changeUser(ctx, caller, patchUser, id, c)
}

// errChanged: somebody else changed the row between our reading and writing.
var errChanged = errors.New("the user changed meanwhile")

func (s *Service) changeUser(ctx context.Context, caller Caller, action Action, id string, c UserChange) error {
	if err := s.may(caller, action, id); err != nil {
		return err
	}
	w := userWrite{UserChange: c, action: action}
	for range 5 {
		err := s.tryChange(ctx, caller, id, &w)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
	return &Error{Kind: Overloaded, Fault: Fault{Code: CodeOverloaded}, RetryAfter: time.Second}
}

// userWrite is a change on its way, with what is paid for once though the
// writing may have to be tried again.
type userWrite struct {
	UserChange
	action Action
	proof  *proof
	phc    string
}

func (s *Service) tryChange(ctx context.Context, caller Caller, id string, w *userWrite) error {
	u, err := userByID(ctx, s.db, id)
	if err != nil {
		return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
	}
	if w.IfVersion != nil && !w.IfVersion(u.version) {
		return refuse(Precondition, CodePreconditionFailed)
	}
	p, err := s.checkChange(u, w)
	if err != nil {
		return err
	}
	if w.Password.Set || !sameMailbox(p.email.address, u.Email) || p.phone != u.ContactNumber {
		if err := s.proveForChange(ctx, caller, u, w); err != nil {
			return err
		}
	}
	if err := checkFree(ctx, s.db, u.ID, p); err != nil {
		return err
	}
	if w.Password.Set && w.phc == "" {
		if w.phc, err = s.hash(ctx, hashingFor(caller, id, caller.Kind == User), w.Password.Value); err != nil {
			return err
		}
	}
	return s.writeChange(ctx, caller, u, p, w)
}

// checkChange gives the profile that is to be, or every broken field.
func (s *Service) checkChange(u userRow, w *userWrite) (profile, error) {
	or := func(f Field[string], present string) string {
		if f.Set {
			return f.Value
		}
		return present
	}
	broken := faults{}
	p := s.checkProfile(broken, or(w.UserType, u.UserType), or(w.Username, u.Username), or(w.Email, u.Email), or(w.ContactNumber, u.ContactNumber))
	if w.Password.Set {
		broken.add("password", s.checkPassword(w.Password.Value, p.words()))
	}
	if w.CurrentPassword.Set {
		broken.add("current_password", s.checkSubmitted(w.CurrentPassword.Value))
	}
	for field, equal := range w.ReadOnly {
		if !equal(u.data()) {
			broken.add(field, &Fault{Code: CodeReadOnlyField})
		}
	}
	return p, broken.err(Invalid, CodeInvalidFields)
}

// proveForChange: a password, an address or a number, by each of which one can log
// in, changes only for somebody who proved himself lately, or does so now.
func (s *Service) proveForChange(ctx context.Context, caller Caller, u userRow, w *userWrite) error {
	if caller.Kind != User || w.proof != nil {
		return nil
	}
	me := u // whose proof it is, whoever is changed
	if caller.UserID != u.ID {
		var err error
		if me, err = userByID(ctx, s.db, caller.UserID); err != nil {
			return notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
		}
	}
	if !w.CurrentPassword.Set || me.factors.any() {
		if err := s.fresh(caller, me, s.now()); err != nil || !w.CurrentPassword.Set {
			return err
		}
	}
	proof, err := s.prove(ctx, caller, w.CurrentPassword.Value, "current_password")
	if err == nil {
		w.proof = &proof
	}
	return err
}

func (s *Service) writeChange(ctx context.Context, caller Caller, u userRow, p profile, w *userWrite) error {
	now := s.now()
	next := u
	next.set(p)
	pending := !sameMailbox(p.email.address, u.Email) && !u.emailVerifiedAt.IsZero()
	if pending { // a proven address gives way only to a proven one
		next.Email, next.emailKey = u.Email, u.emailKey
	}
	if next.ContactNumber != u.ContactNumber {
		next.contactVerifiedAt = time.Time{}
	}
	if next.Role == RoleVerified && next.emailVerifiedAt.IsZero() && next.contactVerifiedAt.IsZero() {
		next.Role = RoleNotVerified // what made him more is gone
	}
	if w.Password.Set {
		next.passwordHash, next.passwordChangedAt = w.phc, now
	}
	changed := changedFields(u, next)
	// Who names the present address does not want another: not with a whole document,
	// which may have been read while one was waiting.
	stays := w.action == patchUser && w.Email.Set && !pending
	if len(changed) == 0 && !pending {
		return s.changeNothing(ctx, now, caller, u, w, stays)
	}
	next.version, next.UpdatedAt = u.version+1, now
	write := func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			if w.proof != nil {
				if _, _, err := s.use(ctx, tx, now, *w.proof); err != nil {
					return err
				}
			}
			if err := s.update(ctx, tx, u.version, next); err != nil {
				return err
			}
			data := map[string]string{"fields": strings.Join(changed, " ")}
			if pending {
				data["email_change"] = "pending"
			}
			if stays {
				n, err := dropEmailChange(ctx, tx, u.ID)
				if err != nil {
					return err
				}
				if n > 0 {
					data["email_change"] = "cancelled"
				}
			}
			if err := s.authorize(ctx, tx, now, caller, w.action, u.ID, data); err != nil {
				return err
			}
			if next.Role != u.Role { // after authorize, which wants the caller's role to be what it was
				if _, err := tx.Exec(ctx, unverifyUser, u.ID, next.Role); err != nil {
					return err
				}
				if _, err := announce(ctx, tx, now, u.ID); err != nil {
					return err
				}
			}
			if w.Password.Set {
				if err := s.passwordChanged(ctx, tx, now, caller, u); err != nil {
					return err
				}
			}
			if pending {
				return s.askForEmail(ctx, tx, now, caller, u, p.email)
			}
			return nil
		})
	}
	if w.Password.Set || next.Role != u.Role {
		return s.revoke(ctx, u.ID, write)
	}
	return write()
}

// changeNothing is for a document that says what is so already. The attempt is given
// back where the right password came with it, and a change of the address that
// waits is over where it names the present one.
func (s *Service) changeNothing(ctx context.Context, now time.Time, caller Caller, u userRow, w *userWrite, stays bool) error {
	if w.proof == nil && !stays {
		return nil
	}
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		if w.proof != nil {
			if _, _, err := s.use(ctx, tx, now, *w.proof); err != nil {
				return err
			}
		}
		if !stays {
			return nil
		}
		n, err := dropEmailChange(ctx, tx, u.ID)
		if err != nil || n == 0 {
			return err
		}
		return s.authorize(ctx, tx, now, caller, w.action, u.ID, map[string]string{"fields": "", "email_change": "cancelled"})
	})
}

// dropEmailChange ends a change of the address that waits, with what was sent for it.
func dropEmailChange(ctx context.Context, tx *db.Tx, userID string) (int64, error) {
	n, err := tx.Exec(ctx, deleteEmailChange, userID)
	if err != nil || n == 0 {
		return 0, err
	}
	_, err = tx.Exec(ctx, deleteTokensFor, userID, string(forChangeEmail))
	return n, err
}

// sameMailbox tells whether two spellings differ in nothing but the case of
// ASCII letters. That is narrower than having the same key: "straße" and
// "strasse" are one key, so that nobody registers beside the other, but two
// mailboxes, and the proof of one is none of the other.
func sameMailbox(a, b string) bool {
	lower := func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	return strings.Map(lower, a) == strings.Map(lower, b)
}

func changedFields(a, b userRow) (names []string) {
	for name, same := range map[string]bool{
		"email": a.Email == b.Email, "username": a.Username == b.Username, "user_type": a.UserType == b.UserType,
		"contact_number": a.ContactNumber == b.ContactNumber, "password": a.passwordHash == b.passwordHash,
	} {
		if !same {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// askForEmail notes the address that is to be proven, asks it, and tells the
// present one.
func (s *Service) askForEmail(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, e email) error {
	n, err := tx.Exec(ctx, upsertEmailChange, u.ID, e.address, e.key, db.Micros(now), db.Micros(now.Add(emailChangeLifetime)))
	if err != nil || n == 0 { // the same address waits already: nobody is told twice
		return err
	}
	r := request{Purpose: forChangeEmail, Language: caller.Language, Origin: originOf(caller, now)}
	for _, m := range caller.Devices {
		r.Marks = append(r.Marks, m.Reveal())
	}
	// Anybody's address can be asked for, again and again.
	if err := s.writeOrRefuse(ctx, tx, now, u, e.address, r); err != nil {
		return err
	}
	if err := s.tell(ctx, tx, now, u, outbox.EmailChangeRequested, r.Origin, nil); err != nil {
		return err
	}
	return s.sendLink(ctx, tx, now, u, singleUse{purpose: forChangeEmail, holder: u.ID, address: e.address}, pageVerify, outbox.EmailChangeConfirm, r)
}

// DeleteUser erases a user and everything that is his. The trail keeps the
// entries, without personal data.
func (s *Service) DeleteUser(ctx context.Context, caller Caller, id string, ifVersion func(int64) bool) error {
	if err := s.may(caller, deleteUser, id); err != nil {
		return err
	}
	now := s.now()
	if err := s.freshCaller(ctx, s.db, caller, now); err != nil {
		return err
	}
	return s.revoke(ctx, id, func() error {
		return s.db.Tx(ctx, func(tx *db.Tx) error {
			if err := s.authorize(ctx, tx, now, caller, deleteUser, id, nil); err != nil {
				return err
			}
			var version int64
			if err := tx.QueryRow(ctx, eraseUser, []any{id}, &version); err != nil {
				return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
			}
			if ifVersion != nil && !ifVersion(version) {
				return refuse(Precondition, CodePreconditionFailed) // and nothing is erased: the transaction ends here
			}
			if err := s.forgive(ctx, tx, id); err != nil {
				return err
			}
			for _, sql := range []string{deleteEmailChange, deleteIdempotencyOf, deleteTOTP, deleteRecoveryCodes, deletePasskeys} {
				if _, err := tx.Exec(ctx, sql, id); err != nil {
					return err
				}
			}
			if err := outbox.Forget(ctx, tx, id); err != nil {
				return err
			}
			if err := dropAllTokens(ctx, tx, id); err != nil {
				return err
			}
			if err := event.Erase(ctx, tx, id); err != nil {
				return err
			}
			_, err := endSessionsOf(ctx, tx, now, id, "")
			return err
		})
	})
}

// CreateUser makes an account on an operator's word: with any role, and with an
// address that counts as proven if he says so.
func (s *Service) CreateUser(ctx context.Context, caller Caller, in Registration, role string, verified bool) (string, error) {
	if err := s.may(caller, createUser, ""); err != nil {
		return "", err
	}
	if role == "" {
		role = RoleNotVerified
		if verified {
			role = RoleVerified
		}
	}
	if !validRole(role) {
		return "", &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"user_role": {Code: CodeRoleInvalid}}}
	}
	now := s.now()
	u, err := s.newUser(ctx, now, caller, in, false)
	if err != nil {
		return "", err
	}
	u.Role = role
	if verified {
		u.emailVerifiedAt = now
	}
	return u.ID, s.db.Tx(ctx, func(tx *db.Tx) error {
		if err := s.insert(ctx, tx, u); err != nil {
			return err
		}
		return s.authorize(ctx, tx, now, caller, createUser, u.ID, map[string]string{"role": role})
	})
}

// validRole: a role is a word of letters, digits, '-' and '_'.
func validRole(role string) bool {
	return role != "" && len(role) <= 64 && strings.IndexFunc(role, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// SetRole gives a user another role. Nobody gives one to himself.
func (s *Service) SetRole(ctx context.Context, caller Caller, id, role string) error {
	if !validRole(role) {
		return refuse(Invalid, CodeRoleInvalid)
	}
	return s.administer(ctx, caller, setRole, id, map[string]string{"role": role}, updateRole, role)
}

// DisableUser shuts a user out: every session ends, and no login works until
// [Service.EnableUser].
func (s *Service) DisableUser(ctx context.Context, caller Caller, id string) error {
	return s.administer(ctx, caller, disableUser, id, nil, updateDisabled, db.Micros(s.now()))
}

// EnableUser lets a disabled user in again. Old sessions stay ended.
func (s *Service) EnableUser(ctx context.Context, caller Caller, id string) error {
	return s.administer(ctx, caller, enableUser, id, nil, updateEnabled)
}

// UnlockUser forgets the failures at a user's password.
func (s *Service) UnlockUser(ctx context.Context, caller Caller, id string) error {
	if err := s.may(caller, unlockUser, id); err != nil {
		return err
	}
	now := s.now()
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := userByID(ctx, tx, id); err != nil {
			return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
		}
		if err := s.forgive(ctx, tx, id); err != nil {
			return err
		}
		return s.authorize(ctx, tx, now, caller, unlockUser, id, nil)
	})
}

// administer runs one statement on a user: $1 id, $2 now, then args. A
// statement that finds nothing to change is no change, and leaves no entry.
func (s *Service) administer(ctx context.Context, caller Caller, action Action, id string, data map[string]string, sql string, args ...any) error {
	if err := s.may(caller, action, id); err != nil {
		return err
	}
	now := s.now()
	return s.revoke(ctx, id, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			n, err := tx.Exec(ctx, sql, append([]any{id, db.Micros(now)}, args...)...)
			if err != nil {
				return err
			}
			if n == 0 {
				_, err := queryUser(ctx, tx, selectUserByID, id)
				return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
			}
			if err := s.authorize(ctx, tx, now, caller, action, id, data); err != nil {
				return err
			}
			switch action {
			case disableUser:
				return s.shutOut(ctx, tx, now, id)
			case setRole:
				if err := s.endWeakSessions(ctx, tx, id); err != nil {
					return err
				}
			}
			_, err = announce(ctx, tx, now, id) // what sessions say of the user is read anew
			return err
		})
	})
}

// endWeakSessions ends those of a user's sessions that were begun without a second
// factor, where his role, a new one, must have one: a promotion is no way around it.
func (s *Service) endWeakSessions(ctx context.Context, tx *db.Tx, id string) error {
	u, err := userByID(ctx, tx, id)
	if err != nil || !s.policy.RequireSecondFactor(u.Role) {
		return err
	}
	_, err = tx.Exec(ctx, deleteWeakSessions, id)
	return err
}

// shutOut ends what a disabled user has, and tells him.
func (s *Service) shutOut(ctx context.Context, tx *db.Tx, now time.Time, id string) error {
	u, err := userByID(ctx, tx, id)
	if err != nil {
		return err
	}
	if err := s.tell(ctx, tx, now, u, outbox.AccountDisabled, origin{At: now}, nil); err != nil {
		return err
	}
	if err := dropAllTokens(ctx, tx, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteEmailChange, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, endTrust, id, db.Micros(now)); err != nil {
		return err
	}
	_, err = endSessionsOf(ctx, tx, now, id, "")
	return err
}

// FindUser finds a user by id, e-mail address or name, for an operator.
func (s *Service) FindUser(ctx context.Context, caller Caller, ref string) (UserData, error) {
	if err := s.may(caller, listUsers, ""); err != nil {
		return UserData{}, err
	}
	if secret.IsCanonicalUUID(ref) {
		return s.User(ctx, caller, ref)
	}
	u, _, err := s.userByLogin(ctx, s.db, ref)
	if err == nil && u.ID == "" {
		err = refuse(NotFound, CodeUserNotFound)
	}
	return u.data(), err
}

// Users lists users in the order of their creation, at most limit, after the
// given one ("" for the first page).
func (s *Service) Users(ctx context.Context, caller Caller, afterID string, limit int) ([]UserData, error) {
	if err := s.may(caller, listUsers, ""); err != nil {
		return nil, err
	}
	var from int64
	if afterID != "" {
		u, err := userByID(ctx, s.db, afterID)
		if err != nil {
			return nil, notFoundIs(err, refuse(NotFound, CodeUserNotFound))
		}
		from = db.Micros(u.CreatedAt)
	}
	var out []UserData
	err := s.db.Query(ctx, selectUsers, []any{from, afterID, limit}, func(scan func(...any) error) error {
		u, err := scanUser(scan)
		out = append(out, u.data())
		return err
	})
	return out, err
}

// ETag names a version of a user (RFC 9110, section 8.8.3).
func (u UserData) ETag() string { return `"` + strconv.FormatInt(u.Version, 10) + `"` }
