package account

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// A ceremony (WebAuthn, sections 7.1 and 7.2) begins with options that we make and
// ends with the answer of an authenticator. The challenge in the options is a
// single-use token: it is looked up by what the answer says of it, and used up in
// the transaction of what the answer does, or when the answer is refused. What it
// was made for stands in the token: an answer is good for nothing else.

// ceremony is what a challenge is for.
type ceremony struct {
	purpose purpose
	holder  string // the user; "" where the answer says who it is
	within  string // the session, or the login, that it belongs to; "" for none
}

// begun is what the token of a challenge remembers.
type begun struct {
	Within string               `json:"within,omitzero"`
	Named  string               `json:"named,omitzero"` // who wants to log in, as it was typed
	Data   webauthn.SessionData `json:"data"`
}

// PasskeyOptions are what a page gives to PublicKeyCredential's
// parseCreationOptionsFromJSON or parseRequestOptionsFromJSON.
type PasskeyOptions []byte

// passkeyLifetime is how long a ceremony may take.
const passkeyLifetime = 5 * time.Minute

// newRelyingParty gives nil where there are no passkeys: nobody has said under
// which name people reach the service.
func newRelyingParty(p Policy, name string) (*webauthn.WebAuthn, error) {
	if p.PasskeyRPID == "" {
		return nil, nil //nolint:nilnil // none, and no fault
	}
	attestation := protocol.PreferNoAttestation
	if len(p.PasskeyAAGUIDs) > 0 || p.PasskeyRoots != nil {
		attestation = protocol.PreferDirectAttestation
	}
	timeout := webauthn.TimeoutConfig{Timeout: passkeyLifetime, TimeoutUVD: passkeyLifetime} // the token's own lifetime decides
	return webauthn.New(&webauthn.Config{
		RPID: p.PasskeyRPID, RPDisplayName: name, RPOrigins: p.PasskeyOrigins,
		AttestationPreference: attestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementPreferred, RequireResidentKey: new(bool), UserVerification: protocol.VerificationPreferred,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Password managers send outputs that nobody has asked for; none is used.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
}

// algorithms are those of keys that are taken, the most wanted first.
//
//nolint:gochecknoglobals // a constant list
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

func (s *Service) passkeysPossible() bool { return s.party != nil }

// RelatedOrigins are the origins whose pages may use the passkeys (section 5.11);
// none where there is only one.
func (s *Service) RelatedOrigins() []string {
	if !s.passkeysPossible() || len(s.policy.PasskeyOrigins) < 2 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.policy.PasskeyOrigins), func(o string) bool { return !strings.HasPrefix(o, "http") }) // apps are no pages
}

// begin makes the token of a challenge and the options around it.
func (s *Service) begin(ctx context.Context, tx *db.Tx, now time.Time, c ceremony, named string, options func(challenge protocol.URLEncodedBase64) (any, *webauthn.SessionData, error)) (PasskeyOptions, error) {
	token := secret.NewToken()
	challenge, err := base64.RawURLEncoding.DecodeString(token.Reveal())
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	shown, data, err := options(challenge)
	if err != nil {
		return nil, fmt.Errorf("options of a passkey: %w", err)
	}
	sealed, err := json.Marshal(begun{Within: c.within, Named: named, Data: *data})
	if err != nil {
		return nil, fmt.Errorf("options of a passkey: %w", err)
	}
	_, err = s.makeToken(ctx, tx, now, singleUse{purpose: c.purpose, holder: c.holder, within: c.within, secret: token, data: sealed, sent: true})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(shown, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("options of a passkey: %w", err)
	}
	return b, nil
}

// beginAdding makes the options for a new passkey of a user.
func (s *Service) beginAdding(ctx context.Context, tx *db.Tx, now time.Time, u userRow, c ceremony) (PasskeyOptions, error) {
	rows, err := passkeysOf(ctx, tx, u.ID)
	if err != nil {
		return nil, err
	}
	if len(rows) >= maxPasskeys {
		return nil, refuse(Conflict, CodeTooManyPasskeys)
	}
	k := keeper{user: u, rows: rows}
	return s.begin(ctx, tx, now, c, "", func(challenge protocol.URLEncodedBase64) (any, *webauthn.SessionData, error) {
		creation, data, err := s.party.BeginRegistration(k, webauthn.WithExclusions(k.descriptors()), webauthn.WithCredentialParameters(algorithms),
			func(o *protocol.PublicKeyCredentialCreationOptions) error { o.Challenge = challenge; return nil })
		if err != nil {
			return nil, nil, err
		}
		return creation.Response, data, nil
	})
}

// beginUsing makes the options for using one of a user's passkeys beside another
// proof.
func (s *Service) beginUsing(ctx context.Context, tx *db.Tx, now time.Time, u userRow, c ceremony) (PasskeyOptions, error) {
	rows, err := passkeysOf(ctx, tx, u.ID)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, refuse(NotFound, CodeFactorNotFound)
	}
	verification := protocol.VerificationPreferred
	if c.purpose == forPasskeyAgain && !slices.ContainsFunc(rows, func(r passkeyRow) bool { return !r.userVerified }) {
		verification = protocol.VerificationRequired
	}
	return s.begin(ctx, tx, now, c, "", func(challenge protocol.URLEncodedBase64) (any, *webauthn.SessionData, error) {
		assertion, data, err := s.party.BeginLogin(keeper{user: u, rows: rows}, webauthn.WithChallenge(challenge), webauthn.WithUserVerification(verification))
		if err != nil {
			return nil, nil, err
		}
		return assertion.Response, data, nil
	})
}

// clientData is what the browser says of itself. The library reads it too, more
// leniently: here a name counts only as it is written, and once.
type clientData struct {
	Challenge string `json:"challenge"`
	Origin    string `json:"origin"`
}

// refusedPasskey is a refusal of an answer, with the reason for the trail. The
// challenge is spent with it.
type refusedPasskey struct {
	refusal *Error
	reason  string
	copied  bool   // the key seems to exist twice
	id      string // of the passkey
	name    string // likewise
}

func (e *refusedPasskey) Error() string { return e.refusal.Error() + " (" + e.reason + ")" }

// Unwrap gives the refusal itself.
func (e *refusedPasskey) Unwrap() error { return e.refusal }

func refusePasskey(kind Kind, code Code, reason string) error {
	return &refusedPasskey{refusal: refuse(kind, code), reason: reason}
}

// reasonOf is what the library says of a fault. It is for people who look for one
// in their settings.
func reasonOf(err error) string {
	reason := err.Error()
	var e *protocol.Error
	if errors.As(err, &e) {
		reason = e.Details
	}
	return strings.ToValidUTF8(reason[:min(len(reason), 200)], "")
}

var errMalformedPasskey error = &Error{Kind: Invalid, Fault: Fault{Code: CodeInvalidFields}, Fields: map[string]Fault{"passkey": {Code: CodePasskeyMalformed}}}

// challengeOf finds the challenge in an answer.
func (s *Service) challengeOf(client []byte) (secret.Text, string, error) {
	var d clientData
	if err := json.Unmarshal(client, &d); err != nil || !secret.IsToken(d.Challenge) {
		return secret.Text{}, "", errMalformedPasskey
	}
	return secret.NewText(d.Challenge), d.Origin, nil
}

// consumeChallenge uses up the token of a challenge, if it is one of this
// ceremony (steps 7.1.8 and 7.2.12).
func (s *Service) consumeChallenge(ctx context.Context, q db.Querier, now time.Time, challenge secret.Text, c ceremony) (begun, error) {
	return readChallenge(c, func() (usedToken, error) { return s.consumeLink(ctx, q, now, challenge, nil, c.purpose, c.purpose) })
}

func readChallenge(c ceremony, find func() (usedToken, error)) (b begun, err error) {
	t, err := find()
	if errors.Is(err, errTokenSpent) {
		return b, refuse(Unauthenticated, CodePasskeyChallenge)
	}
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(t.data, &b); err != nil {
		return b, fmt.Errorf("read ceremony: %w", err)
	}
	if t.holder != c.holder || b.Within != c.within {
		return b, refusePasskey(Unauthenticated, CodePasskeyChallenge, "the challenge was made for somebody or something else")
	}
	return b, nil
}

// addPasskey takes the answer to [Service.beginAdding] (section 7.1).
func (s *Service) addPasskey(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, answer []byte, name string, c ceremony) (r passkeyRow, by Methods, err error) {
	if !s.passkeysPossible() {
		return r, 0, refuse(Conflict, CodePasskeysUnavailable)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return r, 0, errMalformedPasskey
	}
	challenge, origin, err := s.challengeOf(parsed.Raw.AttestationResponse.ClientDataJSON)
	if err != nil {
		return r, 0, err
	}
	b, err := s.consumeChallenge(ctx, tx, now, challenge, c)
	if err != nil {
		return r, 0, err
	}
	if !slices.Contains(s.policy.PasskeyOrigins, origin) {
		return r, 0, refusePasskey(Invalid, CodePasskeyRefused, "the page is of another origin")
	}
	rows, err := passkeysOf(ctx, tx, u.ID)
	if err != nil {
		return r, 0, err
	}
	if len(rows) >= maxPasskeys {
		return r, 0, refuse(Conflict, CodeTooManyPasskeys)
	}
	if err := bounded(&parsed.Response.AttestationObject); err != nil {
		return r, 0, err
	}
	made, err := s.party.CreateCredential(keeper{user: u, rows: rows}, b.Data, parsed)
	if err != nil {
		return r, 0, refusePasskey(Invalid, CodePasskeyRefused, reasonOf(err))
	}
	if err := s.admits(&parsed.Response.AttestationObject, now); err != nil {
		return r, 0, err
	}
	flags := parsed.Response.AttestationObject.AuthData.Flags
	r = passkeyRow{
		PasskeyData: PasskeyData{ID: secret.NewID(), Name: name, CreatedAt: now, BackedUp: flags.HasBackupState()},
		userID:      u.ID, credentialID: made.ID, publicKey: made.PublicKey, aaguid: made.Authenticator.AAGUID, attestation: made.AttestationFormat,
		transports: transportsOf(made.Transport), signCount: made.Authenticator.SignCount,
		userVerified: flags.HasUserVerified(), backupEligible: flags.HasBackupEligible(),
	}
	if name == "" {
		r.Name = nameFor(r.aaguid, caller, now)
	}
	by = ByPasskey
	if r.userVerified {
		by |= ByUserVerified
	}
	return r, by, s.insertPasskey(ctx, tx, now, &r)
}

// transportsOf keeps the ones that look like transports: they are the browser's
// word, and go into options again.
func transportsOf(all []protocol.AuthenticatorTransport) (out []string) {
	for _, t := range all[:min(len(all), 8)] {
		odd := func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }
		if t != "" && len(t) <= 32 && !strings.ContainsFunc(string(t), odd) {
			out = append(out, string(t))
		}
	}
	return out
}

// usePasskey takes the answer to options for using a passkey (section 7.2), and
// tells what it proves.
func (s *Service) usePasskey(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, answer []byte, c ceremony) (Methods, error) {
	if !s.passkeysPossible() {
		return 0, refuse(Conflict, CodePasskeysUnavailable)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return 0, errMalformedPasskey
	}
	challenge, origin, err := s.challengeOf(parsed.Raw.AssertionResponse.ClientDataJSON)
	if err != nil {
		return 0, err
	}
	b, err := s.consumeChallenge(ctx, tx, now, challenge, c)
	if err != nil {
		return 0, err
	}
	rows, err := passkeysOf(ctx, tx, u.ID)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(rows, func(r passkeyRow) bool { return string(r.credentialID) == string(parsed.RawID) })
	switch {
	case i < 0:
		return 0, refusePasskey(Unauthenticated, CodePasskeyRefused, "it is none of the user's passkeys")
	case !slices.Contains(s.policy.PasskeyOrigins, origin):
		return 0, refusePasskey(Unauthenticated, CodePasskeyRefused, "the page is of another origin")
	case len(rows[i].publicKey) > maxPasskeyKey: // added before there was a bound
		return 0, refusePasskey(Unauthenticated, CodePasskeyRefused, "its key is too long")
	}
	r := rows[i]
	flags := parsed.Response.AuthenticatorData.Flags
	if b.Data.UserVerification == protocol.VerificationRequired && !flags.HasUserVerified() { // the library says so too, in words for nobody
		return 0, r.unverified()
	}
	made, err := s.checkAssertion(keeper{user: u, rows: rows}, b, parsed)
	if err != nil {
		return 0, &refusedPasskey{refusal: refuse(Unauthenticated, CodePasskeyRefused), reason: reasonOf(err), id: r.ID}
	}
	by, err := r.proves(flags.HasUserVerified(), c.purpose)
	if err != nil {
		return 0, err
	}
	if made.Authenticator.CloneWarning {
		if !r.backupEligible {
			return 0, &refusedPasskey{refusal: refuse(Unauthenticated, CodePasskeyRefused), reason: "its counter has gone back", id: r.ID, name: r.Name, copied: true}
		}
		if err := s.notePasskeyCopied(ctx, tx, now, caller, u, r.ID, r.Name, event.Success); err != nil {
			return 0, err
		}
	}
	_, err = tx.Exec(ctx, usePasskeyRow, u.ID, r.ID, int64(made.Authenticator.SignCount), btoi(by&ByUserVerified != 0 || r.userVerified), btoi(flags.HasBackupState()), db.Micros(now))
	return by, err
}

// checkAssertion leaves the steps to the library. Where nobody was named in the
// options, the answer must name its user, and rightly (step 7.2.6).
func (s *Service) checkAssertion(k keeper, b begun, parsed *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	if len(b.Data.UserID) > 0 {
		return s.party.ValidateLogin(k, b.Data, parsed)
	}
	_, made, err := s.party.ValidatePasskeyLogin(func([]byte, []byte) (webauthn.User, error) { return k, nil }, b.Data, parsed)
	return made, err
}

// proves tells what a passkey proves. That it has verified its user counts if it
// did so when it was added, or beside another factor (section 4, "uvInitialized");
// where it stands alone, it must.
func (r *passkeyRow) proves(verified bool, p purpose) (Methods, error) {
	trusted := r.userVerified || p == forPasskeyFactor
	switch {
	case verified && trusted:
		return ByPasskey | ByUserVerified, nil
	case p == forPasskeyLogin, p == forPasskeyAgain && r.userVerified:
		return 0, r.unverified()
	}
	return ByPasskey, nil
}

func (r *passkeyRow) unverified() error {
	return &refusedPasskey{refusal: refuse(Unauthenticated, CodePasskeyUnverified), reason: "it did not verify its user, or has no right to say so", id: r.ID}
}

// notePasskeyCopied: the counter of a passkey has not gone on, as if there were
// two of it (section 6.1.1). Only who has its key gets this far; how long it takes
// tells strangers nothing.
func (s *Service) notePasskeyCopied(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, id, name string, outcome event.Outcome) error {
	s.metrics.factors.WithLabelValues("copied").Inc()
	caller.UserID = u.ID
	if err := record(ctx, tx, now, caller, passkeyCopied, outcome, u.ID, map[string]string{"passkey_id": id}); err != nil {
		return err
	}
	return s.noticeCopy(ctx, tx, now, caller, u, name)
}

// noticeCopy tells the owner, but not of every attempt: whoever has the copy could
// bury him in messages. Sign-ins have another budget, or it could be spent on them
// first.
func (s *Service) noticeCopy(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, name string) error {
	if u.emailVerifiedAt.IsZero() && u.contactVerifiedAt.IsZero() {
		return nil
	}
	taken, err := s.newBudget(bucket, scopeCopies, u.ID, noticesAtATime, noticesRefill).take(ctx, tx, now, 0)
	if err != nil || !taken {
		return err
	}
	return s.tellAll(ctx, tx, now, u, outbox.PasskeyCopied, originOf(caller, now), map[string]string{"name": name})
}

// noteRefusedPasskey spends the challenge of an answer that was refused, and
// records it, when the transaction in which it was refused is over. To the owner
// of a session the refusal is no word about his token.
func (s *Service) noteRefusedPasskey(ctx context.Context, now time.Time, caller Caller, userID string, answer []byte, err error) error {
	var bare *Error
	if !errors.As(err, &bare) {
		return err
	}
	var refused *refusedPasskey
	if errors.As(err, &refused) {
		if err := s.spendRefused(ctx, now, caller, userID, answer, refused); err != nil {
			return err
		}
	}
	if caller.Kind == User && bare.Kind == Unauthenticated && (refused != nil || bare.Fault.Code == CodePasskeyChallenge) {
		return refuse(Forbidden, bare.Fault.Code)
	}
	return bare
}

func (s *Service) spendRefused(ctx context.Context, now time.Time, caller Caller, userID string, answer []byte, refused *refusedPasskey) error {
	s.metrics.factors.WithLabelValues("refused").Inc()
	hash := secret.HashOf(challengeIn(answer))
	return s.tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, deleteChallenge, hash[:], passkeyPurposes); err != nil {
			return err
		}
		if userID == "" {
			return nil
		}
		u, err := userByID(ctx, tx, userID)
		if err != nil {
			return notFoundIs(err, refused.refusal)
		}
		if refused.copied {
			if err := s.notePasskeyCopied(ctx, tx, now, caller, u, refused.id, refused.name, event.Failure); err != nil {
				return err
			}
		}
		data := map[string]string{"factor": string(Passkey), "reason": refused.reason}
		if refused.id != "" {
			data["passkey_id"] = refused.id
		}
		return record(ctx, tx, now, caller, factorFailed, event.Failure, userID, data)
	})
}

// challengeIn finds the challenge in an answer of either ceremony.
func challengeIn(answer []byte) string {
	var a struct {
		Response struct {
			ClientDataJSON protocol.URLEncodedBase64 `json:"clientDataJSON"`
		} `json:"response"`
	}
	var d clientData
	if json.Unmarshal(answer, &a) != nil || json.Unmarshal(a.Response.ClientDataJSON, &d) != nil {
		return ""
	}
	return d.Challenge
}

// loginOf names the login that a challenge is of, so that a passkey's challenge
// can be tied to it.
func loginOf(challenge secret.Text) string {
	hash := secret.HashOf(challenge.Reveal())
	return hex.EncodeToString(hash[:])
}
