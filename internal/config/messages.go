package config

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"propusk/internal/secret"
)

// SMTPTLS says what a connection to the mail server must have.
type SMTPTLS string

// With smtps:// it is TLS from the first byte, whatever this says.
const (
	TLSRequired      SMTPTLS = "required" // STARTTLS, or nothing is sent
	TLSOpportunistic SMTPTLS = "opportunistic"
	TLSNone          SMTPTLS = "none"
)

func parseSMTP(text string) (Endpoint, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || !hasHost(u):
		return Endpoint{}, errors.New("is not smtp://USER:PASSWORD@HOST:PORT or smtps://…; special characters in a password are written as %2F, %40 and so on")
	case strings.Trim(u.Path, "/") != "" || strings.Contains(text, "#") || isTorn(u):
		return Endpoint{}, errors.New("must end after the port, but for ?tls=…")
	}
	if strings.Contains(text, "?") {
		mode, ok := strings.CutPrefix(u.RawQuery, "tls=")
		if !ok || !slices.Contains([]SMTPTLS{TLSRequired, TLSOpportunistic, TLSNone}, SMTPTLS(mode)) {
			return Endpoint{}, errors.New("may have ?tls=required, ?tls=opportunistic or ?tls=none behind the port, and nothing else")
		}
		if u.Scheme == "smtps" {
			return Endpoint{}, errors.New("must not say ?tls=… with smtps://, which is TLS in any case")
		}
	}
	return Endpoint{u}, nil
}

// smtpTLS reads what parseSMTP has let pass.
func smtpTLS(e Endpoint) SMTPTLS {
	if mode := e.url.Query().Get("tls"); mode != "" {
		return SMTPTLS(mode)
	}
	return TLSRequired
}

func parseSMS(text string) (Endpoint, error) {
	u, err := parseWebURL(text)
	switch {
	case err != nil:
		return Endpoint{}, err
	case strings.Contains(text, "#") || isTorn(u):
		return Endpoint{}, errors.New("must not have a fragment; special characters are written as %23, %40 and so on")
	}
	return Endpoint{u}, nil
}

// Headers are those of a request, some of which hold keys. They do not print.
type Headers struct{ h http.Header }

// Reveal gives the headers.
func (h Headers) Reveal() http.Header { return h.h }

// Format makes every verb print the names only.
func (h Headers) Format(f fmt.State, _ rune) {
	for name := range h.h {
		_, _ = io.WriteString(f, name+": "+hidden+" ")
	}
}

func parseHeaders(text string) (Headers, error) {
	h := http.Header{}
	_, err := listOf(func(item string) (string, error) {
		name, value, ok := strings.Cut(item, ":")
		if !ok || !headerName.MatchString(name) {
			return "", errors.New("is not a list of NAME: VALUE")
		}
		if value = strings.TrimSpace(value); value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errors.New("has a header without a usable value")
		}
		if textproto.CanonicalMIMEHeaderKey(name) == "Host" {
			return "", errors.New("cannot set Host, which follows from sms-url")
		}
		h.Add(name, value)
		return name, nil
	})(text)
	return Headers{h}, err
}

var (
	headerName  = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	placeholder = regexp.MustCompile(`\{[a-z_]+\}`)
)

// maskHeaders leaves the names.
func maskHeaders(text string) string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(item), ":")
		items = append(items, name+": "+hidden)
	}
	if text == "" {
		return ""
	}
	return strings.Join(items, ", ")
}

// maskBody hides it all: a gateway's key stands there as often as in a header.
func maskBody(text string) string {
	if text == "" || text == defaultSMSBody {
		return text
	}
	return hidden
}

const defaultSMSBody = "to={to}&text={text}"

func parseSMSBody(text string) (secret.Text, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }) {
		return secret.Text{}, errors.New("holds control characters")
	}
	return secret.NewText(text), checkPlaceholders(text)
}

func checkPlaceholders(text string) error {
	for _, name := range placeholder.FindAllString(text, -1) {
		if !slices.Contains([]string{"{to}", "{digits}", "{text}", "{id}"}, name) {
			return fmt.Errorf("has %s: there are {to}, {digits}, {text} and {id} only", name)
		}
	}
	return nil
}

func parseSuccess(text string) (string, error) {
	if len(text) > 1000 || strings.ContainsFunc(text, unicode.IsControl) {
		return "", errors.New("is not a line of at most 1000 bytes")
	}
	return text, nil
}

// AnyCountry, alone in SMSCountries, is no limit.
const AnyCountry = "any"

func parseCountries(text string) ([]string, error) {
	if text == AnyCountry {
		return []string{AnyCountry}, nil
	}
	return uniqueListOf(parseRegion)(text)
}

func parseDomain(text string) (string, error) {
	if !isHost(text) || !strings.Contains(text, ".") {
		return "", fmt.Errorf("%s is not a domain such as example.com", quote(text))
	}
	return strings.ToLower(text), nil
}

func parseSelector(text string) (string, error) {
	for label := range strings.SplitSeq(text, ".") {
		if !hostLabel.MatchString(label) {
			return "", fmt.Errorf("%s is not a selector such as propusk1", quote(text))
		}
	}
	return text, nil
}

// checkMessages holds the rules on mail and SMS that join settings.
func (l *loader) checkMessages() {
	c := &l.config
	if l.ok("smtp-url", "mail-from") && !c.SMTP.IsZero() && c.MailFrom == nil {
		l.refuse("mail-from", "must be given with smtp-url: mail needs a sender")
	}
	if l.ok("smtp-url") && !c.SMTP.IsZero() && smtpTLS(c.SMTP) != TLSRequired && c.SMTP.url.User != nil && !isLoopback(c.SMTP.url.Hostname()) {
		l.refuse("smtp-url", "must not send a password to another machine without TLS")
	}
	l.checkDKIM()
	l.checkSMS()
}

func (l *loader) checkDKIM() {
	c := &l.config
	switch {
	case !l.ok("dkim-key-file", "dkim-selector"):
	case c.DKIMKeyFile == "" && c.DKIMSelector != "":
		l.refuse("dkim-key-file", "must be given with dkim-selector")
	case c.DKIMKeyFile == "":
	case c.DKIMSelector == "":
		l.refuse("dkim-selector", "must be given with dkim-key-file: receivers look the key up under SELECTOR._domainkey.DOMAIN")
	case l.mode != Tool: // who adds a user need not be able to read the key
		text, err := l.readFile(c.DKIMKeyFile)
		if err == nil {
			err = checkPrivateKey(text)
		}
		if err != nil {
			l.refuse("dkim-key-file", "%v", err)
		}
	}
}

func checkPrivateKey(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("holds no private key in PEM")
	}
	_, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if block.Type == "RSA PRIVATE KEY" {
		_, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if err != nil {
		return errors.New("holds no private key that can be read (RSA or Ed25519, PKCS #8, or PKCS #1)")
	}
	return nil
}

func (l *loader) checkSMS() {
	c := &l.config
	if c.SMS.IsZero() || !l.ok("sms-url", "sms-method", "sms-headers", "sms-body") {
		return
	}
	address := c.SMS.url.String()
	if unescaped, err := url.QueryUnescape(address); err == nil {
		address = unescaped
	}
	if err := checkPlaceholders(address); err != nil {
		l.refuse("sms-url", "%v", err)
		return
	}
	all := address
	if c.SMSMethod != http.MethodGet {
		all += c.SMSBody.Reveal()
	}
	if !strings.Contains(all, "{text}") || !strings.Contains(all, "{to}") && !strings.Contains(all, "{digits}") {
		l.refuse("sms-body", "neither it nor sms-url says where {text} and {to} or {digits} belong")
	}
	l.checkSMSType()
}

// checkSMSType: how a text is escaped follows from the type of the body.
func (l *loader) checkSMSType() {
	c := &l.config
	given := c.SMSHeaders.h.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	switch {
	case given == "" || c.SMSMethod == http.MethodGet:
	case err != nil, kind != "application/json" && kind != "application/x-www-form-urlencoded":
		l.refuse("sms-headers", "must say Content-Type: application/json or application/x-www-form-urlencoded, or leave it out for the latter")
	case kind == "application/json" && !json.Valid([]byte(placeholder.ReplaceAllString(c.SMSBody.Reveal(), "1"))):
		l.refuse("sms-body", "is no JSON, as sms-headers says it is")
	}
}
