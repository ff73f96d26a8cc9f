package account

import (
	"context"
	"database/sql"
	"time"

	"propusk/internal/db"
)

const userColumns = `
id, email, email_key, email_verified_at, username, username_key, contact_number, contact_number_verified_at,
user_type, user_role, password_hash, password_changed_at, disabled_at, proved_at, language, factors, factors_changed_at, trust_after, version, created_at, updated_at`

const (
	selectUserByID       = `SELECT ` + userColumns + ` FROM users WHERE id = $1`
	selectUserByEmail    = `SELECT ` + userColumns + ` FROM users WHERE email_key = $1`
	selectUserByUsername = `SELECT ` + userColumns + ` FROM users WHERE username_key = $1`
)

const selectUsers = `
SELECT ` + userColumns + ` FROM users
WHERE created_at > $1 OR created_at = $1 AND id > $2 ORDER BY created_at, id LIMIT $3`

const selectHolders = `SELECT email_key, username_key FROM users WHERE (email_key = $1 OR username_key = $2) AND id <> $3`

const countUserID = `SELECT count(*) FROM users WHERE id = $1`

const insertUser = `
INSERT INTO users (` + userColumns + `)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`

const updateUser = `
UPDATE users SET email = $1, email_key = $2, email_verified_at = $3, username = $4, username_key = $5,
contact_number = $6, contact_number_verified_at = $7, user_type = $8, password_hash = $9,
password_changed_at = $10, version = $11, updated_at = $12
WHERE id = $13 AND version = $14`

const unverifyUser = `UPDATE users SET user_role = $2 WHERE id = $1`

// From here to the commit no other transaction can change the user. Whoever
// needs the user and something of his locks the user first.
const lockUser = `UPDATE users SET version = version WHERE id = $1 RETURNING ` + userColumns

// The same for a new proof of identity, at $2.
const proveUser = `UPDATE users SET proved_at = $2 WHERE id = $1 RETURNING ` + userColumns

// $1 now, $2 id. Roles other than that of a newcomer are not touched.
const verifiedRole = `user_role = CASE WHEN user_role = '` + RoleNotVerified + `' THEN '` + RoleVerified + `' ELSE user_role END,
version = version + 1, updated_at = $1`

const (
	verifyEmail = `UPDATE users SET email_verified_at = $1, ` + verifiedRole + ` WHERE id = $2`
	verifyPhone = `UPDATE users SET contact_number_verified_at = $1, ` + verifiedRole + ` WHERE id = $2`
	changeEmail = `UPDATE users SET email_verified_at = $1, email = $3, email_key = $4, ` + verifiedRole + ` WHERE id = $2`
)

// What somebody added to an account before its address was proven, by whoever
// owns that.
const dropPhone = `UPDATE users SET contact_number = NULL, contact_number_verified_at = NULL WHERE id = $1`

const unprovePhone = `UPDATE users SET contact_number_verified_at = NULL WHERE id = $1 AND contact_number_verified_at IS NOT NULL`

const dropPassword = `UPDATE users SET password_hash = NULL, password_changed_at = $1, version = version + 1, updated_at = $1 WHERE id = $2`

const selectEmailChange = `SELECT email FROM email_changes WHERE user_id = $1 AND expires_at > $2`

const updatePassword = `
UPDATE users SET password_hash = $1, password_changed_at = $2, version = version + 1, updated_at = $2 WHERE id = $3`

const replaceHash = `UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`

const updateRole = `
UPDATE users SET user_role = $3, version = version + 1, updated_at = $2 WHERE id = $1 AND user_role <> $3`

const updateDisabled = `
UPDATE users SET disabled_at = $3, version = version + 1, updated_at = $2 WHERE id = $1 AND disabled_at IS NULL`

const updateEnabled = `
UPDATE users SET disabled_at = NULL, version = version + 1, updated_at = $2 WHERE id = $1 AND disabled_at IS NOT NULL`

// No device is trusted any more that was so far. It locks the user, too.
const endTrust = `UPDATE users SET trust_after = $2 WHERE id = $1`

const eraseUser = `DELETE FROM users WHERE id = $1 RETURNING version`

// No row is touched where the same address waits already.
const upsertEmailChange = `
INSERT INTO email_changes (user_id, email, email_key, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id) DO UPDATE SET email = $2, email_key = $3, created_at = $4, expires_at = $5
WHERE email_changes.email <> $2 OR email_changes.expires_at <= $4`

const deleteEmailChange = `DELETE FROM email_changes WHERE user_id = $1`

const purgeEmailChanges = `
DELETE FROM email_changes WHERE user_id IN
(SELECT user_id FROM email_changes WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`

// userRow is a user as stored.
type userRow struct {
	UserData
	emailKey          string
	emailVerifiedAt   time.Time
	usernameKey       string
	contactVerifiedAt time.Time
	passwordHash      string // PHC; "" where there is none
	passwordChangedAt time.Time
	disabledAt        time.Time
	provedAt          time.Time // the last proof of identity; zero before the first
	language          string    // "" where it is not known
	factors           factorSet
	factorsChangedAt  time.Time
	trustAfter        time.Time // no device is trusted that was then or before
	version           int64
}

func (u *userRow) set(p profile) {
	u.Email, u.emailKey = p.email.address, p.email.key
	u.Username, u.usernameKey = p.username.name, p.username.key
	u.ContactNumber, u.UserType = p.phone, p.userType
}

func (u userRow) data() UserData {
	d := u.UserData
	d.Version, d.Disabled = u.version, !u.disabledAt.IsZero()
	return d
}

func userByID(ctx context.Context, q db.Querier, id string) (userRow, error) {
	return queryUser(ctx, q, selectUserByID, id)
}

func queryUser(ctx context.Context, q db.Querier, query, key string, more ...any) (u userRow, err error) {
	found := false
	err = q.Query(ctx, query, append([]any{key}, more...), func(scan func(...any) error) error {
		found = true
		u, err = scanUser(scan)
		return err
	})
	if err == nil && !found {
		err = db.ErrNotFound
	}
	return u, err
}

func scanUser(scan func(...any) error) (u userRow, err error) {
	var emailVerified, phoneVerified, passwordChanged, disabled, proved sql.NullInt64
	var phone, hash sql.NullString
	var created, updated, factors, factorsChanged, trustAfter int64
	err = scan(&u.ID, &u.Email, &u.emailKey, &emailVerified, &u.Username, &u.usernameKey, &phone, &phoneVerified,
		&u.UserType, &u.Role, &hash, &passwordChanged, &disabled, &proved, &u.language, &factors, &factorsChanged, &trustAfter, &u.version, &created, &updated)
	u.emailVerifiedAt, u.contactVerifiedAt = db.NullTime(emailVerified), db.NullTime(phoneVerified)
	u.passwordChangedAt, u.disabledAt = db.NullTime(passwordChanged), db.NullTime(disabled)
	u.provedAt, u.factors, u.factorsChangedAt = db.NullTime(proved), factorSet(factors), db.Time(factorsChanged) //nolint:gosec // we wrote it
	u.trustAfter = db.Time(trustAfter)
	u.ContactNumber, u.passwordHash = phone.String, hash.String
	u.CreatedAt, u.UpdatedAt = db.Time(created), db.Time(updated)
	return u, err
}

func nullText(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// insert lets the unique indices decide between two who want the same name.
func (s *Service) insert(ctx context.Context, tx *db.Tx, u userRow) error {
	_, err := tx.Exec(ctx, insertUser, u.ID, u.Email, u.emailKey, db.NullMicros(u.emailVerifiedAt), u.Username, u.usernameKey,
		nullText(u.ContactNumber), db.NullMicros(u.contactVerifiedAt), u.UserType, u.Role, nullText(u.passwordHash),
		db.NullMicros(u.passwordChangedAt), db.NullMicros(u.disabledAt), db.NullMicros(u.provedAt), u.language, 0, 0, 0, u.version, db.Micros(u.CreatedAt), db.Micros(u.UpdatedAt))
	if err != nil {
		return takenBy(err)
	}
	return s.notKept(ctx, tx, u)
}

// notKept refuses an address that nobody has proven and that is kept for somebody
// else. Otherwise whoever took it from an account could keep its owner from having
// it back, by registering with it. Who has proven it owns it now.
func (s *Service) notKept(ctx context.Context, tx *db.Tx, u userRow) error {
	if !u.emailVerifiedAt.IsZero() {
		return nil
	}
	kept, err := s.isKept(ctx, tx, u.UpdatedAt, u.emailKey, u.ID)
	if err == nil && kept {
		err = faults{"email": {Code: CodeEmailTaken}}.conflict()
	}
	return err
}

// update writes u where the stored version still is the one that was read.
func (s *Service) update(ctx context.Context, tx *db.Tx, version int64, u userRow) error {
	n, err := tx.Exec(ctx, updateUser, u.Email, u.emailKey, db.NullMicros(u.emailVerifiedAt), u.Username, u.usernameKey,
		nullText(u.ContactNumber), db.NullMicros(u.contactVerifiedAt), u.UserType, nullText(u.passwordHash),
		db.NullMicros(u.passwordChangedAt), u.version, db.Micros(u.UpdatedAt), u.ID, version)
	if err != nil {
		return takenBy(err)
	}
	if n == 0 {
		return errChanged
	}
	return s.notKept(ctx, tx, u)
}
