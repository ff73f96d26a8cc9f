package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"propusk/internal/account"
)

// document makes the OpenAPI 3.1 document from the routes and the types on the
// wire. Every answer of the test suite is held against it.
func document(o Options, routes []route) ([]byte, error) {
	b := &builder{schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)}
	server := o.PublicURL
	if server == "" {
		server = "/"
	}
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Propusk", Version: o.Version,
			Description: "User management and authentication: register, log in by e-mail address or name, get a token, tell other services whose token it is.\n\n" +
				"Answers are JSend: `{\"status\":\"success\",\"data\":…}`. Errors carry a stable `code`, a `message` in the language of `Accept-Language` (English, Russian), " +
				"and every field that is at fault; with `Accept: application/problem+json` they come as RFC 9457.\n\n" +
				errorTable(),
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			Contact: &huma.Contact{Name: "The operator of this instance"},
		},
		Servers: []*huma.Server{{URL: server, Description: "This instance"}},
		Tags: []*huma.Tag{
			{Name: "account", Description: "What a user is and how he changes it."},
			{Name: "session", Description: "From a password to a token, and what becomes of it."},
			{Name: "second factor", Description: "Authenticator apps, passkeys and recovery codes: adding and removing them."},
			{Name: "administration", Description: "For an Admin: what other users cannot do for themselves."},
			{Name: "service", Description: "For gateways and services that were handed a token."},
			{Name: "operation", Description: "For those who run the service."},
		},
		Paths: map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas: b.schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token":           {Type: "http", Scheme: "bearer", Description: "The token of POST /auth/login."},
				"serviceKey":      {Type: "http", Scheme: "bearer", Description: "The key of a service, of propusk key add."},
				"serviceKeyBasic": {Type: "http", Scheme: "basic", Description: "The key of a service as the password, its id or name as the user."},
			},
		},
	}
	for _, r := range routes {
		for i, path := range r.paths {
			item := doc.Paths[path]
			if item == nil {
				item = &huma.PathItem{}
				doc.Paths[path] = item
			}
			setOperation(item, r.method, b.operation(r, path, i))
		}
	}
	if b.err != nil {
		return nil, fmt.Errorf("openapi document: %w", b.err)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	return out.Bytes(), nil
}

// errorTable lists every code in Markdown. It is prose and no enum: a new code
// must not break a client that was generated before.
func errorTable() string {
	all := maps.Clone(codes)
	maps.Copy(all, account.Codes)
	var b strings.Builder
	b.WriteString("## Error codes\n\n| code | meaning |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, all[code].EN)
	}
	return b.String()
}

func setOperation(item *huma.PathItem, method string, op *huma.Operation) {
	switch method {
	case http.MethodGet:
		item.Get = op
	case http.MethodPost:
		item.Post = op
	case http.MethodPut:
		item.Put = op
	case http.MethodPatch:
		item.Patch = op
	case http.MethodDelete:
		item.Delete = op
	}
}

type builder struct {
	schemas huma.Registry
	err     error // what is wrong with the examples
}

func (b *builder) schemaOf(v any) *huma.Schema {
	return b.schemas.Schema(reflect.TypeOf(v), true, "")
}

func (b *builder) operation(r route, path string, index int) *huma.Operation {
	op := &huma.Operation{
		OperationID: r.id, Summary: r.summary, Description: r.about, Tags: []string{r.tag},
		Responses: map[string]*huma.Response{}, Security: []map[string][]string{},
	}
	if index > 0 {
		op.OperationID += "Alias"
		op.Description = "The same as `" + r.paths[0] + "`. " + op.Description
	}
	switch r.access {
	case token:
		op.Security = []map[string][]string{{"token": {}}}
	case tokenOrNetwork: // an address of the trusted networks needs none
		op.Security = []map[string][]string{{"token": {}}, {}}
	case serviceKey:
		op.Security = []map[string][]string{{"serviceKey": {}}, {"serviceKeyBasic": {}}}
	case optional:
		op.Security = []map[string][]string{{"token": {}}, {}}
	case public:
	}
	for _, name := range r.query {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: name, In: "query", Description: "Roles that may pass, with commas between them; given at most once.",
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "Admin,Verified",
		})
	}
	for _, name := range []string{"user_id", "session_id", "passkey_id"} {
		if strings.Contains(path, "{"+name+"}") {
			op.Parameters = append(op.Parameters, &huma.Param{
				Name: name, In: "path", Required: true, Description: "The id, in canonical form.",
				Schema: &huma.Schema{Type: huma.TypeString}, Example: "e5f8433e-76a9-4509-87f0-e1b12354d92b",
			})
		}
	}
	for _, name := range r.headers {
		op.Parameters = append(op.Parameters, requestHeader(name))
	}
	if r.in != nil {
		op.RequestBody = b.body(r)
	}
	op.Responses[strconv.Itoa(r.status)] = b.success(r)
	if r.later {
		without := r
		without.out, without.answers = nil, nil
		op.Responses[strconv.Itoa(http.StatusAccepted)] = b.success(without)
	}
	for _, status := range refusals(r) {
		res := b.refusal(status, r.oauth)
		if status == http.StatusUnauthorized {
			b.exemplifyRefusal(res, status, r.unauthorized)
		}
		op.Responses[strconv.Itoa(status)] = res
	}
	return op
}

func requestHeader(name string) *huma.Param {
	about := map[string]string{
		"Idempotency-Key": "1 to 255 visible ASCII characters, new for every request that means something new.",
		"If-Match":        "Do it only if the user's ETag still is one of these.",
		deviceHeader:      "The mark of this device, as a login gave it; the cookie does the same.",
	}
	return &huma.Param{Name: name, In: "header", Description: about[name], Schema: &huma.Schema{Type: huma.TypeString}}
}

func (b *builder) body(r route) *huma.RequestBody {
	content := map[string]*huma.MediaType{"application/json": {Schema: b.schemaOf(r.in)}}
	if r.oauth {
		content = map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: b.formOf(r.in)}}
	}
	if r.method == http.MethodPatch {
		content["application/merge-patch+json"] = &huma.MediaType{Schema: b.schemaOf(r.in)}
	}
	for _, media := range content {
		b.exemplify(media, r.in, bare)
	}
	return &huma.RequestBody{Required: true, Description: r.summary + ".", Content: content}
}

// formOf is the schema of a form, in which strangers' parameters are left alone
// (RFC 6749, section 3.1).
func (b *builder) formOf(v any) *huma.Schema {
	ref := b.schemaOf(v)
	b.schemas.SchemaFromRef(ref.Ref).AdditionalProperties = true
	return ref
}

func (b *builder) success(r route) *huma.Response {
	res := &huma.Response{Description: r.summary + ": done.", Headers: map[string]*huma.Param{}}
	if !r.bodyless {
		res.Content = map[string]*huma.MediaType{"application/json": b.successBody(r)}
	}
	for _, name := range r.answers {
		about := map[string]string{
			"ETag":                "Names this version of the user, for If-Match.",
			"Location":            "The path of the new user.",
			"Idempotent-Replayed": "\"true\" where the answer is that of an earlier request with the same key.",
			deviceHeader:          "The mark of this device for this account. Keep it as you keep a password, and send it with the next login.",
			"Set-Cookie":          "The same mark, for browsers.",
			"X-User-Id":           "Whose token it is.",
			"X-User-Role":         "The role of the user.",
			"X-Session-Id":        "The session of the token.",
			"Cache-Control":       "For how long the gateway need not ask again; within the bound for revocations.",
		}
		res.Headers[name] = &huma.Header{Description: about[name], Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return res
}

// successBody is the envelope with what the route gives, or, where the body is not
// ours to shape, that alone.
func (b *builder) successBody(r route) *huma.MediaType {
	switch {
	case r.id == "openapi":
		return &huma.MediaType{
			Schema:  &huma.Schema{Type: huma.TypeObject, Description: "An OpenAPI 3.1 document."},
			Example: object{{"openapi", "3.1.0"}, {"info", object{{"title", "Propusk"}, {"version", "1.0.0"}}}, {"paths", object{}}},
		}
	case r.oauth && r.out == nil:
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject, Description: "Nothing."}, Example: object{}}
	case r.oauth || r.id == "relatedOrigins":
		media := &huma.MediaType{Schema: b.schemaOf(r.out)}
		b.exemplify(media, r.out, bare)
		return media
	}
	media := &huma.MediaType{
		Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"status"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"status": {Type: huma.TypeString, Enum: []any{"success"}}},
		},
		Example: object{{"status", "success"}},
	}
	if r.out != nil {
		media.Schema.Properties["data"] = b.schemaOf(r.out)
		media.Schema.Required = append(media.Schema.Required, "data")
		media.Example = nil
		b.exemplify(media, r.out, enveloped)
	}
	return media
}

// refusals are the statuses that a route can answer beside success: its own,
// and those that come with having a body or needing a token.
func refusals(r route) []int {
	set := map[int]bool{http.StatusInternalServerError: true, http.StatusServiceUnavailable: true}
	for _, s := range r.refuses {
		set[s] = true
	}
	if r.access != public {
		set[http.StatusUnauthorized] = true
	}
	if r.in != nil {
		for _, s := range []int{400, 413, 415, 422} {
			set[s] = true
		}
	}
	if len(r.headers) > 0 {
		set[http.StatusBadRequest] = true
	}
	if r.oauth {
		delete(set, 422)
	}
	if r.method != http.MethodGet {
		set[http.StatusForbidden] = true // a page of another origin
	}
	return slices.Sorted(maps.Keys(set))
}

func (b *builder) refusal(status int, oauth bool) *huma.Response {
	envelope := b.schemaOf(failEnvelope{})
	if status >= 500 {
		envelope = b.schemaOf(errorEnvelope{})
	}
	res := &huma.Response{
		Description: http.StatusText(status) + ".",
		Headers:     map[string]*huma.Param{},
		Content: map[string]*huma.MediaType{
			"application/json":         {Schema: envelope},
			"application/problem+json": {Schema: b.schemaOf(problem{})},
		},
	}
	if oauth {
		res.Content = map[string]*huma.MediaType{"application/json": {Schema: b.schemaOf(oauthError{})}}
	}
	text := &huma.Schema{Type: huma.TypeString}
	switch status {
	case http.StatusUnauthorized:
		res.Headers["WWW-Authenticate"] = &huma.Header{Description: "How to authenticate (RFC 6750).", Schema: text}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		res.Headers["Retry-After"] = &huma.Header{Description: "Seconds to wait.", Schema: text}
	}
	return res
}
