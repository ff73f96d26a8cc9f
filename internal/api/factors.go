package api

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"rsc.io/qr"

	"propusk/internal/account"
)

type factorList struct {
	TOTP              *totpItem     `json:"totp,omitempty" doc:"The authenticator app, where there is one."`
	Passkeys          []passkeyItem `json:"passkeys" nullable:"false"`
	RecoveryCodesLeft int           `json:"recovery_codes_left" example:"10"`
	Required          bool          `json:"required" doc:"The last factor cannot be removed." example:"false"`
}

type totpItem struct {
	Added      string  `json:"added" format:"date-time" example:"2024-12-15T15:48:46.195517+03:00"`
	LastUsedAt *string `json:"last_used_at" nullable:"true" format:"date-time" example:"2024-12-15T21:01:34.382072+03:00"`
}

func (a *API) factors(r *request) (reply, error) {
	return a.factorsOf(r, r.caller.UserID)
}

func (a *API) factorsOfUser(r *request) (reply, error) {
	return a.factorsOf(r, r.PathValue("user_id"))
}

func (a *API) factorsOf(r *request, userID string) (reply, error) {
	f, err := a.service.Factors(r.Context(), r.caller, userID)
	if err != nil {
		return reply{}, err
	}
	out := factorList{Passkeys: a.passkeyItems(f.Passkeys), RecoveryCodesLeft: f.RecoveryCodesLeft, Required: f.Required}
	if f.TOTP {
		out.TOTP = &totpItem{Added: a.time(f.TOTPAddedAt), LastUsedAt: a.optionalTime(f.TOTPUsedAt)}
	}
	return reply{data: out}, nil
}

type totpSeed struct {
	Secret secret `json:"secret" doc:"For typing into the app, in base32." example:"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"`
	URI    secret `json:"uri" doc:"The same as otpauth:// address." example:"otpauth://totp/id.example.com:egor228?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=id.example.com"`
	QRCode secret `json:"qr_svg" doc:"The same as picture (SVG)." example:"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 53 53\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h53v53H0z\"/><path fill=\"#000\" d=\"M4 4h1v1h-1z\"/></svg>"`
}

func newSeed(s account.TOTPSeed) (totpSeed, error) {
	picture, err := qrCode(s.URI.Reveal())
	return totpSeed{Secret: secret{s.Secret}, URI: secret{s.URI}, QRCode: secret{account.NewSecret(picture)}}, err
}

// qrCode draws a text as an SVG, with the quiet zone that scanners need.
func qrCode(text string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	const quiet = 4
	var b strings.Builder
	size := strconv.Itoa(code.Size + 2*quiet)
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ` + size + " " + size + `" shape-rendering="crispEdges">` +
		`<path fill="#fff" d="M0 0h` + size + "v" + size + `H0z"/><path fill="#000" d="`)
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				b.WriteString("M" + strconv.Itoa(x+quiet) + " " + strconv.Itoa(y+quiet) + "h1v1h-1z")
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String(), nil
}

func (a *API) enrolTOTP(r *request) (reply, error) {
	s, err := a.service.EnrolTOTP(r.Context(), r.caller)
	if err != nil {
		return reply{}, err
	}
	out, err := newSeed(s)
	return reply{data: out}, err
}

// FactorAdded is what a new factor comes with.
type FactorAdded struct {
	RecoveryCodes []secret `json:"recovery_codes,omitempty" doc:"With the first factor: each is good once in its place. They are shown this once." example:"[\"k3qd-7hxv-tn2m-9cfw\",\"w5rj-2bny-8kqf-xm6t\",\"c9zp-hv4g-3tsa-re7u\",\"n2yf-qk8d-mj5w-6bxh\",\"t7gs-4cpv-zr9n-y3ke\",\"a8mw-xe6j-5fqt-h2zd\",\"r4bk-9ynu-gs7c-vp3m\",\"j6tx-d3hz-w8ae-k5rq\",\"y9cv-m2fs-qb4p-7ngt\",\"e3hu-z7kw-6jrd-c8xa\"]"`
}

func (FactorAdded) cases() []exampleCase {
	return []exampleCase{
		{name: "first", about: "The account's first factor", fields: "recovery_codes"},
		{name: "further", about: "One more factor", fields: ""},
	}
}

func added(f account.FactorAdded) FactorAdded {
	out := FactorAdded{}
	for _, c := range f.RecoveryCodes {
		out.RecoveryCodes = append(out.RecoveryCodes, secret{c})
	}
	return out
}

func (a *API) confirmTOTP(r *request, in *codeRequest) (reply, error) {
	f, err := a.service.ConfirmTOTP(r.Context(), r.caller, in.Code.Secret)
	return reply{data: added(f)}, err
}

func (a *API) removeTOTP(r *request) (reply, error) {
	return reply{}, a.service.RemoveTOTP(r.Context(), r.caller)
}

type recoveryCodeList struct {
	RecoveryCodes []secret `json:"recovery_codes" nullable:"false" doc:"Each is good once in the place of another factor. They are shown this once." example:"[\"k3qd-7hxv-tn2m-9cfw\",\"w5rj-2bny-8kqf-xm6t\",\"c9zp-hv4g-3tsa-re7u\",\"n2yf-qk8d-mj5w-6bxh\",\"t7gs-4cpv-zr9n-y3ke\",\"a8mw-xe6j-5fqt-h2zd\",\"r4bk-9ynu-gs7c-vp3m\",\"j6tx-d3hz-w8ae-k5rq\",\"y9cv-m2fs-qb4p-7ngt\",\"e3hu-z7kw-6jrd-c8xa\"]"`
}

func (a *API) newRecoveryCodes(r *request) (reply, error) {
	codes, err := a.service.NewRecoveryCodes(r.Context(), r.caller)
	return reply{data: recoveryCodeList(added(account.FactorAdded{RecoveryCodes: codes}))}, err
}

func (a *API) removeFactorsOfUser(r *request) (reply, error) {
	return reply{}, a.service.RemoveFactors(r.Context(), r.caller, r.PathValue("user_id"), "")
}

type secondFactorRequest struct {
	Challenge   secret        `json:"challenge" doc:"That the login answered with." example:"y_FbWaWtI-OzQj5aQs8fWRDV9Fw6ZbEik-ZZ051vdoo"`
	Code        secret        `json:"code,omitzero" doc:"Of the authenticator app, or a recovery code." example:"123456"`
	Passkey     passkeyAnswer `json:"passkey,omitzero" doc:"Or the answer of a passkey: PublicKeyCredential.toJSON()."`
	TrustDevice *bool         `json:"trust_device,omitempty" doc:"Do not ask for it on this device for a while, where the service allows that." example:"true"`
}

// aRecoveryCode stands in examples where there could be a code of an app as well.
const aRecoveryCode = "k3qd-7hxv-tn2m-9cfw"

func (secondFactorRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "app", about: "A code of the authenticator app", fields: "challenge code trust_device"},
		{name: "recovery_code", about: "A recovery code", fields: "challenge code", with: map[string]any{"code": aRecoveryCode}},
		{name: "passkey", about: "The answer of a passkey", fields: "challenge passkey trust_device"},
		{name: "new_passkey", about: "A passkey that this login adds", fields: "challenge passkey", with: map[string]any{"passkey": anAttestation()}},
	}
}

// finishedLogin is a token, and, where the login added the account's first
// factor, recovery codes.
type finishedLogin struct {
	TokenData
	FactorAdded
}

func (finishedLogin) cases() []exampleCase {
	const token = "token token-expiry expires_at user_id"
	return []exampleCase{
		{name: "factor_was_there", about: "With a factor that the account had", fields: token},
		{name: "factor_was_added", about: "With the first factor, which this login added", fields: token + " recovery_codes"},
	}
}

func (a *API) finishLogin(r *request, in *secondFactorRequest) (reply, error) {
	t, f, err := a.service.FinishLogin(r.Context(), r.caller, account.SecondFactor{
		Challenge: in.Challenge.Secret, Code: in.Code.Secret, Passkey: in.Passkey.Value, TrustDevice: in.TrustDevice != nil && *in.TrustDevice,
	})
	if err != nil {
		return reply{}, err
	}
	rep := a.loggedIn(t)
	rep.data = finishedLogin{TokenData: rep.data.(TokenData), FactorAdded: added(f)} //nolint:forcetypeassert // loggedIn made it
	return rep, nil
}

type enrolRequest struct {
	Challenge secret `json:"challenge" doc:"That the login answered with." example:"y_FbWaWtI-OzQj5aQs8fWRDV9Fw6ZbEik-ZZ051vdoo"`
	Factor    string `json:"factor,omitempty" enum:"totp,passkey" doc:"Which one; an authenticator app where it is not said." example:"totp"`
}

func (enrolRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "app", about: "An authenticator app", fields: "challenge factor"},
		{name: "passkey", about: "A passkey", fields: "challenge factor", with: map[string]any{"factor": account.Passkey}},
	}
}

// enrolment is what the factor begins with that was asked for: an app as in
// totpSeed, or a passkey.
type enrolment struct {
	Secret  secret         `json:"secret,omitzero" doc:"For typing into the app, in base32." example:"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"`
	URI     secret         `json:"uri,omitzero" doc:"The same as otpauth:// address." example:"otpauth://totp/id.example.com:egor228?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=id.example.com"`
	QRCode  secret         `json:"qr_svg,omitzero" doc:"The same as picture (SVG)." example:"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 53 53\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h53v53H0z\"/><path fill=\"#000\" d=\"M4 4h1v1h-1z\"/></svg>"`
	Options newOptionsJSON `json:"options,omitzero" doc:"Or, for a passkey, the options for the browser."`
}

func (enrolment) cases() []exampleCase {
	return []exampleCase{
		{name: "app", about: "An authenticator app", fields: "secret uri qr_svg"},
		{name: "passkey", about: "A passkey", fields: "options"},
	}
}

func (a *API) enrolAtLogin(r *request, in *enrolRequest) (reply, error) {
	kind := account.FactorKind(in.Factor)
	if kind == "" {
		kind = account.TOTP
	}
	e, err := a.service.EnrolAtLogin(r.Context(), r.caller, in.Challenge.Secret, kind)
	if err != nil {
		return reply{}, err
	}
	if kind == account.Passkey {
		return reply{data: enrolment{Options: newOptionsJSON{jsontext.Value(e.Passkey)}}}, nil
	}
	s, err := newSeed(e.Seed)
	return reply{data: enrolment{Secret: s.Secret, URI: s.URI, QRCode: s.QRCode}}, err
}
