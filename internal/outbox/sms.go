package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nyaruka/phonenumbers"
)

const (
	smsWithin = 10 * time.Second
	// smsAnswer is how much of an answer is read.
	smsAnswer = 64 << 10
)

// SMSOptions say how a gateway is asked to send a text message. URL and Body may
// hold {to}, the number with its plus sign, {digits}, the number without it,
// {text} and {id}, which is the same at each attempt; each is escaped as its place
// wants it.
type SMSOptions struct {
	URL     string
	Method  string
	Headers http.Header // Content-Type says how Body is escaped; without one it is a form
	Body    string      // "" for none
	// Success is a text that the answer must hold; "" for any 2xx. Some gateways
	// answer 200 whatever happens.
	Success   string
	Countries []string // ISO 3166 codes of where a message may go; nil: anywhere
}

// HTTPSMS sends text messages through a gateway that speaks HTTP.
type HTTPSMS struct {
	o      SMSOptions
	form   bool
	client *http.Client
}

// NewHTTPSMS connects to nothing yet.
func NewHTTPSMS(o SMSOptions) *HTTPSMS {
	o.Headers = o.Headers.Clone()
	if o.Headers == nil {
		o.Headers = http.Header{}
	}
	if o.Headers.Get("Content-Type") == "" && o.Body != "" {
		o.Headers.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if o.Headers.Get("User-Agent") == "" {
		o.Headers.Set("User-Agent", "propusk")
	}
	kind, _, _ := mime.ParseMediaType(o.Headers.Get("Content-Type")) // what is no JSON is a form
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: smsWithin, ResponseHeaderTimeout: smsWithin,
		MaxResponseHeaderBytes: smsAnswer,
		DisableKeepAlives:      true, // on one that was just closed, nobody knows whether the text was taken
	}
	return &HTTPSMS{o: o, form: kind != "application/json", client: &http.Client{
		Transport: transport, Timeout: smsWithin,
		// A redirect would take the key and the code to whom nobody has named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send implements [Sender].
func (s *HTTPSMS) Send(ctx context.Context, e Envelope) error {
	if err := s.allowed(e.To); err != nil {
		return err
	}
	told := false
	trace := &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) { told = i.Err == nil }}
	r, err := s.request(httptrace.WithClientTrace(ctx, trace), e)
	if err != nil {
		return &SendError{Class: "request cannot be made", Permanent: true}
	}
	res, err := s.client.Do(r)
	if err != nil {
		// Who was told may have sent it, and is not to be asked again as soon as one
		// who was not.
		return &SendError{Class: networkClass(ctx, err), Down: !told}
	}
	defer res.Body.Close() //nolint:errcheck // read as far as it matters
	body, err := io.ReadAll(io.LimitReader(res.Body, smsAnswer))
	class := fmt.Sprintf("http %d", res.StatusCode)
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		if err == nil && !bytes.Contains(body, []byte(s.o.Success)) {
			return &SendError{Class: class + ", without sms-success in the answer"}
		}
		return nil // also where the answer broke off: it was taken
	case code == 401, code == 403, code < 400, code == 429, code == 502, code == 503, code == 504:
		return &SendError{Class: class, Down: true} // our key, our address of it, or the gateway itself
	case code >= 500:
		return &SendError{Class: class}
	default:
		return &SendError{Class: class, Permanent: true}
	}
}

// allowed keeps messages away from countries where nobody is to get any: who
// pumps SMS has numbers there that earn by each.
func (s *HTTPSMS) allowed(to string) error {
	number, err := phonenumbers.Parse(to, "ZZ")
	if err != nil || phonenumbers.Format(number, phonenumbers.E164) != to {
		return &SendError{Class: "no number", Permanent: true}
	}
	if region := phonenumbers.GetRegionCodeForNumber(number); s.o.Countries != nil && !slices.Contains(s.o.Countries, region) {
		return &SendError{Class: "country not allowed", Permanent: true}
	}
	return nil
}

func (s *HTTPSMS) request(ctx context.Context, e Envelope) (*http.Request, error) {
	path, query, asked := strings.Cut(s.o.URL, "?")
	address := fill(path, e, url.PathEscape)
	if asked {
		address += "?" + fill(query, e, url.QueryEscape)
	}
	escape := url.QueryEscape
	if !s.form {
		escape = jsonEscape
	}
	var body io.Reader
	if s.o.Body != "" {
		body = strings.NewReader(fill(s.o.Body, e, escape))
	}
	r, err := http.NewRequestWithContext(ctx, s.o.Method, address, body)
	if err != nil {
		return nil, errors.New("the settings make no request") // without the URL, which may hold a key
	}
	r.Header = s.o.Headers.Clone()
	return r, nil
}

// fill replaces what stands in braces, in one go: what a text brings along is
// not looked at again.
func fill(template string, e Envelope, escape func(string) string) string {
	return strings.NewReplacer(
		"{to}", escape(e.To), "{digits}", escape(strings.TrimPrefix(e.To, "+")), "{text}", escape(e.Text), "{id}", escape(e.ID),
	).Replace(template)
}

// jsonEscape is for the inside of a JSON string.
func jsonEscape(s string) string {
	b, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}
