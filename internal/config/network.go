package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// isHost takes an IP address or a name. A name whose last label is a number is
// none: 10.0.0.256 is a mistyped address.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	_, err := strconv.Atoi(labels[len(labels)-1])
	return err != nil && len(host) <= 253
}

// isLoopback judges the text alone: a name other than localhost may lead
// anywhere tomorrow.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func parseListen(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("%s is not HOST:PORT", quote(text))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%s does not end in a port from 0 to 65535", quote(text))
	}
	if host != "" && !isHost(host) {
		return "", fmt.Errorf("%s does not start with an IP address or a host name", quote(text))
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// parseWebURL takes an absolute http or https URL with a host that makes sense.
func parseWebURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !hasHost(u) {
		return nil, errors.New("is not an absolute http or https URL")
	}
	return u, nil
}

func hasHost(u *url.URL) bool {
	if u.Port() == "" {
		return isHost(u.Hostname()) && !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0 && isHost(u.Hostname())
}

func parsePublicURL(text string) (*url.URL, error) {
	u, err := parseWebURL(text)
	switch {
	case err != nil:
		return nil, err // without the text: a URL of the wrong kind may hold a password
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case strings.ContainsAny(text, "?#"):
		return nil, fmt.Errorf("%s must not have a query or a fragment", quote(text))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%s must be https: links in mail carry tokens", quote(text))
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// parseOrigin takes an origin as a browser's Origin header has it; anything
// else would never match, or match too much.
func parseOrigin(text string) (string, error) {
	if text == "*" || text == "null" {
		return "", fmt.Errorf("%s would let any page in; name every origin", text)
	}
	origin := strings.ToLower(text)
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Scheme == "file" || !hasHost(u) || origin != u.Scheme+"://"+u.Host:
		return "", fmt.Errorf("%s is not an origin such as https://app.example.com: scheme, host (in ASCII), port, and no slash at the end", quote(text))
	case u.Scheme == "http" && u.Port() == "80", u.Scheme == "https" && u.Port() == "443":
		return "", fmt.Errorf("%s must leave the port out: browsers do not send the usual one", quote(text))
	}
	return origin, nil
}

// parsePrefix takes a network or one address. Bits after the prefix are
// refused, not cut off: who writes 10.1.2.3/8 may have meant one host and would
// trust sixteen million.
func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%s must not have a zone", quote(text))
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%s is not a network such as 10.0.0.0/8, nor an IP address", quote(text))
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s must be written as an IPv4 network", quote(text))
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits after its prefix: write %s for the network or %s for the one address", quote(text), p.Masked(), p.Addr())
	}
	return p, nil
}

// isTooWide is true where a network is wider than any private one (10.0.0.0/8,
// fc00::/7) and so, alone or with its other half, the internet.
func isTooWide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < 8
	}
	return p.Bits() < 7
}

func parseMailFrom(text string) (*mail.Address, error) {
	address, err := mail.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not an address such as no-reply@example.com or Name <no-reply@example.com>", quote(text))
	}
	return address, nil
}
