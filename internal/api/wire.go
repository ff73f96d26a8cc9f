package api

import (
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/account"
)

// timeFormat is that of the API's seed: RFC 3339 with six digits of a second
// and an offset.
const timeFormat = "2006-01-02T15:04:05.000000-07:00"

func (a *API) time(t time.Time) string { return t.In(a.zone).Format(timeFormat) }

// optionalTime gives null for the zero time.
func (a *API) optionalTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := a.time(t)
	return &s
}

// secret is a string that comes in and is never printed. It goes out in answers
// that hand a token to its owner, and only through reveal.
type secret struct{ account.Secret }

// MarshalJSONTo writes the text itself: what has this type in an answer is
// meant for its reader.
func (s secret) MarshalJSONTo(e *jsontext.Encoder) error {
	return e.WriteToken(jsontext.String(s.Reveal()))
}

// UnmarshalJSONFrom takes a string, and null for none.
func (s *secret) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var v *string
	if err := json.UnmarshalDecode(d, &v); err != nil {
		return err
	}
	if v != nil {
		s.Secret = account.NewSecret(*v)
	}
	return nil
}

// Schema implements [huma.SchemaProvider].
func (secret) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "password"}
}

// opt is a field that may be left out, or null; a merge patch (RFC 7396) tells
// these apart.
type opt[T any] struct {
	set   bool
	value T // zero for null
}

// UnmarshalJSONFrom notes that the field was there.
func (o *opt[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var v *T
	if err := json.UnmarshalDecode(d, &v); err != nil {
		return err
	}
	o.set = true
	if v != nil {
		o.value = *v
	}
	return nil
}

// Schema implements [huma.SchemaProvider].
func (opt[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[*T](), true, "")
}

func (o opt[T]) field() account.Field[T] { return account.Field[T]{Set: o.set, Value: o.value} }

type failEnvelope struct {
	Status string   `json:"status" enum:"fail" doc:"A mistake of the caller."`
	Data   failData `json:"data"`
}

type failData struct {
	Code    account.Code          `json:"code" doc:"Stable name of what is wrong." example:"invalid_fields"`
	Message string                `json:"message" doc:"The same for people, in the language of Accept-Language." example:"Some fields are not valid."`
	Fields  map[string]fieldFault `json:"fields,omitempty" doc:"Every field that is at fault, by its name."`
	Unfinished
}

// Unfinished is what a refusal says of a login that needs another factor, or of a
// proof that does.
type Unfinished struct {
	Challenge *secret  `json:"challenge,omitempty" doc:"For POST /auth/login/second-factor, within ten minutes." example:"y_FbWaWtI-OzQj5aQs8fWRDV9Fw6ZbEik-ZZ051vdoo"`
	Factors   []string `json:"factors,omitempty" doc:"The second factors that will do: totp, passkey, recovery_codes." example:"[\"totp\",\"recovery_codes\"]"`
}

type fieldFault struct {
	Code    account.Code `json:"code" example:"email_taken"`
	Message string       `json:"message" example:"That e-mail address is already in use."`
}

type errorEnvelope struct {
	Status  string       `json:"status" enum:"error" doc:"A fault on our side."`
	Code    account.Code `json:"code" example:"unavailable"`
	Message string       `json:"message" example:"The service cannot do this right now."`
	Data    errorData    `json:"data"`
}

type errorData struct {
	RequestID string `json:"request_id" doc:"What to tell the operator." example:"d1c2a3b49f8e7d60"`
}

type problem struct {
	Type      string                `json:"type" format:"uri" example:"urn:propusk:error:email_taken"`
	Title     string                `json:"title" example:"Conflict"`
	Status    int                   `json:"status" example:"409"`
	Detail    string                `json:"detail" example:"That e-mail address is already in use."`
	Code      account.Code          `json:"code" example:"email_taken"`
	Fields    map[string]fieldFault `json:"fields,omitempty"`
	RequestID string                `json:"request_id" example:"d1c2a3b49f8e7d60"`
	Unfinished
}
