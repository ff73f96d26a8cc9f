package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"propusk/internal/account"
)

type registerRequest struct {
	UserType      string  `json:"user_type,omitempty" doc:"\"ind\" is a person, \"org\" an organisation." example:"ind"`
	Username      string  `json:"username" doc:"2 to 64 characters, without @. Case and look-alike letters do not make another name." example:"egor228"`
	Password      secret  `json:"password" doc:"8 to 256 characters; common ones, and those made of the account's own data, are refused." example:"corAl-Teapot-93-lantern"`
	Email         string  `json:"email" doc:"Kept as typed, compared without regard to case." example:"citymodz@yandex.com"`
	ContactNumber *string `json:"contact_number,omitempty" nullable:"true" doc:"A phone number in international or local form." example:"+79853553825"`
}

type registered struct {
	UserID string `json:"user_id" format:"uuid" example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
}

func (a *API) register(r *request, in *registerRequest) (reply, error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return reply{}, err
	}
	id, replayed, err := a.service.Register(r.Context(), r.caller, account.Registration{
		UserType: in.UserType, Username: in.Username, Password: in.Password.Secret, Email: in.Email,
		ContactNumber: orEmpty(in.ContactNumber), IdempotencyKey: key,
	})
	if err != nil {
		return reply{}, err
	}
	rep := reply{data: registered{UserID: id}, header: map[string]string{"Location": "/" + id}}
	if id == "" { // there is none before the mail is answered
		rep = reply{status: http.StatusAccepted, header: map[string]string{}}
	}
	if replayed {
		rep.header["Idempotent-Replayed"] = "true"
	}
	return rep, nil
}

// idempotencyKey: 1 to 255 visible ASCII characters.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	k := values[0]
	if len(values) > 1 || k == "" || len(k) > 255 || strings.ContainsFunc(k, func(r rune) bool { return r < '!' || r > '~' }) {
		return "", headerInvalid("Idempotency-Key")
	}
	return k, nil
}

func headerInvalid(name string) *failure {
	f := fail(http.StatusBadRequest, codeHeaderInvalid)
	f.fault.Args = map[string]string{"header": name}
	return f
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// userData is a user in the eight fields of the seed, in its order.
type userData struct {
	ID            string  `json:"id" format:"uuid" example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
	Email         string  `json:"email" example:"AGUREZ@yandex.com"`
	UserType      string  `json:"user_type" example:"ind"`
	Username      string  `json:"username" example:"egor228"`
	ContactNumber *string `json:"contact_number" nullable:"true" doc:"E.164; null where there is none." example:"+79853553825"`
	UserRole      string  `json:"user_role" doc:"Not_Verifyed, Verified, Admin, or another." example:"Not_Verifyed"`
	Created       string  `json:"created" format:"date-time" example:"2024-12-15T15:48:46.195517+03:00"`
	Updated       string  `json:"updated" format:"date-time" example:"2024-12-15T21:01:34.382072+03:00"`
}

func (a *API) readUser(r *request) (reply, error) {
	u, err := a.service.User(r.Context(), r.caller, r.PathValue("user_id"))
	if err != nil {
		return reply{}, err
	}
	d := userData{
		ID: u.ID, Email: u.Email, UserType: u.UserType, Username: u.Username, UserRole: u.Role,
		Created: a.time(u.CreatedAt), Updated: a.time(u.UpdatedAt),
	}
	if u.ContactNumber != "" {
		d.ContactNumber = &u.ContactNumber
	}
	return reply{data: d, etag: u.ETag()}, nil
}

// ReadOnly are the fields of a user that may come back as they were read.
type ReadOnly struct {
	ID       opt[string] `json:"id,omitzero" doc:"Read-only: may be present if it equals the present value." example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
	UserRole opt[string] `json:"user_role,omitzero" doc:"Read-only: may be present if it equals the present value." example:"Not_Verifyed"`
	Created  opt[string] `json:"created,omitzero" doc:"Read-only: may be present if it equals the present value." example:"2024-12-15T15:48:46.195517+03:00"`
	Updated  opt[string] `json:"updated,omitzero" doc:"Read-only: may be present if it equals the present value." example:"2024-12-15T21:01:34.382072+03:00"`
}

func (o ReadOnly) compare() map[string]func(account.UserData) bool {
	m := map[string]func(account.UserData) bool{}
	if o.ID.set { // null too is another value than the present one
		m["id"] = func(u account.UserData) bool { return o.ID.value == u.ID }
	}
	if o.UserRole.set {
		m["user_role"] = func(u account.UserData) bool { return o.UserRole.value == u.Role }
	}
	if o.Created.set {
		m["created"] = func(u account.UserData) bool { return sameInstant(o.Created.value, u.CreatedAt) }
	}
	if o.Updated.set {
		m["updated"] = func(u account.UserData) bool { return sameInstant(o.Updated.value, u.UpdatedAt) }
	}
	return m
}

func sameInstant(s string, t time.Time) bool {
	given, err := time.Parse(time.RFC3339Nano, s)
	return err == nil && given.Equal(t)
}

type replaceRequest struct {
	UserType        string  `json:"user_type,omitempty" example:"ind"`
	Username        string  `json:"username" example:"egor228"`
	Password        *secret `json:"password,omitempty" doc:"Left out, it stays as it is. A new one ends every other session." example:"Quiet-harbour-58-Maple"`
	Email           string  `json:"email" doc:"Takes effect at once where the present one was never proven; otherwise once the new one is proven too." example:"AGUREZ@yandex.com"`
	ContactNumber   *string `json:"contact_number,omitempty" nullable:"true" doc:"Left out or null: none." example:"+79853553825"`
	CurrentPassword *secret `json:"current_password,omitempty" doc:"The caller's own password: needed to change password or e-mail address where the last proof of identity is older than 15 minutes." example:"corAl-Teapot-93-lantern"`
	ReadOnly
}

func (replaceRequest) cases() []exampleCase {
	const document = "user_type username email contact_number"
	return []exampleCase{
		{name: "fields", about: "Other fields, the same password", fields: document + " current_password"},
		{name: "password", about: "A new password too", fields: document + " password current_password"},
		{name: "as_read", about: "What was read, with one field changed", fields: "id user_role created updated " + document},
	}
}

func (a *API) replaceUser(r *request, in *replaceRequest) (reply, error) {
	return a.change(r, a.service.ReplaceUser, account.UserChange{
		UserType: account.Given(in.UserType), Username: account.Given(in.Username), Email: account.Given(in.Email),
		ContactNumber: account.Given(orEmpty(in.ContactNumber)), Password: given(in.Password),
		CurrentPassword: given(in.CurrentPassword), ReadOnly: in.compare(),
	})
}

func given(s *secret) (f account.Field[account.Secret]) {
	if s != nil {
		f = account.Given(s.Secret)
	}
	return f
}

type patchRequest struct {
	UserType        opt[string] `json:"user_type,omitzero" example:"ind"`
	Username        opt[string] `json:"username,omitzero" example:"egor228"`
	Password        opt[secret] `json:"password,omitzero" doc:"A new one ends every other session. It cannot be removed." example:"Quiet-harbour-58-Maple"`
	Email           opt[string] `json:"email,omitzero" example:"AGUREZ@yandex.com"`
	ContactNumber   opt[string] `json:"contact_number,omitzero" doc:"null removes it." example:"+79853553825"`
	CurrentPassword *secret     `json:"current_password,omitempty" doc:"See PUT." example:"corAl-Teapot-93-lantern"`
	ReadOnly
}

func (a *API) patchUser(r *request, in *patchRequest) (reply, error) {
	return a.change(r, a.service.PatchUser, account.UserChange{
		UserType: in.UserType.field(), Username: in.Username.field(), Email: in.Email.field(),
		ContactNumber: in.ContactNumber.field(), CurrentPassword: given(in.CurrentPassword), ReadOnly: in.compare(),
		Password: account.Field[account.Secret]{Set: in.Password.set, Value: in.Password.value.Secret},
	})
}

func (patchRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "email", about: "Another e-mail address", fields: "email current_password"},
		{name: "password", about: "A new password", fields: "password current_password"},
		{name: "names", about: "Another kind of user, another username", fields: "user_type username"},
		{name: "no_number", about: "No phone number any more", fields: "contact_number", with: map[string]any{"contact_number": nil}},
		{name: "as_read", about: "With what was read beside it", fields: "contact_number id user_role created updated"},
	}
}

type changeFunc func(context.Context, account.Caller, string, account.UserChange) error

func (a *API) change(r *request, rule changeFunc, c account.UserChange) (reply, error) {
	var err error
	if c.IfVersion, err = ifMatch(r.Header); err != nil {
		return reply{}, err
	}
	return reply{}, rule(r.Context(), r.caller, r.PathValue("user_id"), c)
}

func (a *API) deleteUser(r *request) (reply, error) {
	version, err := ifMatch(r.Header)
	if err != nil {
		return reply{}, err
	}
	return reply{}, a.service.DeleteUser(r.Context(), r.caller, r.PathValue("user_id"), version)
}

// ifMatch reads If-Match (RFC 9110, section 13.1.1): nil where there is none.
// A weak tag never matches.
func ifMatch(h http.Header) (func(version int64) bool, error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	list := strings.Join(values, ",")
	if strings.Trim(list, " \t") == "*" {
		return func(int64) bool { return true }, nil
	}
	strong, ok := entityTags(list)
	if !ok {
		return nil, headerInvalid("If-Match")
	}
	return func(version int64) bool { return slices.Contains(strong, strconv.FormatInt(version, 10)) }, nil
}

// entityTags gives the strong ones of a list of entity tags (RFC 9110, sections
// 5.6.1 and 8.8.3), without their quotes. A comma in quotes is part of a tag.
func entityTags(list string) (strong []string, ok bool) {
	for {
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			return strong, ok
		}
		rest, weak := strings.CutPrefix(list, "W/")
		if rest == "" || rest[0] != '"' {
			return nil, false
		}
		tag, after, closed := strings.Cut(rest[1:], `"`)
		list = strings.TrimLeft(after, " \t")
		if !closed || list != "" && list[0] != ',' || strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return nil, false
		}
		if !weak {
			strong = append(strong, tag)
		}
		ok = true
	}
}
