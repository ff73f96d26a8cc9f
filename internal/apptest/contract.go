package apptest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// contract is an OpenAPI document against which answers are held.
type contract struct {
	mu        sync.Mutex // the validator is not made for concurrent use
	validator validator.Validator
}

// theContract is the one of every service here: making and reading the document
// takes longer than most tests, and none of [Options] changes it.
var theContract struct { //nolint:gochecknoglobals // as above
	sync.Mutex
	*contract
}

func contractOf(t testing.TB, document func() []byte) *contract {
	t.Helper()
	theContract.Lock()
	defer theContract.Unlock()
	if theContract.contract == nil {
		theContract.contract = newContract(t, document())
	}
	return theContract.contract
}

func newContract(t testing.TB, document []byte) *contract {
	t.Helper()
	doc, err := libopenapi.NewDocument(document)
	if err != nil {
		t.Fatalf("openapi document: %v", err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatalf("openapi document: %v", errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("openapi document: %s: %s", e.Message, e.Reason)
		}
	}
	return &contract{validator: v}
}

// Check holds an answer that came another way than by [Client.Do] against the
// OpenAPI document.
func (c *Client) Check(t testing.TB, r *http.Request, a *Answer) {
	t.Helper()
	c.contract.check(t, r, &http.Response{StatusCode: a.Status, Header: a.Header, Request: r}, a.Body)
}

// check holds an answer against the document. What stands outside of it (a path
// or a method that it does not have, the docs page) must still be an envelope.
func (c *contract) check(t testing.TB, r *http.Request, res *http.Response, body []byte) {
	t.Helper()
	if strings.HasPrefix(r.URL.Path, "/docs") && res.StatusCode < 400 || r.Method == http.MethodHead ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
		return
	}
	if outside(r, res, body) {
		checkEnvelope(t, r, body)
		return
	}
	if len(body) == 0 && (res.StatusCode != http.StatusOK || r.URL.Path != "/auth/forward") { // the validator lets it pass
		t.Errorf("%s %s → %d has no body", r.Method, r.URL.Path, res.StatusCode)
	}
	again := *res
	again.Body = io.NopCloser(bytes.NewReader(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok, errs := c.validator.ValidateHttpResponse(r, &again); !ok {
		for _, e := range errs {
			t.Errorf("%s %s → %d is not what the OpenAPI document says: %s: %s (%v)\n%s",
				r.Method, r.URL.Path, res.StatusCode, e.Message, e.Reason, e.SchemaValidationErrors, body)
		}
	}
}

// outside: the answers that belong to no operation.
func outside(_ *http.Request, res *http.Response, body []byte) bool {
	return res.StatusCode == http.StatusMethodNotAllowed ||
		res.StatusCode == http.StatusNotFound && bytes.Contains(body, []byte(`"not_found"`)) ||
		res.StatusCode == http.StatusForbidden && bytes.Contains(body, []byte(`"cross_origin"`))
}

func checkEnvelope(t testing.TB, r *http.Request, body []byte) {
	t.Helper()
	var jsend struct {
		Status string `json:"status"`
		Data   struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"data"`
	}
	var problem struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
		ID     string `json:"request_id"`
	}
	strict := json.RejectUnknownMembers(true)
	okJSend := json.Unmarshal(body, &jsend, strict) == nil && jsend.Status == "fail" && jsend.Data.Code != "" && jsend.Data.Message != ""
	okProblem := json.Unmarshal(body, &problem, strict) == nil && problem.Type != "" && problem.Code != "" && problem.Detail != ""
	if !okJSend && !okProblem {
		t.Errorf("%s %s: not an envelope: %s", r.Method, r.URL.Path, body)
	}
}
