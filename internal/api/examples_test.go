package api_test

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi-validator/config"
	schemas "github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/pb33f/libopenapi/orderedmap"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// call is an operation of the OpenAPI document.
type call struct {
	method, path string
	*v3.Operation
}

func (c call) String() string { return c.method + " " + c.path }

// calls reads the OpenAPI document as its readers do.
func calls(t *testing.T, c *apptest.Client) (all []call) {
	t.Helper()
	doc, err := libopenapi.NewDocument(c.Do(t, "GET", "/openapi.json", nil).Want(t, 200).Body)
	if err != nil {
		t.Fatal(err)
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			all = append(all, call{strings.ToUpper(method), path, op})
		}
	}
	if len(all) < 50 {
		t.Fatalf("the document has %d operations", len(all))
	}
	return all
}

// examplesOf are those of a body, by media type and name.
func examplesOf(t *testing.T, content *orderedmap.Map[string, *v3.MediaType]) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for mediaType, media := range content.FromOldest() {
		all[mediaType] = map[string]any{}
		decode := func(name string, node interface{ Decode(any) error }) {
			var v any
			if err := node.Decode(&v); err != nil {
				t.Fatal(err)
			}
			all[mediaType][name] = v
		}
		if media.Example != nil {
			decode("", media.Example)
		}
		for name, example := range media.Examples.FromOldest() {
			if example.Summary == "" {
				t.Errorf("the example %s does not say what it is", name)
			}
			decode(name, example.Value)
		}
	}
	return all
}

// Every body that is sent or comes back in the end has an example, and every
// example, of refusals too, is what its schema says.
func TestEveryBodyHasAnExample(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	validator := schemas.NewSchemaValidator(config.WithFormatAssertions())
	examples := 0
	check := func(what string, content *orderedmap.Map[string, *v3.MediaType], must bool) {
		t.Helper()
		for mediaType, all := range examplesOf(t, content) {
			if must && len(all) == 0 {
				t.Errorf("%s, %s: no example", what, mediaType)
			}
			for name, example := range all {
				examples++
				b, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				ok, errs := validator.ValidateSchemaBytes(content.GetOrZero(mediaType).Schema.Schema(), b)
				for _, e := range errs {
					t.Errorf("%s, %s, example %q: %s (%v)", what, mediaType, name, e.Reason, e.SchemaValidationErrors)
				}
				if !ok && len(errs) == 0 {
					t.Errorf("%s, %s, example %q is not valid", what, mediaType, name)
				}
			}
		}
	}
	for _, c := range calls(t, a.Client) {
		if c.RequestBody != nil {
			check(c.String(), c.RequestBody.Content, true)
		}
		for status, response := range c.Responses.Codes.FromOldest() {
			check(c.String()+" → "+status, response.Content, strings.HasPrefix(status, "2"))
		}
	}
	if examples < 100 {
		t.Errorf("%d examples were looked at", examples)
	}
}

// A login that needs another factor is what no schema explains.
func TestLoginsShowWhatIsUnfinished(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:"})
	found := 0
	for _, c := range calls(t, a.Client) {
		if c.path != "/auth/login" && c.path != "/login" && c.path != "/auth/login/code" {
			continue
		}
		for mediaType, all := range examplesOf(t, c.Responses.Codes.GetOrZero("401").Content) {
			for _, code := range []account.Code{account.CodeSecondFactorRequired, account.CodeSecondFactorEnrolment} {
				data, _ := all[string(code)].(map[string]any)
				if mediaType == "application/json" {
					data, _ = data["data"].(map[string]any)
				}
				if data["code"] != string(code) || data["challenge"] == nil || data["factors"] == nil {
					t.Errorf("%s, %s: the example of %s is %v", c, mediaType, code, data)
				}
				found++
			}
		}
	}
	if found != 12 { // three calls, two forms, two codes
		t.Errorf("%d examples were looked at", found)
	}
}

var placeholder = regexp.MustCompile(`\{\w+\}`)

// The service takes every example of a request: it may refuse what it means, since
// no such link was sent and no such code is right, but not its form.
func TestExamplesOfRequestsAreTaken(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: "sqlite::memory:", Policy: func(p *account.Policy) {
		p.AttemptsPerAccount, p.AttemptsLimit, p.MessagesPerAddress, p.AsksPerNetwork = 1000, 100, 1000, 1000
	}})
	_, key := addKey(t, a, "examples")
	sent := 0
	for _, c := range calls(t, a.Client) {
		if c.RequestBody == nil {
			continue
		}
		for mediaType, all := range examplesOf(t, c.RequestBody.Content) {
			for _, name := range slices.Sorted(maps.Keys(all)) {
				p := a.NewPerson(t)
				client, body := a.Client, asTheyAre(t, p, all[name])
				for _, s := range c.Security {
					if _, ok := s.Requirements.Get("token"); ok {
						client = p.Client
					}
				}
				path, form := placeholder.ReplaceAllString(c.path, p.ID), mediaType == "application/x-www-form-urlencoded"
				if form {
					client = a.As(key)
				}
				got := client.With("Content-Type", mediaType).Do(t, c.method, path, encode(t, body, form))
				sent++
				unread := got.Code() == "token_required" || got.Code() == "token_invalid" || got.Code() == "key_invalid"
				if unread || got.Status >= 500 || slices.Contains([]int{400, 413, 415, 422, 429}, got.Status) {
					t.Errorf("%s, %s, example %q: %d %s", c, mediaType, name, got.Status, got.Body)
				}
			}
		}
	}
	if sent < 40 {
		t.Errorf("%d examples were sent", sent)
	}
}

// asTheyAre puts the present values in the place of those that must be right.
func asTheyAre(t *testing.T, p *apptest.Person, example any) object {
	t.Helper()
	body, ok := example.(map[string]any)
	if !ok {
		t.Fatalf("%v is no object", example)
	}
	if _, reads := body["user_role"]; reads {
		present := p.Do(t, "GET", "/"+p.ID, nil).Want(t, 200)
		for _, name := range []string{"id", "user_role", "created", "updated"} {
			body[name] = present.Data(name)
		}
	}
	if _, proves := body["current_password"]; proves {
		body["current_password"] = p.Password
	}
	return body
}

func encode(t *testing.T, body object, form bool) []byte {
	t.Helper()
	if form {
		values := url.Values{}
		for name, value := range body {
			values.Set(name, value.(string))
		}
		return []byte(values.Encode())
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
