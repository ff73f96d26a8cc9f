package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/account"
)

// passkeyOptions go out as they were made, for a browser's own parser.
type passkeyOptions struct {
	Options optionsJSON `json:"options"`
}

type optionsJSON struct{ jsontext.Value }

// Schema implements [huma.SchemaProvider].
func (optionsJSON) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "For PublicKeyCredential.parseRequestOptionsFromJSON() (WebAuthn level 3, section 5.1). They hold for five minutes, and for one answer.",
		Examples: []any{map[string]any{
			"challenge": "mdWKHBw0YaAxui7_weKF0aCewRib-ZX9YkEpBuc0eFA", "rpId": "id.example.com", "timeout": 300000, "userVerification": "required",
		}},
	}
}

// newPasskeyOptions are [passkeyOptions] for adding one.
type newPasskeyOptions struct {
	Options newOptionsJSON `json:"options"`
}

type newOptionsJSON struct{ jsontext.Value }

// Schema implements [huma.SchemaProvider].
func (newOptionsJSON) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "For PublicKeyCredential.parseCreationOptionsFromJSON() (WebAuthn level 3, section 5.1). They hold for five minutes, and for one answer.",
		Examples: []any{map[string]any{
			"challenge": "QFnMsDRIPkZHaqVOKUYlG-v_S3o57fb9RF36NsxKIYI", "timeout": 300000, "attestation": "none",
			"rp":                     map[string]any{"id": "id.example.com", "name": "id.example.com"},
			"user":                   map[string]any{"id": "wiNhgPq2QluyB-oz2l3MZw", "name": "egor228", "displayName": "egor228"},
			"pubKeyCredParams":       []any{map[string]any{"type": "public-key", "alg": -7}, map[string]any{"type": "public-key", "alg": -8}, map[string]any{"type": "public-key", "alg": -257}},
			"authenticatorSelection": map[string]any{"residentKey": "preferred", "requireResidentKey": false, "userVerification": "preferred"},
		}},
	}
}

func options(o account.PasskeyOptions, err error) (reply, error) {
	return reply{data: passkeyOptions{optionsJSON{jsontext.Value(o)}}}, err
}

// passkeyAnswer is what a browser gives of a passkey: an object that is kept as it
// came.
type passkeyAnswer struct{ jsontext.Value }

// UnmarshalJSONFrom takes an object, and null for none.
func (p *passkeyAnswer) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind := d.PeekKind()
	v, err := d.ReadValue()
	if err != nil || kind == 'n' {
		return err
	}
	if kind != '{' {
		return &json.SemanticError{JSONKind: kind, GoType: reflect.TypeFor[passkeyAnswer]()}
	}
	p.Value = v.Clone()
	return nil
}

// Schema implements [huma.SchemaProvider].
func (passkeyAnswer) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Description: "The answer of a passkey: PublicKeyCredential.toJSON(), as it is.",
		Examples: []any{map[string]any{
			"id": aPasskeyID, "rawId": aPasskeyID, "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{},
			"response": map[string]any{
				"clientDataJSON":    "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoibWRXS0hCdzBZYUF4dWk3X3dlS0YwYUNld1JpYi1aWDlZa0VwQnVjMGVGQSIsIm9yaWdpbiI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20iLCJjcm9zc09yaWdpbiI6ZmFsc2V9",
				"authenticatorData": "JlkQTsAKdriMqE84HF0LUSqgiRqfQADxZkQh8fexppkFAAAAAg",
				"signature":         "MEQCIENxCCpuabxK9ykJce6nGhDLstmUGBceAtYS7j8mLjZ6AiB7fa-lhDPDJpyqGEH22Wu3zQ9mfPH-wbpJ9boAXFMMRQ",
				"userHandle":        "wiNhgPq2QluyB-oz2l3MZw",
			},
		}},
	}
}

// aPasskeyID and what is made with it stand in examples. A browser's virtual
// authenticator has made them, for options that stand there too.
const aPasskeyID = "BPEC9R5B9_T_DDUtCnq3t5CtYm-s4aCa12L0ulhKQD0"

func anAttestation() map[string]any {
	return map[string]any{
		"id": aPasskeyID, "rawId": aPasskeyID, "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{},
		"response": map[string]any{
			"clientDataJSON":    "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiUUZuTXNEUklQa1pIYXFWT0tVWWxHLXZfUzNvNTdmYjlSRjM2TnN4S0lZSSIsIm9yaWdpbiI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20iLCJjcm9zc09yaWdpbiI6ZmFsc2V9",
			"attestationObject": "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YVikJlkQTsAKdriMqE84HF0LUSqgiRqfQADxZkQh8fexpplFAAAAAQECAwQFBgcIAQIDBAUGBwgAIATxAvUeQff0_ww1LQp6t7eQrWJvrOGgmtdi9LpYSkA9pQECAyYgASFYIFA95jb1UpQiulCp_C7Kyanis2tueZ9mff1KgpY2lY1YIlggdcugdyS4L_cWpqO6UfWzlBt-DvcvmJf8tIHqunDcXLA",
			"transports":        []string{"internal"},
		},
	}
}

// newPasskey is what a browser gives of a passkey that it has made.
type newPasskey struct{ passkeyAnswer }

// Schema implements [huma.SchemaProvider].
func (newPasskey) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Description: "The new passkey: PublicKeyCredential.toJSON(), as it is.",
		Examples: []any{anAttestation()},
	}
}

type passkeyItem struct {
	ID         string  `json:"id" format:"uuid" example:"b1f4c0de-3a52-4d0c-9a3e-6f1d2c7b8a90"`
	Name       string  `json:"name" example:"Anna's phone"`
	Created    string  `json:"created" format:"date-time" example:"2024-12-15T15:48:46.195517+03:00"`
	LastUsedAt *string `json:"last_used_at" nullable:"true" format:"date-time" example:"2024-12-15T21:01:34.382072+03:00"`
	BackedUp   bool    `json:"backed_up" doc:"Its key is kept on more than one device." example:"true"`
}

func (a *API) passkeyItem(p account.PasskeyData) passkeyItem {
	return passkeyItem{ID: p.ID, Name: p.Name, Created: a.time(p.CreatedAt), LastUsedAt: a.optionalTime(p.LastUsedAt), BackedUp: p.BackedUp}
}

func (a *API) passkeyItems(all []account.PasskeyData) []passkeyItem {
	out := []passkeyItem{}
	for _, p := range all {
		out = append(out, a.passkeyItem(p))
	}
	return out
}

type passkeyList struct {
	Passkeys []passkeyItem `json:"passkeys" nullable:"false" doc:"The oldest first."`
}

func (a *API) passkeys(r *request) (reply, error) {
	all, err := a.service.Passkeys(r.Context(), r.caller)
	return reply{data: passkeyList{a.passkeyItems(all)}}, err
}

func (a *API) beginPasskey(r *request) (reply, error) {
	o, err := a.service.BeginPasskey(r.Context(), r.caller)
	return reply{data: newPasskeyOptions{newOptionsJSON{jsontext.Value(o)}}}, err
}

type addPasskeyRequest struct {
	Name    string     `json:"name,omitempty" doc:"What its owner calls it, in at most 64 characters; without one it is named after what keeps it." example:"Anna's phone"`
	Passkey newPasskey `json:"passkey"`
}

// passkeyAdded is a new passkey, and, where it is the account's first factor,
// recovery codes.
type passkeyAdded struct {
	Passkey passkeyItem `json:"passkey"`
	FactorAdded
}

func (passkeyAdded) cases() []exampleCase {
	return []exampleCase{
		{name: "first", about: "The account's first factor", fields: "passkey recovery_codes"},
		{name: "further", about: "One more factor", fields: "passkey"},
	}
}

func (a *API) addPasskey(r *request, in *addPasskeyRequest) (reply, error) {
	p, f, err := a.service.AddPasskey(r.Context(), r.caller, in.Name, in.Passkey.Value)
	return reply{data: passkeyAdded{Passkey: a.passkeyItem(p), FactorAdded: added(f)}}, err
}

type renamePasskeyRequest struct {
	Name string `json:"name" doc:"At most 64 characters." example:"Anna's phone"`
}

func (a *API) renamePasskey(r *request, in *renamePasskeyRequest) (reply, error) {
	return reply{}, a.service.RenamePasskey(r.Context(), r.caller, r.PathValue("passkey_id"), in.Name)
}

func (a *API) removePasskey(r *request) (reply, error) {
	return reply{}, a.service.RemovePasskey(r.Context(), r.caller, r.PathValue("passkey_id"))
}

func (a *API) passkeyLoginOptions(r *request, in *optionalNameRequest) (reply, error) {
	return options(a.service.PasskeyLoginOptions(r.Context(), r.caller, in.EmailOrName))
}

type passkeyLoginRequest struct {
	Passkey    passkeyAnswer `json:"passkey"`
	RememberMe *bool         `json:"remember_me,omitempty" doc:"A token that lives longer." example:"false"`
}

func (a *API) loginWithPasskey(r *request, in *passkeyLoginRequest) (reply, error) {
	t, err := a.service.LoginWithPasskey(r.Context(), r.caller, account.PasskeyLogin{
		Passkey: in.Passkey.Value, RememberMe: in.RememberMe != nil && *in.RememberMe,
	})
	if err != nil {
		return reply{}, err
	}
	return a.loggedIn(t), nil
}

type challengeRequest struct {
	Challenge secret `json:"challenge" doc:"That the login answered with." example:"y_FbWaWtI-OzQj5aQs8fWRDV9Fw6ZbEik-ZZ051vdoo"`
}

func (a *API) passkeyFactorOptions(r *request, in *challengeRequest) (reply, error) {
	return options(a.service.PasskeyFactorOptions(r.Context(), in.Challenge.Secret))
}

func (a *API) passkeyAgainOptions(r *request) (reply, error) {
	return options(a.service.PasskeyAgainOptions(r.Context(), r.caller))
}

// relatedOrigins is the document by which a browser lets pages of other origins
// use the passkeys (WebAuthn level 3, section 5.11). It belongs at the relying
// party's own domain.
type relatedOrigins struct {
	Origins []string `json:"origins" nullable:"false" example:"[\"https://example.com\",\"https://example.ru\"]"`
}

const relatedOriginsPath = "/.well-known/webauthn"

func (a *API) relatedOrigins(w http.ResponseWriter, r *http.Request) {
	origins := a.service.RelatedOrigins()
	if len(origins) == 0 {
		a.nowhere(w, r)
		return
	}
	traceOf(r).Route = relatedOriginsPath
	a.write(w, r, reply{status: http.StatusOK, data: relatedOrigins{origins}}, true)
}
