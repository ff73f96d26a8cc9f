package account

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// A passkey is a key pair that a device or a password manager keeps for one user
// of one relying party (WebAuthn, level 3). Here are those that a user has; how
// one is added and used is in ceremony.go.

// PasskeyData is a passkey as its owner sees it.
type PasskeyData struct {
	ID         string
	Name       string
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never
	BackedUp   bool      // its key is on more than one device
}

// maxPasskeys is how many a user can have. All of them are named in the options
// of every ceremony.
const maxPasskeys = 20

// passkeyRow is the credential record (section 4, "credential record").
type passkeyRow struct {
	PasskeyData

	userID         string
	credentialID   []byte
	publicKey      []byte // COSE
	aaguid         []byte // of the model that it says it is of
	attestation    string // the format of the statement
	transports     []string
	signCount      uint32
	userVerified   bool // "uvInitialized": its word that it knows its user counts
	backupEligible bool
}

func (r *passkeyRow) credential() webauthn.Credential {
	c := webauthn.Credential{
		ID: r.credentialID, PublicKey: r.publicKey, AttestationFormat: r.attestation,
		Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: r.userVerified, BackupEligible: r.backupEligible, BackupState: r.BackedUp},
		Authenticator: webauthn.Authenticator{AAGUID: r.aaguid, SignCount: r.signCount},
	}
	for _, t := range r.transports {
		c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
	}
	return c
}

func passkeysOf(ctx context.Context, q db.Querier, userID string) (rows []passkeyRow, err error) {
	err = q.Query(ctx, selectPasskeys, []any{userID}, func(scan func(...any) error) error {
		var r passkeyRow
		var transports string
		var count, verified, eligible, backedUp, created int64
		var used sql.NullInt64
		err := scan(&r.ID, &r.userID, &r.credentialID, &r.publicKey, &r.Name, &r.aaguid, &r.attestation, &transports, &count, &verified, &eligible, &backedUp, &created, &used)
		if err != nil {
			return err
		}
		r.transports, r.signCount = strings.Fields(transports), uint32(count) //nolint:gosec // we wrote it
		r.userVerified, r.backupEligible, r.BackedUp = verified != 0, eligible != 0, backedUp != 0
		r.CreatedAt = db.Time(created)
		if used.Valid {
			r.LastUsedAt = db.Time(used.Int64)
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func (s *Service) insertPasskey(ctx context.Context, tx *db.Tx, now time.Time, r *passkeyRow) error {
	n, err := tx.Exec(ctx, insertPasskey, r.ID, r.userID, r.credentialID, r.publicKey, r.Name, r.aaguid, r.attestation, strings.Join(r.transports, " "),
		int64(r.signCount), btoi(r.userVerified), btoi(r.backupEligible), btoi(r.BackedUp), db.Micros(now), nil)
	if err == nil && n == 0 {
		err = refuse(Conflict, CodePasskeyExists)
	}
	return err
}

// keeper is a user with his passkeys, as the library wants him.
type keeper struct {
	user userRow
	rows []passkeyRow
}

// handleOf is what authenticators know a user by (section 5.4.3): his random id,
// and nothing about him.
func handleOf(userID string) []byte {
	id, _ := secret.ParseUUID(userID) // ours has the form of one
	return id[:]
}

// WebAuthnID is the user handle.
func (k keeper) WebAuthnID() []byte { return handleOf(k.user.ID) }

// WebAuthnName is what an authenticator shows.
func (k keeper) WebAuthnName() string { return k.user.Username }

// WebAuthnDisplayName is the same: there is no other name.
func (k keeper) WebAuthnDisplayName() string { return k.user.Username }

// WebAuthnCredentials are all his passkeys.
func (k keeper) WebAuthnCredentials() []webauthn.Credential {
	var out []webauthn.Credential
	for i := range k.rows {
		out = append(out, k.rows[i].credential())
	}
	return out
}

func (k keeper) descriptors() []protocol.CredentialDescriptor {
	out := []protocol.CredentialDescriptor{}
	for _, c := range k.WebAuthnCredentials() {
		out = append(out, c.Descriptor())
	}
	return out
}

// Passkeys lists the caller's own.
func (s *Service) Passkeys(ctx context.Context, caller Caller) ([]PasskeyData, error) {
	if caller.Kind != User {
		return nil, refuse(Unauthenticated, CodeTokenRequired)
	}
	return s.listPasskeys(ctx, caller.UserID)
}

func (s *Service) listPasskeys(ctx context.Context, userID string) (out []PasskeyData, err error) {
	rows, err := passkeysOf(ctx, s.db, userID)
	for i := range rows {
		out = append(out, rows[i].PasskeyData)
	}
	return out, err
}

// RenamePasskey gives one of the caller's passkeys another name.
func (s *Service) RenamePasskey(ctx context.Context, caller Caller, id, name string) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	name, err := parsePasskeyName(name)
	if err != nil {
		return err
	}
	now := s.now()
	return s.db.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, renamePasskey, caller.UserID, id, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return refuse(NotFound, CodeFactorNotFound)
		}
		return s.authorize(ctx, tx, now, caller, renamedFactor, caller.UserID, map[string]string{"factor": string(Passkey), "passkey_id": id})
	})
}

// RemovePasskey takes one of the caller's passkeys off his account.
func (s *Service) RemovePasskey(ctx context.Context, caller Caller, id string) error {
	if caller.Kind != User {
		return refuse(Unauthenticated, CodeTokenRequired)
	}
	var name string
	if err := s.db.QueryRow(ctx, selectPasskeyName, []any{caller.UserID, id}, &name); err != nil {
		return notFoundIs(err, refuse(NotFound, CodeFactorNotFound))
	}
	return s.removeOwn(ctx, caller, Passkey, name, deletePasskey, id)
}

// maxPasskeyName is in code points.
const maxPasskeyName = 64

// parsePasskeyName takes the spaces off, and refuses what cannot be shown as one
// line.
func parsePasskeyName(typed string) (string, error) {
	name := strings.TrimSpace(typed)
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	}
	if n := utf8.RuneCountInString(name); n == 0 || n > maxPasskeyName || strings.ContainsFunc(name, bad) {
		return "", &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"name": {Code: CodePasskeyName}}}
	}
	return name, nil
}

// keepers are names of well-known keepers of passkeys, by AAGUID.
//
//nolint:gochecknoglobals // a constant table
var keepers = map[string]string{
	"fbfc3007-154e-4ecc-8c0b-6e020557d7bd": "iCloud Keychain",
	"dd4ec289-e01d-41c9-bb89-70fa845d4bf2": "iCloud Keychain",
	"ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4": "Google Password Manager",
	"adce0002-35bc-c60a-648b-0b25f1f05503": "Chrome on Mac",
	"08987058-cadc-4b81-b6e1-30de50dcbe96": "Windows Hello",
	"9ddd1817-af5a-4672-a2b9-3e3dd95000a9": "Windows Hello",
	"6028b017-b1d4-4c02-b4b3-afcdafc96bb2": "Windows Hello",
	"53414d53-554e-4700-0000-000000000000": "Samsung Pass",
	"bada5566-a7aa-401f-bd96-45619a55120d": "1Password",
	"d548826e-79b4-db40-a3d8-11116f7e8349": "Bitwarden",
	"531126d6-e717-415c-9320-3d9aa6981239": "Dashlane",
	"fdb141b2-5d84-443e-8a35-4698c205a502": "KeePassXC",
	"50726f74-6f6e-5061-7373-50726f746f6e": "Proton Pass",
	"b84e4048-15dc-4dd0-8640-f4f60813c8af": "NordPass",
	"0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6": "Keeper",
}

// nameFor is what a passkey is called whose owner gave it no name: who keeps it,
// or where it was made.
func nameFor(aaguid []byte, caller Caller, now time.Time) string {
	if name := keepers[aaguidText(aaguid)]; name != "" {
		return name
	}
	if device := originOf(caller, now).Device; device != "" {
		if name, err := parsePasskeyName(string([]rune(device)[:min(len([]rune(device)), maxPasskeyName)])); err == nil {
			return name
		}
	}
	return "Passkey"
}

func aaguidText(aaguid []byte) string {
	if len(aaguid) != len(secret.UUID{}) {
		return ""
	}
	return secret.UUID(aaguid).String()
}

// allowed tells whether a policy takes passkeys of a model.
func (p Policy) allowsModel(aaguid []byte) bool {
	return len(p.PasskeyAAGUIDs) == 0 || slices.Contains(p.PasskeyAAGUIDs, aaguidText(aaguid))
}
