// Package config turns flags, environment variables and an optional YAML file
// into one Config of typed values, and reports everything that is wrong with
// them at once.
//
// It owns the names, defaults and limits of all settings. It does not parse the
// command line (package cli does, into [Flags]), does not check what only the
// running program can know (whether a database answers, whether an address is
// free), and imports nothing else of ours but secret.
//
// A flag beats the environment, the environment beats the file, the file beats
// the default. Lists are replaced, never merged.
//
// What is empty counts as follows. Where an empty value has a meaning (no
// operations listener, no trusted network), it has that meaning everywhere. For
// every other setting an empty environment variable counts as not set, since
// container tools cannot leave a variable out, and an empty flag or file value
// is a problem.
package config

import (
	"crypto/x509"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"time"

	"propusk/internal/secret"
)

// Mode is the kind of command that the configuration is for.
type Mode uint8

// The modes differ in their defaults and in what they refuse.
const (
	Serve Mode = iota + 1 // the service
	Dev                   // a throwaway instance: loopback only, database in memory, weak passwords welcome
	Tool                  // administration from the command line; may lack the rights to read the TLS key
)

// Config is every setting, checked. The zero value is not usable: it comes from
// [Load]. It is safe to log: nothing in it prints a credential.
type Config struct {
	Mode Mode
	File string // the configuration file that was read, empty for none

	Listen          string         // host:port of the service; the host may be empty, the port 0
	OpsListen       string         // host:port for metrics and profiles, empty for none
	TLSCert, TLSKey string         // PEM files; both or none
	PublicURL       *url.URL       // where users reach the service, without a slash at its end; nil when not known
	TrustedProxies  []netip.Prefix // peers whose forwarding headers are believed; masked, never IPv4 in IPv6
	TrustedNetworks []netip.Prefix // callers who may read and change any user without a token; same form
	CORSOrigins     []string       // exact origins as browsers send them, lower case
	ShutdownTimeout time.Duration  // how long a stopping server waits for requests in flight

	Database      Database
	MasterKeyFile string // empty in Dev, which has no lasting secrets

	Registration Registration
	UserTypes    []string       // lower-case names, at least one, no two alike
	PhoneRegion  string         // two capital letters; whether the region exists is not checked here
	Languages    []string       // of en and ru, at least one, the operator's order
	TimeZone     *time.Location // how times are shown; they are stored in UTC

	SMTP             Endpoint      // smtp or smtps
	SMTPTLS          SMTPTLS       // "" without SMTP
	MailFrom         *mail.Address // never nil when SMTP is set
	MailPerMinute    int
	MailPerRecipient int    // in an hour
	DKIMKeyFile      string // PEM; empty for none
	DKIMSelector     string // never empty with a key
	DKIMDomain       string // that of MailFrom unless it was given

	SMS          Endpoint // http or https; may hold placeholders
	SMSMethod    string
	SMSHeaders   Headers
	SMSBody      secret.Text // a template, sent with other methods than GET
	SMSSuccess   string      // what the answer must hold; may be empty
	SMSCountries []string    // two capital letters each; nil: all
	SMSPerNumber int         // in 24 hours
	SMSPerHour   int

	Templates string // folder of words of messages, empty for those built in

	PasswordMinLength int // characters
	PasswordBlocklist bool
	Argon2            Argon2
	HashWorkers       int           // passwords hashed at one time; at least 1
	HashQueue         int           // requests that may wait for a worker
	HashWait          time.Duration // the longest such wait

	TokenLifetime           time.Duration // whole seconds
	TokenLifetimeRemembered time.Duration // whole seconds, never below TokenLifetime
	TokenIdle               time.Duration // 0 for no limit
	// A session with a second factor is worth more to a thief, so it has limits
	// of its own until the operator sets the ones above: 24 h in all and 1 h
	// idle (NIST SP 800-63B, section 4.2.3). 0 means no limit besides those above.
	SecondFactorLifetime time.Duration
	SecondFactorIdle     time.Duration

	SessionMemory int64         // bytes
	OfflineChecks time.Duration // 0: none

	AttemptsPerAccount int           // wrong passwords in a row before an account must wait
	AttemptsPerNetwork int           // the same for one network, whatever the accounts
	AttemptsRefill     time.Duration // the first wait
	AttemptsMaxWait    time.Duration // the longest
	AttemptsLimit      int           // wrong passwords in a row that close an account to unknown devices; at most 100
	DeviceLifetime     time.Duration // whole seconds

	RequireSecondFactor []string       // roles, or "all"; empty: nobody
	TrustDevices        time.Duration  // for how long a device may go without a second factor; 0: never
	PasskeyRPID         string         // a domain; empty: there are no passkeys
	PasskeyOrigins      []string       // as browsers send them, or android:apk-key-hash:…; never empty with a domain
	PasskeyAAGUIDs      []string       // in lower case; nil: any
	PasskeyRootsFile    string         // PEM; empty for none
	PasskeyRoots        *x509.CertPool // what it holds; nil for a tool
	RequireVerified     bool           // no login before an address or a number is proven
	NoticeSignIns       bool           // owners are told of sign-ins from unknown devices
	MessagesPerAddress  int            // messages that anybody can have sent to one address at once
	MessagesRefill      time.Duration  // time after which an address can have one more
	AsksPerNetwork      int            // messages that callers of one network can ask for at once

	RegistrationsPerNetwork int
	RegistrationsRefill     time.Duration // time after which a network has one more

	DevCode string // what every code is, in Dev; empty for real ones

	LogLevel  slog.Level
	LogFormat LogFormat

	inForce []inForce // for Print; masked
}

// Registration says who may make an account.
type Registration string

// The ways to register.
const (
	RegistrationOpen        Registration = "open"
	RegistrationVerifyFirst Registration = "verify-first"
	RegistrationClosed      Registration = "closed"
)

// LogFormat is how log lines are written.
type LogFormat string

// Auto is text on a terminal and JSON elsewhere; the caller knows which it is.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Load settles every setting from its sources. The error is a [*Problems] with
// everything that is wrong; the Config is then not to be used. environ has the
// form of [os.Environ]; readFile is [os.ReadFile] but in tests, and reads the
// configuration file and the TLS pair.
func Load(flags Flags, environ []string, readFile func(string) ([]byte, error), mode Mode) (Config, error) {
	l := &loader{mode: mode, readFile: readFile, found: map[string]value{}, broken: map[string]bool{}}
	given := flags.given()
	env := l.environment(environ)
	l.config.Mode = mode
	l.config.File = l.file(given, env)
	l.merge(given, env)
	for i := range settings {
		l.parse(&settings[i])
	}
	l.checkTogether()
	if len(l.problems) > 0 {
		return Config{}, &Problems{List: l.problems}
	}
	l.derive()
	return l.config, nil
}
