package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// parseRPID takes the domain that passkeys are made for. Browsers make none for an
// address, nor for a domain under which strangers register theirs.
func parseRPID(text string) (string, error) {
	id := strings.ToLower(text)
	if _, err := netip.ParseAddr(strings.Trim(id, "[]")); err == nil {
		return "", fmt.Errorf("%s is an IP address: browsers make passkeys for domains only, such as example.com or localhost", quote(text))
	}
	if !isHost(id) || strings.Contains(id, "_") {
		return "", fmt.Errorf("%s is not a domain such as example.com, in ASCII and without scheme and port", quote(text))
	}
	if suffix, known := publicsuffix.PublicSuffix(id); suffix == id && (known || strings.Contains(id, ".")) {
		return "", fmt.Errorf("%s is a suffix under which anybody can register a domain: browsers make no passkeys for it", quote(text))
	}
	return id, nil
}

// androidOrigin is what an app on Android has for an origin: the hash of its
// certificate.
var androidOrigin = regexp.MustCompile(`^android:apk-key-hash:[A-Za-z0-9_-]{27}([A-Za-z0-9_-]{16})?$`)

func parsePasskeyOrigin(text string) (string, error) {
	if androidOrigin.MatchString(text) {
		return text, nil
	}
	origin, err := parseOrigin(text)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && u.Hostname() == "localhost") {
		return "", fmt.Errorf("%s is not https, nor http://localhost: browsers offer passkeys nowhere else", quote(text))
	}
	return origin, nil
}

var aaguid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func parseAAGUID(text string) (string, error) {
	id := strings.ToLower(text)
	if !aaguid.MatchString(id) {
		return "", fmt.Errorf("%s is not an AAGUID such as ee882879-721c-4913-9775-3dfcce97072a", quote(text))
	}
	return id, nil
}

// passkeys gives the relying party's domain and origins that are in force: what is
// not given follows from public-url. The domain is empty where there are no
// passkeys.
func (c *Config) passkeys() (rpID string, origins []string) {
	rpID, origins = c.PasskeyRPID, c.PasskeyOrigins
	if c.PublicURL == nil {
		return rpID, origins
	}
	if rpID == "" {
		if id, err := parseRPID(c.PublicURL.Hostname()); err == nil {
			rpID = id
		}
	}
	if len(origins) == 0 && rpID != "" {
		origin := c.PublicURL.Scheme + "://" + strings.ToLower(c.PublicURL.Host)
		for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
			if c.PublicURL.Scheme == scheme {
				origin = strings.TrimSuffix(origin, port)
			}
		}
		origins = []string{origin}
	}
	return rpID, origins
}

// checkPasskeys holds the rules on passkeys that join settings.
func (l *loader) checkPasskeys() {
	c := &l.config
	if !l.ok("public-url", "passkey-rp-id", "passkey-origins") {
		return
	}
	rpID, origins := c.passkeys()
	given := c.PasskeyRPID != "" || len(c.PasskeyOrigins) > 0
	switch {
	case given && rpID == "":
		l.refuse("passkey-rp-id", "must be given with passkey-origins where public-url is not, or is an IP address")
	case given && len(origins) == 0:
		l.refuse("passkey-origins", "must be given with passkey-rp-id where public-url is not")
	case given && !slices.ContainsFunc(origins, func(o string) bool { return isBelow(o, rpID) }):
		l.refuse("passkey-rp-id", "%s is the domain, or a parent domain, of no origin: of %s", rpID, strings.Join(origins, ", "))
	}
	if !l.ok("passkey-roots") || c.PasskeyRootsFile == "" || l.mode == Tool {
		return
	}
	text, err := l.readFile(c.PasskeyRootsFile)
	if err == nil {
		c.PasskeyRoots, err = parseRoots(text)
	}
	if err != nil {
		l.refuse("passkey-roots", "%v", err)
	}
}

// isBelow tells whether a page of an origin may use passkeys of a domain without
// asking it.
func isBelow(origin, domain string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Hostname() == domain || strings.HasSuffix(u.Hostname(), "."+domain))
}

func parseRoots(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("holds something that is no certificate")
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errors.New("holds no certificate in PEM")
	}
	return pool, nil
}
