package config

import (
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"time"

	"propusk/internal/secret"
)

// setting is what is known about one setting besides its flag's tags.
type setting struct {
	name     string
	normal   string  // default
	dev      *string // default in Dev where it differs
	mayEmpty bool    // an empty value means none
	list     bool    // the file may give a YAML list
	mask     func(string) string
	into     func(*Config, string) error // checks a value that is not empty and keeps it
}

// configName is the one setting that a file cannot give.
const configName = "config"

// settings is the single table of settings; its order is that of the README
// and of Print. A rule that depends on the mode or on another setting is in
// check.go.
var settings = []setting{
	{name: configName, mayEmpty: true, into: func(*Config, string) error { return nil }}, // was read before all others

	{name: "listen", normal: "0.0.0.0:8001", dev: new("127.0.0.1:8001"),
		into: set(parseListen, func(c *Config) *string { return &c.Listen })},
	{name: "ops-listen", normal: "127.0.0.1:8002", mayEmpty: true,
		into: set(parseListen, func(c *Config) *string { return &c.OpsListen })},
	{name: "tls-cert", mayEmpty: true,
		into: set(parsePath, func(c *Config) *string { return &c.TLSCert })},
	{name: "tls-key", mayEmpty: true,
		into: set(parsePath, func(c *Config) *string { return &c.TLSKey })},
	{name: "public-url", mayEmpty: true,
		into: set(parsePublicURL, func(c *Config) **url.URL { return &c.PublicURL })},
	{name: "trusted-proxies", mayEmpty: true, list: true,
		into: set(listOf(parsePrefix), func(c *Config) *[]netip.Prefix { return &c.TrustedProxies })},
	// The seed's examples carry no token, and dev must replay them as written.
	{name: "trusted-networks", dev: new("127.0.0.0/8,::1"), mayEmpty: true, list: true,
		into: set(listOf(parsePrefix), func(c *Config) *[]netip.Prefix { return &c.TrustedNetworks })},
	{name: "cors-origins", mayEmpty: true, list: true,
		into: set(listOf(parseOrigin), func(c *Config) *[]string { return &c.CORSOrigins })},
	{name: "shutdown-timeout", normal: "10s",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.ShutdownTimeout })},

	{name: "database", normal: "sqlite:propusk-data/propusk.db", dev: new("sqlite::memory:"), mask: maskDatabase,
		into: set(parseDatabase, func(c *Config) *Database { return &c.Database })},
	{name: "master-key-file", normal: "propusk-data/master.key", dev: new(""),
		into: set(parsePath, func(c *Config) *string { return &c.MasterKeyFile })},

	{name: "registration", normal: "open",
		into: set(parseRegistration, func(c *Config) *Registration { return &c.Registration })},
	{name: "user-types", normal: "ind,org", list: true,
		into: set(parseUserTypes, func(c *Config) *[]string { return &c.UserTypes })},
	{name: "phone-region", normal: "RU",
		into: set(parseRegion, func(c *Config) *string { return &c.PhoneRegion })},
	{name: "languages", normal: "en,ru", list: true,
		into: set(uniqueListOf(oneOf("en", "ru")), func(c *Config) *[]string { return &c.Languages })},
	{name: "time-zone", normal: "UTC",
		into: set(parseZone, func(c *Config) **time.Location { return &c.TimeZone })},

	{name: "smtp-url", mayEmpty: true, mask: maskSMTP,
		into: set(parseSMTP, func(c *Config) *Endpoint { return &c.SMTP })},
	{name: "mail-from", mayEmpty: true,
		into: set(parseMailFrom, func(c *Config) **mail.Address { return &c.MailFrom })},
	// In dev they are as good as none: a test uses one address over and over, and
	// looks for its message at once.
	{name: "mail-per-minute", normal: "600", dev: new("1000000"),
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.MailPerMinute })},
	{name: "mail-per-recipient", normal: "20", dev: new("10000"),
		into: set(between(1, 10_000), func(c *Config) *int { return &c.MailPerRecipient })},
	{name: "dkim-key-file", mayEmpty: true,
		into: set(parsePath, func(c *Config) *string { return &c.DKIMKeyFile })},
	{name: "dkim-selector", mayEmpty: true,
		into: set(parseSelector, func(c *Config) *string { return &c.DKIMSelector })},
	{name: "dkim-domain", mayEmpty: true,
		into: set(parseDomain, func(c *Config) *string { return &c.DKIMDomain })},
	{name: "sms-url", mayEmpty: true, mask: maskSMS,
		into: set(parseSMS, func(c *Config) *Endpoint { return &c.SMS })},
	{name: "sms-method", normal: "POST",
		into: set(oneOf("GET", "POST", "PUT"), func(c *Config) *string { return &c.SMSMethod })},
	{name: "sms-headers", mayEmpty: true, list: true, mask: maskHeaders,
		into: set(parseHeaders, func(c *Config) *Headers { return &c.SMSHeaders })},
	{name: "sms-body", normal: defaultSMSBody, mask: maskBody,
		into: set(parseSMSBody, func(c *Config) *secret.Text { return &c.SMSBody })},
	{name: "sms-success", mayEmpty: true,
		into: set(parseSuccess, func(c *Config) *string { return &c.SMSSuccess })},
	{name: "sms-countries", mayEmpty: true, list: true,
		into: set(parseCountries, func(c *Config) *[]string { return &c.SMSCountries })},
	{name: "sms-per-number", normal: "5", dev: new("1000"),
		into: set(between(1, 1000), func(c *Config) *int { return &c.SMSPerNumber })},
	{name: "sms-per-hour", normal: "300", dev: new("1000000"),
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.SMSPerHour })},
	{name: "templates", mayEmpty: true,
		into: set(parsePath, func(c *Config) *string { return &c.Templates })},

	// Dev accepts shorter passwords than 8 and weaker hashes: see check.go.
	{name: "password-min-length", normal: "8",
		into: set(between(1, 256), func(c *Config) *int { return &c.PasswordMinLength })},
	{name: "password-blocklist", normal: "on", dev: new("off"),
		into: set(parseSwitch, func(c *Config) *bool { return &c.PasswordBlocklist })},
	{name: "argon2", normal: "m=19456,t=2,p=1", dev: new("m=1024,t=1,p=1"), // so that tests by the thousand need not wait
		into: set(parseArgon2, func(c *Config) *Argon2 { return &c.Argon2 })},
	{name: "hash-workers", normal: "0",
		into: set(between(0, 1024), func(c *Config) *int { return &c.HashWorkers })},
	{name: "hash-queue", normal: "1024",
		into: set(between(0, 65536), func(c *Config) *int { return &c.HashQueue })},
	{name: "hash-wait", normal: "3s",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.HashWait })},

	{name: "token-lifetime", normal: "24h",
		into: set(parseWholeSeconds, func(c *Config) *time.Duration { return &c.TokenLifetime })},
	{name: "token-lifetime-remembered", normal: "720h",
		into: set(parseWholeSeconds, func(c *Config) *time.Duration { return &c.TokenLifetimeRemembered })},
	{name: "token-idle", normal: "none",
		into: set(parseIdle, func(c *Config) *time.Duration { return &c.TokenIdle })},

	{name: "session-memory", normal: "256MiB",
		into: set(parseSize, func(c *Config) *int64 { return &c.SessionMemory })},
	{name: "offline-checks", normal: "5m",
		into: set(parseOffline, func(c *Config) *time.Duration { return &c.OfflineChecks })},

	{name: "attempts-per-account", normal: "10",
		into: set(between(1, 1000), func(c *Config) *int { return &c.AttemptsPerAccount })},
	{name: "attempts-per-network", normal: "300",
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.AttemptsPerNetwork })},
	{name: "attempts-refill", normal: "1m",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.AttemptsRefill })},

	{name: "attempts-max-wait", normal: "1h",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.AttemptsMaxWait })},
	{name: "attempts-limit", normal: "100",
		into: set(between(1, 100), func(c *Config) *int { return &c.AttemptsLimit })},
	{name: "device-lifetime", normal: "180d",
		into: set(parseWholeSeconds, func(c *Config) *time.Duration { return &c.DeviceLifetime })},
	{name: "require-verified", normal: "off",
		into: set(parseSwitch, func(c *Config) *bool { return &c.RequireVerified })},
	{name: "require-second-factor", normal: "none", list: true,
		into: set(parseWhoMust, func(c *Config) *[]string { return &c.RequireSecondFactor })},
	{name: "trust-devices", normal: "none",
		into: set(parseIdle, func(c *Config) *time.Duration { return &c.TrustDevices })},
	{name: "passkey-rp-id", mayEmpty: true,
		into: set(parseRPID, func(c *Config) *string { return &c.PasskeyRPID })},
	{name: "passkey-origins", mayEmpty: true, list: true,
		into: set(uniqueListOf(parsePasskeyOrigin), func(c *Config) *[]string { return &c.PasskeyOrigins })},
	{name: "passkey-aaguids", mayEmpty: true, list: true,
		into: set(uniqueListOf(parseAAGUID), func(c *Config) *[]string { return &c.PasskeyAAGUIDs })},
	{name: "passkey-roots", mayEmpty: true,
		into: set(parsePath, func(c *Config) *string { return &c.PasskeyRootsFile })},
	{name: "notice-sign-ins", normal: "on",
		into: set(parseSwitch, func(c *Config) *bool { return &c.NoticeSignIns })},
	{name: "messages-per-address", normal: "5", dev: new("1000"),
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.MessagesPerAddress })},
	{name: "messages-refill", normal: "10m",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.MessagesRefill })},
	{name: "asks-per-network", normal: "30",
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.AsksPerNetwork })},
	{name: "registrations-per-network", normal: "100",
		into: set(between(1, 1_000_000), func(c *Config) *int { return &c.RegistrationsPerNetwork })},
	{name: "registrations-refill", normal: "1m",
		into: set(parseDuration, func(c *Config) *time.Duration { return &c.RegistrationsRefill })},
	// Whoever tries the service out, or tests his own, does so with one address.
	{name: "dev-code", mayEmpty: true,
		into: set(parseCode, func(c *Config) *string { return &c.DevCode })},

	{name: "log-level", normal: "info",
		into: set(parseLevel, func(c *Config) *slog.Level { return &c.LogLevel })},
	{name: "log-format", normal: "auto",
		into: set(parseLogFormat, func(c *Config) *LogFormat { return &c.LogFormat })},
}

// def gives the default in a mode.
func (s *setting) def(mode Mode) string {
	if mode == Dev && s.dev != nil {
		return *s.dev
	}
	return s.normal
}

// shown is a valid value as it may be printed.
func (s *setting) shown(text string) string {
	if s.mask == nil {
		return text
	}
	return s.mask(text)
}

// set joins a parser with the field that it fills.
func set[T any](parse func(string) (T, error), field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, text string) error {
		v, err := parse(text)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

func settingNamed(name string) *setting {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}
