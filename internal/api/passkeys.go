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
		Description: "For PublicKeyCredential.parseCreationOptionsFromJSON() where a passkey is added, else for parseRequestOptionsFromJSON() (WebAuthn level 3, section 5.1). They hold for five minutes, and for one answer.",
		Examples: []any{map[string]any{
			"challenge": "q8vGqXJrKMLm2Vb0w4w9n1bqkI0VvV1vA7q3yq5Qy5E", "rpId": "id.example.com", "timeout": 300000, "userVerification": "required",
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
			"id": "Ab3k0kqQm4hX0t1cTq7V2w", "rawId": "Ab3k0kqQm4hX0t1cTq7V2w", "type": "public-key", "clientExtensionResults": map[string]any{},
			"response": map[string]any{
				"clientDataJSON":    "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoicTh2R3FYSnJLTUxtMlZiMHc0dzluMWJxa0kwVnZWMXZBN3EzeXE1UXk1RSIsIm9yaWdpbiI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20ifQ",
				"authenticatorData": "LLsgiVPu0kBGYTv2qCcnD8NPzsd1ZKuYuLAL8GKgl1sdAAAAAA",
				"signature":         "MEUCIQDk6Q3bWg8nY0mC0rB5l1uJx3J7xgW0m4H0m5Z3k0y1bAIgJ6kq2Pz5m0dK7v9cV3f1tq8nM2xWq7hR4s6u8y0A1Bc",
				"userHandle":        "5fhDPnapRQmH8OGxI1TZKw",
			},
		}},
	}
}

type passkeyItem struct {
	ID         string  `json:"id" format:"uuid"`
	Name       string  `json:"name" example:"Anna's phone"`
	Created    string  `json:"created" format:"date-time"`
	LastUsedAt *string `json:"last_used_at" nullable:"true" format:"date-time"`
	BackedUp   bool    `json:"backed_up" doc:"Its key is kept on more than one device."`
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
	return options(a.service.BeginPasskey(r.Context(), r.caller))
}

type addPasskeyRequest struct {
	Name    string        `json:"name,omitempty" doc:"What its owner calls it, in at most 64 characters; without one it is named after what keeps it." example:"Anna's phone"`
	Passkey passkeyAnswer `json:"passkey"`
}

// passkeyAdded is a new passkey, and, where it is the account's first factor,
// recovery codes.
type passkeyAdded struct {
	Passkey passkeyItem `json:"passkey"`
	FactorAdded
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
	RememberMe *bool         `json:"remember_me,omitempty" doc:"A token that lives longer." example:"true"`
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
	Challenge secret `json:"challenge" doc:"That the login answered with."`
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
