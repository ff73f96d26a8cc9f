package config

import "reflect"

// Flags is the command line's part of the configuration, for kong to fill when
// it is embedded in a command. The fields are texts, and nil when not given:
// values are judged in [Load], where all problems can be reported together. So
// there are no kong defaults, enums or environment variables here either.
//
// The tags are the only place for a setting's name, help and group; the rest
// of what is known about it stands in the table in settings.go.
type Flags struct {
	Config *string `name:"config" placeholder:"FILE" group:"Configuration" help:"YAML file with any of these settings, named as the flags without the dashes."`

	Listen          *string `name:"listen" placeholder:"HOST:PORT" group:"Network" help:"Address of the service."`
	OpsListen       *string `name:"ops-listen" placeholder:"HOST:PORT" group:"Network" help:"Address for metrics and profiles; keep it private. Empty turns it off."`
	TLSCert         *string `name:"tls-cert" placeholder:"FILE" group:"Network" help:"PEM certificate chain; with --tls-key the service speaks HTTPS itself."`
	TLSKey          *string `name:"tls-key" placeholder:"FILE" group:"Network" help:"PEM private key of --tls-cert."`
	PublicURL       *string `name:"public-url" placeholder:"URL" group:"Network" help:"Where users reach the service. Needed for links in mail, which never follow a request's Host header."`
	TrustedProxies  *string `name:"trusted-proxies" placeholder:"NETWORK,…" group:"Network" help:"Proxies whose X-Forwarded-For is believed."`
	TrustedNetworks *string `name:"trusted-networks" placeholder:"NETWORK,…" group:"Network" help:"Networks whose callers may read and change every user without a token."`
	CORSOrigins     *string `name:"cors-origins" placeholder:"ORIGIN,…" group:"Network" help:"Web origins whose scripts may call the API, such as https://app.example.com."`
	ShutdownTimeout *string `name:"shutdown-timeout" placeholder:"DURATION" group:"Network" help:"How long a stopping server waits for requests in flight."`

	Database      *string `name:"database" placeholder:"URL" group:"Data" help:"sqlite:PATH, or postgres://USER:PASSWORD@HOST/NAME."`
	MasterKeyFile *string `name:"master-key-file" placeholder:"FILE" group:"Data" help:"Key that seals what is stored; made on first start. Must be given with PostgreSQL, where every node needs the same one."`

	Registration *string `name:"registration" placeholder:"WHO" group:"Users" help:"Who may register: open (anyone), verify-first (anyone, once the mail is answered) or closed (nobody)."`
	UserTypes    *string `name:"user-types" placeholder:"NAME,…" group:"Users" help:"Values that user_type may have."`
	PhoneRegion  *string `name:"phone-region" placeholder:"CC" group:"Users" help:"Country of phone numbers that are given without a country code."`
	Languages    *string `name:"languages" placeholder:"LANGUAGE,…" group:"Users" help:"Languages offered, of en and ru."`
	TimeZone     *string `name:"time-zone" placeholder:"ZONE" group:"Users" help:"Zone in which times are shown, such as Europe/Moscow."`

	SMTPURL          *string `name:"smtp-url" placeholder:"URL" group:"Messages" help:"Mail server, smtp://USER:PASSWORD@HOST:PORT (with STARTTLS, unless ?tls=opportunistic or ?tls=none follows) or smtps://…. Without one, mail waits in the outbox."`
	MailFrom         *string `name:"mail-from" placeholder:"ADDRESS" group:"Messages" help:"Sender of mail, such as Propusk <no-reply@example.com>."`
	MailPerMinute    *string `name:"mail-per-minute" placeholder:"N" group:"Messages" help:"Mails that are sent in a minute at most; more wait."`
	MailPerRecipient *string `name:"mail-per-recipient" placeholder:"N" group:"Messages" help:"Mails that are sent to one address in an hour at most, half of them for strangers; more wait. Notices count apart."`
	DKIMKeyFile      *string `name:"dkim-key-file" placeholder:"FILE" group:"Messages" help:"PEM private key (RSA or Ed25519) that signs mail. Not needed where the mail server signs."`
	DKIMSelector     *string `name:"dkim-selector" placeholder:"NAME" group:"Messages" help:"Selector under which its public key is in DNS."`
	DKIMDomain       *string `name:"dkim-domain" placeholder:"DOMAIN" group:"Messages" help:"Domain that signs; that of --mail-from if not given."`
	SMSURL           *string `name:"sms-url" placeholder:"URL" group:"Messages" help:"HTTP address that sends text messages. Without one, they wait in the outbox."`
	SMSMethod        *string `name:"sms-method" placeholder:"METHOD" group:"Messages" help:"How it is called: POST, PUT or GET."`
	SMSHeaders       *string `name:"sms-headers" placeholder:"NAME: VALUE,…" group:"Messages" help:"Headers of the call. Content-Type: application/json makes the body JSON; otherwise it is a form."`
	SMSBody          *string `name:"sms-body" placeholder:"TEXT" group:"Messages" help:"Body of the call, where {to} is the number, {digits} the number without the plus, {text} the message and {id} its id. The query of --sms-url may hold them too."`
	SMSSuccess       *string `name:"sms-success" placeholder:"TEXT" group:"Messages" help:"What an answer must hold to count as success, besides a status of 2xx."`
	SMSCountries     *string `name:"sms-countries" placeholder:"CC,…" group:"Messages" help:"Countries whose numbers get text messages, or any; the one of --phone-region if not given."`
	SMSPerNumber     *string `name:"sms-per-number" placeholder:"N" group:"Messages" help:"Text messages that are sent to one number in 24 hours at most, half of them for strangers; more wait. Notices count apart."`
	SMSPerHour       *string `name:"sms-per-hour" placeholder:"N" group:"Messages" help:"Text messages that are sent in an hour at most; more wait."`

	Templates *string `name:"templates" placeholder:"DIR" group:"Messages" help:"Folder whose files replace the words and the look of single messages."`

	PasswordMinLength *string `name:"password-min-length" placeholder:"N" group:"Passwords" help:"Fewest characters of a new password."`
	PasswordBlocklist *string `name:"password-blocklist" placeholder:"on|off" group:"Passwords" help:"Refuse passwords that are known to be common."`
	Argon2            *string `name:"argon2" placeholder:"m=…,t=…,p=…" group:"Passwords" help:"Cost of a password hash (Argon2id): memory in KiB, passes, lanes."`
	HashWorkers       *string `name:"hash-workers" placeholder:"N" group:"Passwords" help:"Passwords hashed at one time; 0 is the number of CPUs."`
	HashQueue         *string `name:"hash-queue" placeholder:"N" group:"Passwords" help:"Requests that may wait for a hash worker; more are told to come back later."`
	HashWait          *string `name:"hash-wait" placeholder:"DURATION" group:"Passwords" help:"Longest wait for a hash worker; who would wait longer is told at once to come back later."`

	TokenLifetime           *string `name:"token-lifetime" placeholder:"DURATION" group:"Sessions" help:"Life of a token."`
	TokenLifetimeRemembered *string `name:"token-lifetime-remembered" placeholder:"DURATION" group:"Sessions" help:"Life of a token issued with remember_me."`
	TokenIdle               *string `name:"token-idle" placeholder:"DURATION|none" group:"Sessions" help:"Time without use after which a token ends."`
	SessionMemory           *string `name:"session-memory" placeholder:"SIZE" group:"Sessions" help:"Memory for sessions, some 160 bytes each; what has no room there is asked of the database."`
	OfflineChecks           *string `name:"offline-checks" placeholder:"DURATION|none" group:"Sessions" help:"How long tokens are checked from memory while the database is away, by a process that has it to itself."`

	AttemptsPerAccount *string `name:"attempts-per-account" placeholder:"N" group:"Throttling" help:"Wrong passwords in a row before an account must wait."`
	AttemptsPerNetwork *string `name:"attempts-per-network" placeholder:"N" group:"Throttling" help:"Wrong passwords from one network before it must wait."`
	AttemptsRefill     *string `name:"attempts-refill" placeholder:"DURATION" group:"Throttling" help:"Wait after the last of them; it grows with the square of further ones."`
	AttemptsMaxWait    *string `name:"attempts-max-wait" placeholder:"DURATION" group:"Throttling" help:"The longest wait between two attempts."`
	AttemptsLimit      *string `name:"attempts-limit" placeholder:"N" group:"Throttling" help:"Wrong passwords in a row after which the right one counts from known devices only."`
	DeviceLifetime     *string `name:"device-lifetime" placeholder:"DURATION" group:"Throttling" help:"For how long a login makes a device known."`

	RequireVerified     *string `name:"require-verified" placeholder:"on|off" group:"Accounts" help:"Let nobody log in before an e-mail address or phone number is proven."`
	RequireSecondFactor *string `name:"require-second-factor" placeholder:"none|all|ROLE,…" group:"Sessions" help:"Who must have a second factor; who has none adds one at the next login."`
	TrustDevices        *string `name:"trust-devices" placeholder:"DURATION|none" group:"Sessions" help:"For how long users may have a device go without a second factor, such as 30d."`
	PasskeyRPID         *string `name:"passkey-rp-id" placeholder:"DOMAIN" group:"Sessions" help:"Domain that passkeys are made for; the host of --public-url if not given. Those that were made for another are worth nothing."`
	PasskeyOrigins      *string `name:"passkey-origins" placeholder:"ORIGIN,…" group:"Sessions" help:"Web origins whose pages may use passkeys, such as https://app.example.com, and apps as android:apk-key-hash:…; that of --public-url if not given."`
	PasskeyAAGUIDs      *string `name:"passkey-aaguids" placeholder:"UUID,…" group:"Sessions" help:"Models of authenticators whose passkeys are taken; all if not given."`
	PasskeyRoots        *string `name:"passkey-roots" placeholder:"FILE" group:"Sessions" help:"PEM certificates of makers of authenticators: passkeys are taken only with an attestation by one of them."`
	NoticeSignIns       *string `name:"notice-sign-ins" placeholder:"on|off" group:"Messages" help:"Tell owners of logins from devices that their account does not know."`
	MessagesPerAddress  *string `name:"messages-per-address" placeholder:"N" group:"Messages" help:"Links and codes that can be asked for one address before it must wait."`
	MessagesRefill      *string `name:"messages-refill" placeholder:"DURATION" group:"Messages" help:"Time after which an address can have one more."`
	AsksPerNetwork      *string `name:"asks-per-network" placeholder:"N" group:"Messages" help:"Links and codes that one network can ask for, without a token, before it must wait."`

	RegistrationsPerNetwork *string `name:"registrations-per-network" placeholder:"N" group:"Throttling" help:"Registrations from one network before it must wait."`
	RegistrationsRefill     *string `name:"registrations-refill" placeholder:"DURATION" group:"Throttling" help:"Time after which a network has one registration more."`

	DevCode *string `name:"dev-code" placeholder:"NNNNNN" group:"Throwaway instance" help:"Six digits that every code in a message is, in dev only; without it codes are real."`

	LogLevel  *string `name:"log-level" placeholder:"LEVEL" group:"Logging" help:"debug, info, warn or error."`
	LogFormat *string `name:"log-format" placeholder:"FORMAT" group:"Logging" help:"text, json, or auto: text on a terminal and json elsewhere."`
}

// given is the flags that were on the command line, by name.
func (f Flags) given() map[string]string {
	given := map[string]string{}
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if text, _ := v.Field(i).Interface().(*string); text != nil {
			given[v.Type().Field(i).Tag.Get("name")] = *text
		}
	}
	return given
}
