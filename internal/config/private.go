package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// hidden stands where a credential was.
const hidden = "xxxxx"

// Engine is a kind of database.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// Database says where the data is. It prints without its password.
type Database struct {
	Engine Engine
	Memory bool   // SQLite without a file
	Path   string // SQLite's file; empty when in memory, and for PostgreSQL
	url    string
}

// Reveal gives the setting as it was written, password and all, for the one
// who connects.
func (d Database) Reveal() string { return d.url }

// String gives the setting without its password.
func (d Database) String() string { return maskDatabase(d.url) }

// Format makes every verb, %#v too, print what String does.
func (d Database) Format(f fmt.State, _ rune) { fmt.Fprint(f, d.String()) }

// Endpoint is the URL of an outside service, which may hold a password. It
// prints its scheme and host only. The zero value means that there is none.
type Endpoint struct {
	url *url.URL
}

// IsZero is true when the service is not configured.
func (e Endpoint) IsZero() bool { return e.url == nil }

// Reveal gives the whole URL, for the one who calls; nil when there is none.
func (e Endpoint) Reveal() *url.URL { return e.url }

// String gives the scheme and the host.
func (e Endpoint) String() string {
	if e.url == nil {
		return ""
	}
	return e.url.Scheme + "://" + e.url.Host
}

// Format makes every verb, %#v too, print what String does.
func (e Endpoint) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

func parseDatabase(text string) (Database, error) {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		return parseSQLite(text, path)
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return Database{}, errors.New("is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST/NAME")
	}
	u, err := url.Parse(text)
	if err != nil {
		return Database{}, errors.New("is not a valid URL; special characters in a password are written as %2F, %40 and so on")
	}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil || u.Fragment != "" || u.Opaque != "" || isTorn(u):
		return Database{}, errors.New("is not a valid URL; special characters are written as %2F, %3F, %40 and so on")
	case u.Host == "" && query.Get("host") == "":
		return Database{}, errors.New("names no host")
	}
	return Database{Engine: Postgres, url: text}, nil
}

// isTorn finds a URL that a / or ? within the password has torn apart:
// postgres://user:12?secret@host reads as the host "user:12" with a query, and
// the rest of the password would be shown as no secret.
func isTorn(u *url.URL) bool {
	return strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.RawQuery, "@")
}

func parseSQLite(text, path string) (Database, error) {
	switch {
	case path == ":memory:":
		return Database{Engine: SQLite, Memory: true, url: text}, nil
	case path == "":
		return Database{}, errors.New("names no file; write sqlite:PATH")
	case strings.HasPrefix(path, "//"): // sqlite://data.db would be /data.db
		return Database{}, errors.New("has slashes too many: write sqlite:relative/path or sqlite:/absolute/path")
	case strings.HasPrefix(path, "file:"), strings.HasPrefix(path, ":"), strings.ContainsAny(path, "?#"), strings.ContainsFunc(path, unicode.IsControl):
		return Database{}, errors.New("must be a plain path after sqlite:, without options") // they could undo how db opens it
	}
	return Database{Engine: SQLite, Path: path, url: text}, nil
}

// maskDatabase hides the password in both places where PostgreSQL takes one.
func maskDatabase(text string) string {
	if strings.HasPrefix(text, "sqlite:") || text == "" {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return hidden
	}
	query := u.Query()
	for key := range query {
		if strings.Contains(strings.ToLower(key), "password") {
			query.Set(key, hidden)
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}

func maskSMTP(text string) string {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		return ""
	}
	return u.Redacted()
}

// maskSMS leaves the host only: such services take their key in the path or
// the query as often as before the host.
func maskSMS(text string) string {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/" + hidden
}
