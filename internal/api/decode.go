package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/account"
)

// What a body may be. No request of this API needs a tenth of it; whoever sends the
// most that fits in so many bytes would have us keep twenty times as much of what is
// read, for each name and each level.
const (
	maxBody   = 64 << 10
	maxTokens = 2000 // names, and values; an object or a list is two
	maxDepth  = 32
)

// decode reads the body, all of it, into in: one JSON object, with no key twice,
// none that is not known or in another case, and no NUL, which the two databases
// treat differently. An error names only fields that in itself has, so that
// nothing of the body is ever echoed.
func (a *API) decode(w http.ResponseWriter, r *http.Request, in any) error {
	if err := checkMediaType(r); err != nil {
		return err
	}
	b, err := readBody(w, r)
	if err != nil {
		return err
	}
	if a.literals {
		b = jsonLiterals(b)
	}
	if err := checkTokens(b); err != nil {
		return decodeFailure(err, in)
	}
	if err := json.Unmarshal(b, in, json.RejectUnknownMembers(true)); err != nil {
		return decodeFailure(err, in)
	}
	return nil
}

func checkMediaType(r *http.Request) error {
	want := "application/json"
	if r.Method == http.MethodPatch {
		want = "application/merge-patch+json"
	}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	ok := err == nil && (mediaType == want || mediaType == "application/json") && len(r.Header.Values("Content-Type")) == 1
	charset, given := params["charset"]
	if given && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		ok = false
	}
	if !ok {
		f := fail(http.StatusUnsupportedMediaType, codeMediaType)
		f.fault.Args = map[string]string{"want": want}
		return f
	}
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := fail(http.StatusRequestEntityTooLarge, codeTooLarge)
	tooLarge.fault.Args = map[string]string{"max": "64"}
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(innermost(w), r.Body, maxBody))
	if err != nil {
		var e *http.MaxBytesError
		if errors.As(err, &e) {
			// Having answered, net/http would read 256 KiB more, in the hope of
			// using the connection again.
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
			return nil, tooLarge
		}
		return nil, fail(http.StatusBadRequest, codeBodyTooSlow)
	}
	return b, nil
}

// innermost is the server's own writer: only that one lets MaxBytesReader close
// the connection so that the client still gets its answer.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// errNotObject, errNUL and errComplex are what JSON allows and this API does not.
var (
	errNotObject = errors.New("not an object")
	errNUL       = errors.New("a string holds NUL")
	errComplex   = errors.New("more than any request of this API")
)

// checkTokens walks through the whole of b once: syntax, UTF-8, duplicate keys,
// one value only, NUL, no more tokens and levels than may be.
func checkTokens(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(b)) // which is read where it is
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		return errNotObject
	}
	for n := 0; ; n++ {
		t, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if n >= maxTokens || d.StackDepth() > maxDepth {
			return errComplex
		}
		if err != nil {
			return err
		}
		if t.Kind() == '"' && strings.ContainsRune(t.String(), 0) {
			return errNUL
		}
		if d.StackDepth() == 0 {
			if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
				return errNotObject // something stands behind the object
			}
			return nil
		}
	}
}

func decodeFailure(err error, in any) *failure {
	known := fieldNames(in)
	f := fail(http.StatusBadRequest, codeInvalidJSON)
	var pointer jsontext.Pointer
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, errComplex):
		f.fault.Code = codeTooComplex
	case errors.Is(err, json.ErrUnknownName):
		f.fault = account.Fault{Code: codeUnknownField, Args: map[string]string{"known": strings.Join(known, ", ")}}
	case errors.Is(err, jsontext.ErrDuplicateName):
		f.fault.Code = codeDuplicateField
		if errors.As(err, &syntactic) {
			pointer = syntactic.JSONPointer
		}
	case errors.As(err, &semantic):
		f.fault.Code = codeWrongType
		pointer = semantic.JSONPointer
	}
	for _, name := range known {
		if pointer == jsontext.Pointer("/"+name) {
			f.fields = map[string]account.Fault{name: {Code: f.fault.Code}}
		}
	}
	return f
}

// fieldNames are the names on the wire of in's fields.
func fieldNames(in any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(in).Elem()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}
