package dev

import (
	"errors"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// timeFormat is that of the API.
const timeFormat = "2006-01-02T15:04:05.000000-07:00"

func (d *Dev) time(t time.Time) string { return t.In(d.o.Zone).Format(timeFormat) }

// The envelopes of the API (JSend).
type (
	success struct {
		Status string `json:"status"`
		Data   any    `json:"data,omitzero"`
	}
	failure struct {
		Status string   `json:"status"`
		Data   failData `json:"data"`
	}
	failData struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
)

func answer(w http.ResponseWriter, status int, data any) {
	send(w, status, success{Status: "success", Data: data})
}

// refuse answers in English: its readers write programs.
func refuse(w http.ResponseWriter, status int, code, message string) {
	send(w, status, failure{Status: "fail", Data: failData{Code: code, Message: message}})
}

func send(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // nothing of what is sent here can fail; the server answers with a 500
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // whom it does not reach cannot be told
}

// refusal is why a request cannot be done as it is.
type refusal struct{ field, message string }

func (e *refusal) Error() string {
	if e.field == "" {
		return e.message
	}
	return e.field + ": " + e.message
}

// fail answers with an error: of this package, of the rules, or of ours.
func (d *Dev) fail(w http.ResponseWriter, r *http.Request, err error) {
	var bad *refusal
	if errors.As(err, &bad) {
		refuse(w, http.StatusUnprocessableEntity, "invalid_fields", bad.Error())
		return
	}
	d.o.Fail(w, r, err)
}

const maxBody = 64 << 10

// decode reads a JSON object into in. Another type of content is refused, also
// since a form of another page could have it.
func decode(w http.ResponseWriter, r *http.Request, in any) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be sent as application/json.")
		return false
	}
	if err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBody), in, json.RejectUnknownMembers(true)); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_json", "The body is not the JSON that this takes: "+plain(err))
		return false
	}
	return true
}

// plain is an error of the JSON package without its own name.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }

// parseHost takes the port off a Host header.
func parseHost(host string) (string, error) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name, nil
	}
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") {
		return "", errors.New("half a bracket")
	}
	return strings.Trim(host, "[]"), nil
}
