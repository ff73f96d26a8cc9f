package config

import (
	"crypto/tls"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"
)

// ok is true when none of the settings has a problem of its own, so that one
// mistake is not reported twice.
func (l *loader) ok(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return l.broken[name] })
}

// given is true when the setting does not come from its default.
func (l *loader) given(name string) bool { return l.found[name].source != fromMode }

// refuse adds a problem with the source of the setting's value.
func (l *loader) refuse(name, reason string, args ...any) {
	l.add(name, l.found[name].source, reason, args...)
}

// checkTogether holds the rules that depend on the mode or join settings.
func (l *loader) checkTogether() {
	c := &l.config
	if l.ok("token-lifetime", "token-lifetime-remembered") && c.TokenLifetimeRemembered < c.TokenLifetime {
		l.refuse("token-lifetime-remembered", "is shorter than token-lifetime (%s)", l.found["token-lifetime"].source)
	}
	l.checkMessages()
	l.checkPasskeys()
	if l.ok("listen", "ops-listen") && wouldCollide(c.Listen, c.OpsListen) {
		l.refuse("ops-listen", "has the port of listen (%s)", l.found["listen"].source)
	}
	l.checkTLS()
	if l.mode == Dev {
		l.checkDev()
	} else {
		l.checkStrength()
		l.checkData()
	}
}

func wouldCollide(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	anyHost := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return hostA == hostB || anyHost(hostA) || anyHost(hostB)
}

// checkTLS proves that the pair can be used, but for a tool: who adds a user
// need not be able to read the server's key.
func (l *loader) checkTLS() {
	c := &l.config
	switch {
	case !l.ok("tls-cert", "tls-key"):
	case c.TLSCert == "" && c.TLSKey == "":
	case c.TLSKey == "":
		l.refuse("tls-key", "must be given with tls-cert")
	case c.TLSCert == "":
		l.refuse("tls-cert", "must be given with tls-key")
	case l.mode != Tool:
		cert, certErr := l.readFile(c.TLSCert)
		if certErr != nil {
			l.refuse("tls-cert", "%v", certErr)
		}
		key, keyErr := l.readFile(c.TLSKey)
		if keyErr != nil {
			l.refuse("tls-key", "%v", keyErr)
		}
		if certErr != nil || keyErr != nil {
			return
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			l.refuse("tls-cert", "is no pair with tls-key (%s): %v", l.found["tls-key"].source, err)
		}
	}
}

// checkDev keeps a throwaway instance away from the world and from real data: it
// lets everybody on the machine read every message and change every user.
func (l *loader) checkDev() {
	c := &l.config
	l.checkLoopback("listen", c.Listen)
	l.checkLoopback("ops-listen", c.OpsListen)
	if l.ok("database") && !c.Database.Memory {
		l.refuse("database", "must be sqlite::memory: in dev, not %s", quote(c.Database.String()))
	}
	if l.ok("master-key-file") && c.MasterKeyFile != "" {
		l.refuse("master-key-file", "is not used in dev, which has a key of its own")
	}
	for _, name := range []string{"smtp-url", "sms-url"} {
		if l.ok(name) && l.found[name].text != "" {
			l.refuse(name, "is not used in dev, which sends nothing: every message is shown in the inbox, at /dev/inbox")
		}
	}
}

func (l *loader) checkLoopback(name, address string) {
	host, _, err := net.SplitHostPort(address)
	if err == nil && !isLoopback(host) {
		l.refuse(name, "must be a loopback address in dev, such as 127.0.0.1:8001, not %s", quote(address))
	}
}

// checkStrength refuses what only a throwaway instance may have.
func (l *loader) checkStrength() {
	c := &l.config
	if l.ok("password-min-length") && c.PasswordMinLength < 8 {
		l.refuse("password-min-length", "%d is below 8", c.PasswordMinLength)
	}
	if l.ok("argon2") && !c.Argon2.meetsMinimum() {
		l.refuse("argon2", "%s is weaker than OWASP's minimum, m=19456,t=2,p=1 or its equal with other memory", c.Argon2)
	}
	if l.ok("dev-code") && c.DevCode != "" {
		l.refuse("dev-code", "is for propusk dev only: everybody would know every code")
	}
	l.checkWidth("trusted-proxies", c.TrustedProxies)
	l.checkWidth("trusted-networks", c.TrustedNetworks)
}

func (l *loader) checkWidth(name string, networks []netip.Prefix) {
	if i := slices.IndexFunc(networks, isTooWide); i >= 0 {
		l.refuse(name, "%s is wider than any private network and would trust strangers", networks[i])
	}
}

// checkData refuses data that would be lost, or could not be read by the next
// node.
func (l *loader) checkData() {
	c := &l.config
	if l.ok("database") && c.Database.Memory {
		l.refuse("database", "sqlite::memory: forgets everything at the end and is for dev only")
	}
	if l.ok("database", "master-key-file") && c.Database.Engine == Postgres && !l.given("master-key-file") {
		l.refuse("master-key-file", "must be given with PostgreSQL: every node needs the same key, and a default would make one for each")
	}
}

// derive fills in what follows from valid settings.
func (l *loader) derive() {
	c := &l.config
	if c.HashWorkers == 0 {
		c.HashWorkers = runtime.GOMAXPROCS(0) // the CPUs that the container grants
	}
	if !c.SMTP.IsZero() {
		c.SMTPTLS = smtpTLS(c.SMTP)
	}
	if c.DKIMDomain == "" && c.MailFrom != nil {
		_, c.DKIMDomain, _ = strings.Cut(c.MailFrom.Address, "@")
	}
	switch {
	case len(c.SMSCountries) == 0:
		c.SMSCountries = []string{c.PhoneRegion}
	case c.SMSCountries[0] == AnyCountry:
		c.SMSCountries = nil
	}
	c.PasskeyRPID, c.PasskeyOrigins = c.passkeys()
	if !l.given("token-lifetime-remembered") {
		c.SecondFactorLifetime = max(24*time.Hour, c.TokenLifetime)
	}
	if !l.given("token-idle") {
		c.SecondFactorIdle = time.Hour
	}
}
