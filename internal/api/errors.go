package api

import (
	"context"
	"errors"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"golang.org/x/text/language"

	"propusk/internal/account"
)

// The codes of the face itself: what is wrong with a request before any rule
// has looked at it, and what is wrong with us.
const (
	codeNotFound       account.Code = "not_found"
	codeNotAllowed     account.Code = "method_not_allowed"
	codeInvalidJSON    account.Code = "invalid_json"
	codeWrongType      account.Code = "wrong_type"
	codeUnknownField   account.Code = "unknown_field"
	codeDuplicateField account.Code = "duplicate_field"
	codeTooComplex     account.Code = "body_too_complex"
	codeMediaType      account.Code = "unsupported_media_type"
	codeTooLarge       account.Code = "body_too_large"
	codeBodyTooSlow    account.Code = "body_incomplete"
	codeHeaderInvalid  account.Code = "header_invalid"
	codeCrossOrigin    account.Code = "cross_origin"
	codeFormInvalid    account.Code = "form_invalid"
	codeRoleMissing    account.Code = "role_missing"
	codeInternal       account.Code = "internal_error"
	codeUnavailable    account.Code = "unavailable"
)

var codes = map[account.Code]account.Words{ //nolint:gochecknoglobals // a constant table
	codeNotFound:       {EN: "There is nothing at this path. The API is described at /docs.", RU: "По этому пути ничего нет. Описание API — на странице /docs."},
	codeNotAllowed:     {EN: "This path does not take that method; the Allow header lists those that it takes.", RU: "Этот путь не принимает такой метод; допустимые перечислены в заголовке Allow."},
	codeInvalidJSON:    {EN: "The body is not one valid JSON object in UTF-8.", RU: "Тело запроса — не один корректный объект JSON в UTF-8."},
	codeWrongType:      {EN: "A value has the wrong JSON type.", RU: "Значение имеет не тот тип JSON."},
	codeUnknownField:   {EN: "The body holds a field that is not known here. Known are: {known}.", RU: "В теле запроса есть неизвестное поле. Известны: {known}."},
	codeDuplicateField: {EN: "A field stands in the body twice.", RU: "Одно из полей указано в теле запроса дважды."},
	codeTooComplex:     {EN: "The body holds more values, or nests deeper, than any request of this API.", RU: "В теле запроса больше значений или вложенность глубже, чем в любом запросе этого API."},
	codeMediaType:      {EN: "The body must be sent as {want}, in UTF-8 and not compressed.", RU: "Тело запроса должно быть передано как {want}, в UTF-8 и без сжатия."},
	codeTooLarge:       {EN: "The body is larger than {max} KiB.", RU: "Тело запроса больше {max} КиБ."},
	codeBodyTooSlow:    {EN: "The body did not arrive whole or in time.", RU: "Тело запроса пришло не полностью или слишком медленно."},
	codeHeaderInvalid:  {EN: "The header {header} cannot be read.", RU: "Заголовок {header} не удаётся разобрать."},
	codeCrossOrigin:    {EN: "A page of another origin may not do this.", RU: "Странице с другого источника это не разрешено."},
	codeFormInvalid:    {EN: "The form cannot be read, has a parameter twice, or lacks the parameter token.", RU: "Форму не удаётся разобрать, параметр указан дважды или нет параметра token."},
	codeRoleMissing:    {EN: "This is for users with another role.", RU: "Это доступно пользователям с другой ролью."},
	codeInternal:       {EN: "Something went wrong on our side. The request's id helps the operator to find out what.", RU: "На нашей стороне произошла ошибка. Идентификатор запроса поможет оператору найти причину."},
	codeUnavailable:    {EN: "The service cannot do this right now; try again in a moment.", RU: "Сейчас сервис не может этого сделать; повторите попытку чуть позже."},
}

// failure is an error that the face itself answers with.
type failure struct {
	status     int
	fault      account.Fault
	fields     map[string]account.Fault
	retry      int // seconds; 0 for none
	unfinished Unfinished
}

func (f *failure) Error() string { return string(f.fault.Code) }

func fail(status int, code account.Code) *failure {
	return &failure{status: status, fault: account.Fault{Code: code}}
}

var (
	errNoSuchPath    = fail(http.StatusNotFound, codeNotFound)
	errNoSuchMethod  = fail(http.StatusMethodNotAllowed, codeNotAllowed)
	errInternal      = fail(http.StatusInternalServerError, codeInternal)
	errUnavailable   = &failure{status: http.StatusServiceUnavailable, fault: account.Fault{Code: codeUnavailable}, retry: 1}
	errTokenRequired = fail(http.StatusUnauthorized, account.CodeTokenRequired)
	errTokenInvalid  = fail(http.StatusUnauthorized, account.CodeTokenInvalid)
	errRoleMissing   = fail(http.StatusForbidden, codeRoleMissing)
)

// statusOf is the one table from the kind of a refusal to its status.
var statusOf = map[account.Kind]int{ //nolint:gochecknoglobals // a constant table
	account.Invalid:         http.StatusUnprocessableEntity,
	account.Unauthenticated: http.StatusUnauthorized,
	account.Forbidden:       http.StatusForbidden,
	account.NotFound:        http.StatusNotFound,
	account.Conflict:        http.StatusConflict,
	account.Precondition:    http.StatusPreconditionFailed,
	account.Throttled:       http.StatusTooManyRequests,
	account.Overloaded:      http.StatusServiceUnavailable,
}

// failureOf turns any error into what is answered. What nobody has foreseen
// becomes a 500 that says nothing of the inside.
func failureOf(err error) *failure {
	var f *failure
	var e *account.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e):
		return &failure{status: statusOf[e.Kind], fault: e.Fault, fields: e.Fields, retry: int(math.Ceil(e.RetryAfter.Seconds())), unfinished: unfinished(e)}
	case account.Unavailable(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errUnavailable
	default:
		return errInternal
	}
}

func unfinished(e *account.Error) (u Unfinished) {
	kinds := e.Factors
	if e.Challenge != nil {
		u.Challenge, kinds = &secret{e.Challenge.Token}, e.Challenge.Factors
	}
	for _, k := range kinds {
		u.Factors = append(u.Factors, string(k))
	}
	return u
}

// WriteError answers with err, in the caller's language and form.
func (a *API) WriteError(w http.ResponseWriter, r *http.Request, err error) { a.writeError(w, r, err) }

// ErrCrossOrigin is the refusal of a page of another origin.
var ErrCrossOrigin error = fail(http.StatusForbidden, codeCrossOrigin)

// ErrPanic is what a caller is told when a handler has panicked.
var ErrPanic error = errInternal

// ErrUnavailable is what a caller is told while the service cannot serve.
var ErrUnavailable error = errUnavailable

// note tells the access log of a refusal, and of the fault of ours behind it.
func (f *failure) note(t *Trace, err error) {
	t.Code = string(f.fault.Code)
	if f.status >= 500 {
		t.Err = err
	}
}

func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	trace := traceOf(r)
	f.note(trace, err)
	lang := a.errorHeaders(w, r, f)
	if f.status == http.StatusUnauthorized {
		challenge := `Bearer realm="propusk"`
		if f.fault.Code == account.CodeTokenInvalid {
			challenge += `, error="invalid_token"` // RFC 6750, section 3
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	requestID := w.Header().Get("X-Request-Id")
	contentType := "application/json"
	var answer any
	switch {
	case wantsProblem(r):
		contentType = "application/problem+json"
		answer = f.problem(lang, requestID)
	case f.status >= 500:
		answer = errorEnvelope{Status: "error", Code: f.fault.Code, Message: text(f.fault, lang), Data: errorData{RequestID: requestID}}
	default:
		answer = failEnvelope{Status: "fail", Data: failData{Code: f.fault.Code, Message: text(f.fault, lang), Fields: f.texts(lang), Unfinished: f.unfinished}}
	}
	b, err := json.Marshal(answer, json.Deterministic(true))
	if err != nil {
		trace.Err = err
		b = []byte(`{"status":"error","code":"internal_error","message":"","data":{}}`)
	}
	send(w, f.status, contentType, b)
}

// errorHeaders sets what every error has, and gives the language of its words.
func (a *API) errorHeaders(w http.ResponseWriter, r *http.Request, f *failure) (lang string) {
	lang = a.language(r)
	h := w.Header()
	h.Set("Content-Language", lang)
	h.Add("Vary", "Accept, Accept-Language")
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retry))
	}
	return lang
}

func text(f account.Fault, lang string) string {
	if w, ok := codes[f.Code]; ok {
		return w.In(lang, f.Args)
	}
	return f.Text(lang)
}

func (f *failure) texts(lang string) map[string]fieldFault {
	if len(f.fields) == 0 {
		return nil
	}
	out := make(map[string]fieldFault, len(f.fields))
	for name, fault := range f.fields {
		out[name] = fieldFault{Code: fault.Code, Message: text(fault, lang)}
	}
	return out
}

// problemType names a code as RFC 9457 wants it.
func problemType(code account.Code) string { return "urn:propusk:error:" + string(code) }

func (f *failure) problem(lang, requestID string) problem {
	return problem{
		Type: problemType(f.fault.Code), Title: http.StatusText(f.status), Status: f.status,
		Detail: text(f.fault, lang), Code: f.fault.Code, Fields: f.texts(lang), RequestID: requestID, Unfinished: f.unfinished,
	}
}

// wantsProblem: only who names the type gets it.
func wantsProblem(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(v, ",") {
			mediaType, params, err := mime.ParseMediaType(part)
			if err == nil && mediaType == "application/problem+json" {
				weight, err := strconv.ParseFloat(params["q"], 64)
				return params["q"] == "" || err == nil && weight > 0
			}
		}
	}
	return false
}

// language picks the language of an answer: English when neither is asked for,
// if it is on offer. Only the language itself counts: a matcher that knows which
// languages people often read besides their own gives Russian to whoever asks for
// Kazakh.
func (a *API) language(r *http.Request) string {
	if lang := a.LanguageOf(r); lang != "" {
		return lang
	}
	if slices.Contains(a.langs, "en") {
		return "en"
	}
	return a.langs[0]
}

// LanguageOf is the language among those on offer that the request asks for; ""
// where it asks for none of them.
func (a *API) LanguageOf(r *http.Request) string {
	asked := strings.Join(r.Header.Values("Accept-Language"), ",")
	if len(asked) <= 256 { // the parser's work grows with the length
		tags, _, _ := language.ParseAcceptLanguage(asked) // of what cannot be parsed, none
		for _, tag := range tags {
			if base, _, _ := tag.Raw(); slices.Contains(a.langs, base.String()) {
				return base.String()
			}
		}
	}
	return ""
}
