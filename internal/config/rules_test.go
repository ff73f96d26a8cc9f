package config_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"propusk/internal/config"
)

func TestEachSettingTakesWhatItShouldAndRefusesTheRest(t *testing.T) {
	for _, rule := range []struct {
		setting      string
		good, bad    []string // in every mode
		devGood      []string // good in Dev, bad elsewhere
		devBad       []string // bad in Dev, good elsewhere
		serveAndTool []string // other flags that are given outside Dev
	}{
		{
			setting: "listen",
			good:    []string{"127.0.0.1:0", "localhost:8001", "[::1]:65535", "127.8.8.8:08001", "[::ffff:127.0.0.1]:1"},
			devBad:  []string{":8001", "0.0.0.0:8001", "[::]:1", "example.com:80", "localhost.example.com:1", "10.0.0.1:1", "[fe80::1%eth0]:1", "192.0.2.1:8001", "[::ffff:192.0.2.1]:1"},
			bad:     []string{"8001", "localhost", "localhost:", "localhost:65536", "localhost:-1", "localhost:+1", "localhost:http", "10.0.0.256:1", "a b:1", "::1:80", "-a:1", "http://localhost:80", "localhost:80/", strings.Repeat("a", 64) + ":1"},
		},
		{
			setting: "ops-listen",
			good:    []string{"", "127.0.0.1:9", "localhost:0"},
			devBad:  []string{":8003", "10.0.0.1:8003"},
			bad:     []string{"x", "127.0.0.1:8001"},
		},
		{
			setting: "public-url",
			good:    []string{"", "https://id.example.com", "https://id.example.com:8443/auth/", "http://localhost:8001", "http://127.0.0.1", "http://[::1]:80", "https://[2001:db8::1]"},
			bad:     []string{"id.example.com", "//id.example.com", "http://id.example.com", "ftp://id.example.com", "https://", "https:id.example.com", "https://u:p@id.example.com", "https://id.example.com?x", "https://id.example.com?", "https://id.example.com/#", "https://id.example.com/#a", "https://id.example.com:", "https://id.example.com:0", "https://id.example.com:99999", "https://a b", "http://localhost.evil.com", "https://10.0.0.300"},
		},
		{
			setting: "trusted-networks",
			good:    []string{"", "10.0.0.0/8", "10.0.0.0/8, 192.168.1.7 ,fc00::/7", "::1", "::ffff:10.0.0.1", "2001:db8::/32"},
			devGood: []string{"0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1"},
			bad:     []string{"10.0.0.0/8,", ",", "10.0.0.1/8", "2001:db8::1/32", "10/8", "10.0.0.0/33", "::ffff:10.0.0.0/104", "fe80::1%eth0", "example.com", "10.0.0.0 192.168.0.0/16", "010.0.0.0/8", "*"},
		},
		{
			setting: "trusted-proxies",
			good:    []string{"", "10.0.0.0/8", "127.0.0.1,::1"},
			devGood: []string{"0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/7", "::/6"},
			bad:     []string{"10.0.0.1/8", "x"},
		},
		{
			setting: "cors-origins",
			good:    []string{"", "https://app.example.com", "https://app.example.com,http://localhost:3000", "HTTPS://App.Example.com", "http://[::1]:3000", "capacitor://localhost"},
			bad:     []string{"*", "null", "https://app.example.com/", "https://app.example.com/x", "https://app.example.com?", "https://app.example.com#", "https://u@app.example.com", "https://*.example.com", "https://app.example.com:443", "http://app.example.com:80", "https://app.example.com:", "app.example.com", "https://пример.рф", "file://host", "https://a.example.com,*", "https:app.example.com", "https://"},
		},
		{
			setting: "shutdown-timeout",
			good:    []string{"10s", "1d", "1d12h", "1h0m0.5s", "3650d", "1ms"},
			bad:     []string{"0", "0s", "0d", "-1s", "-1d", "1d-1h", "10", "1.5", "d", "1dd", "1d1d", "1.5d", "3651d", "3650d1s", "999999d", "9999999d", "99999999h", "3650d87600h", "s", "1 s", "inf", "forever", "10s "},
		},
		{
			setting: "database",
			good:    nil, // the modes have no database in common
			devGood: []string{"sqlite::memory:"},
			devBad:  []string{"sqlite:a.db", "sqlite:/var/lib/propusk/a.db", "sqlite:dir/имя.db"},
			bad:     []string{"a.db", "sqlite:", "sqlite", "sqlite://a.db", "sqlite:///a.db", "sqlite::memory:?x", "sqlite::other:", "sqlite:a.db?_pragma=foreign_keys(0)", "sqlite:file:a.db", "sqlite:a\nb", "mysql://h/d", "postgres://", "postgres:///name", "postgres:host/name", "postgres://u:p/w@h/d", "postgres://u:p#w@h/d", "postgres://h/d?x=%zz", "postgres://h:port/d", "POSTGRES", "host=h user=u"},
		},
		{
			setting:      "database",
			serveAndTool: []string{"--master-key-file=k"},
			devBad:       []string{"postgres://h/d", "postgresql://u:p@h:5432/d?sslmode=verify-full", "postgres://u@h1:5432,h2:5432/d", "postgres:///d?host=/run/postgresql", "postgres://[::1]/d"},
		},
		{setting: "master-key-file", devBad: []string{"key", "/etc/propusk/key"}, bad: []string{"", "a\x00b"}},
		{
			setting: "registration",
			good:    []string{"open", "closed"},
			bad:     []string{"verify-first", "invite", "Open", "", "yes"},
		},
		{
			setting: "user-types",
			good:    []string{"ind", "ind,org", "a_1, b_2", strings.Repeat("a", 32), "0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f"},
			bad:     []string{"", "ind,ind", "Ind", "a b", "a-b", "имя", strings.Repeat("a", 33), "ind,", "0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g"},
		},
		{setting: "phone-region", good: []string{"RU", "US"}, bad: []string{"", "ru", "R", "RUS", "РУ", "+7", "RU\n"}},
		{
			setting: "passkey-rp-id",
			good:    []string{""},
			bad:     []string{"127.0.0.1", "[::1]", "::1", "com", "co.uk", "github.io", "https://example.com", "example.com:443", "пример.рф", "a_b.example.com", "example..com"},
		},
		{setting: "passkey-origins", good: []string{""}, bad: []string{"*", "http://example.com", "https://example.com/", "http://127.0.0.1:8001", "ios:bundle-id:x", "android:apk-key-hash:short", "https://a.example.com,https://a.example.com"}},
		{
			setting: "passkey-aaguids",
			good:    []string{"", "ee882879-721c-4913-9775-3dfcce97072a", "EE882879-721c-4913-9775-3dfcce97072a,00000000-0000-0000-0000-000000000000"},
			bad:     []string{"x", "ee882879721c491397753dfcce97072a", "ee882879-721c-4913-9775-3dfcce97072a,ee882879-721c-4913-9775-3dfcce97072a"},
		},
		{setting: "languages", good: []string{"en", "ru", "ru,en"}, bad: []string{"", "de", "en,en", "EN", "en,,ru"}},
		{setting: "time-zone", good: []string{"UTC", "Europe/Moscow"}, bad: []string{"", "Local", "MSK", "+03:00", "../etc/passwd", "europe moscow"}},
		{
			setting: "mail-from",
			good:    []string{"", "a@example.com", "Propusk <a@example.com>", "Пропуск <a@example.com>"},
			bad:     []string{"a", "a@", "a@b, c@d", "a@example.com\r\nBcc: b@example.com"},
		},
		{
			setting: "smtp-url",
			good:    []string{""},
			bad:     []string{"mail.example.com", "http://mail.example.com", "smtp://", "smtp:mail.example.com", "smtp://u:p/w@h", "smtp://h/path", "smtp://h?x=y", "smtp://h#x", "smtp://h:", "smtp://h:0", "smtp://h?tls=maybe", "smtp://h?tls=none&x=y", "smtp://h?", "smtps://h?tls=none", "smtp://h?tls=NONE"},
		},
		{setting: "mail-per-minute", good: []string{"1", "1000000"}, bad: []string{"", "0", "-1", "none"}},
		{setting: "mail-per-recipient", good: []string{"1", "10000"}, bad: []string{"", "0", "10001"}},
		{setting: "dkim-domain", good: []string{"", "Example.com"}, bad: []string{"example", "a b.c", "@example.com"}},
		{setting: "dkim-selector", good: []string{""}, bad: []string{"a b", ".", "a;b"}},
		{setting: "sms-method", good: []string{"GET", "POST", "PUT"}, bad: []string{"", "get", "DELETE"}},
		{
			setting: "sms-headers",
			good:    []string{"", "Authorization: Bearer abc", "A: b, C: d:e"},
			bad:     []string{"A", "A:", "A: b, hunter2", "A b: c", "A: b\r\nC: d", "Host: evil.example"},
		},
		{setting: "sms-body", good: []string{"x={text}&y={to}", `{"a":"{text}","b":"{digits}","c":"{id}"}`}, bad: []string{"", "{txt}"}},
		{setting: "sms-success", good: []string{"", `"status": "OK"`}, bad: []string{"a\nb", strings.Repeat("a", 1001)}},
		{setting: "sms-countries", good: []string{"", "any", "RU,KZ"}, bad: []string{"ru", "RU,RU", "RU,any", "7"}},
		{setting: "sms-per-number", good: []string{"1", "1000"}, bad: []string{"", "0", "1001"}},
		{setting: "sms-per-hour", good: []string{"1", "1000000"}, bad: []string{"", "0"}},
		{
			setting: "sms-url",
			good:    []string{""},
			devBad:  []string{"https://sms.example.com/send?key=1", "http://10.0.0.1/", "https://u:p@sms.example.com"},
			bad:     []string{"sms.example.com", "ftp://h", "https://h/#x", "https://u:p/w@h"},
		},
		{setting: "templates", good: []string{"", "mails", "/etc/propusk/mails"}, bad: []string{"a\x00b", "a\nb"}},
		{
			setting: "password-min-length",
			good:    []string{"8", "256"},
			devGood: []string{"1", "7"},
			bad:     []string{"0", "-8", "257", "8.0", "0x10", "", "99999999999999999999"},
		},
		{setting: "password-blocklist", good: []string{"on", "off", "true", "false"}, bad: []string{"", "yes", "1", "ON"}},
		{
			setting: "argon2",
			good: []string{"m=19456,t=2,p=1", "p=1,t=2,m=19456", "m=19456, t=2, p=1", "m=47104,t=1,p=1", "m=12288,t=3,p=1", "m=9216,t=4,p=1",
				"m=7168,t=5,p=1", "m=4194304,t=64,p=64", "m=65536,t=3,p=4"},
			devGood: []string{"m=8,t=1,p=1", "m=47103,t=1,p=1", "m=19455,t=2,p=1", "m=12287,t=3,p=1", "m=9215,t=4,p=1", "m=7167,t=64,p=1"},
			bad: []string{"", "m=19456", "m=19456,t=2", "m=19456,t=2,p=1,p=1", "m=19456,t=2,m=19456", "m=19456,t=2,p=1,k=1", "m=19456,t=2,p=0", "m=19456,t=0,p=1",
				"m=-1,t=2,p=1", "m=+19456,t=2,p=1", "m=019456,t=2,p=1", "m=19456;t=2;p=1", "m=4194305,t=2,p=1", "m=19456,t=65,p=1", "m=19456,t=2,p=65",
				"m=7,t=1,p=1", "m=99999999999999999999,t=2,p=1", "M=19456,t=2,p=1", "m=19456,t=2,p=1,"},
		},
		{setting: "hash-workers", good: []string{"0", "1", "1024"}, bad: []string{"-1", "1025", ""}},
		{setting: "hash-queue", good: []string{"0", "65536"}, bad: []string{"-1", "65537"}},
		{setting: "hash-wait", good: []string{"3s", "100ms", "1m"}, bad: []string{"", "0s", "-1s", "3", "none"}},
		{setting: "token-lifetime", good: []string{"1s", "30d", "24h"}, bad: []string{"500ms", "1.5s", "0s", "none", "1d0.1s"}},
		{setting: "token-lifetime-remembered", good: []string{"24h", "90d"}, bad: []string{"23h", "1ns", "none"}},
		{setting: "token-idle", good: []string{"none", "15m", "7d"}, bad: []string{"", "0", "0s", "1ms", "never"}},
		{setting: "attempts-per-account", good: []string{"1", "1000"}, bad: []string{"0", "1001", "-1"}},
		{setting: "attempts-per-network", good: []string{"1", "1000000"}, bad: []string{"0", "1000001"}},
		{setting: "attempts-refill", good: []string{"1s", "1d"}, bad: []string{"0", "60", "-1m"}},
		{setting: "messages-per-address", good: []string{"1", "1000000"}, bad: []string{"0", "1000001", "-1", ""}},
		{setting: "messages-refill", good: []string{"1s", "10m", "1d"}, bad: []string{"0", "10", "-1m", "none"}},
		{setting: "asks-per-network", good: []string{"1", "1000000"}, bad: []string{"0", "1000001", ""}},
		{
			setting: "dev-code",
			good:    []string{""},
			devGood: []string{"000000", "123456"},
			bad:     []string{"0", "12345", "1234567", "12345a", "-12345", " 12345", "１２３４５６", "123456\n"},
		},
		{setting: "log-level", good: []string{"debug", "info", "warn", "error"}, bad: []string{"", "trace", "INFO", "warn+1"}},
		{setting: "log-format", good: []string{"text", "json", "auto"}, bad: []string{"", "logfmt", "JSON"}},
	} {
		for _, mode := range []config.Mode{config.Serve, config.Dev, config.Tool} {
			good, bad := rule.good, rule.bad
			var more []string
			if mode == config.Dev {
				good, bad = append(good[:len(good):len(good)], rule.devGood...), append(bad[:len(bad):len(bad)], rule.devBad...)
			} else {
				good, bad = append(good[:len(good):len(good)], rule.devBad...), append(bad[:len(bad):len(bad)], rule.devGood...)
				more = rule.serveAndTool
			}
			for _, text := range good {
				if _, err := load(t, mode, append(more, "--"+rule.setting+"="+text)...); err != nil {
					t.Errorf("mode %d refuses %s: %v", mode, rule.setting, err)
				}
			}
			for _, text := range bad {
				_, err := load(t, mode, append(more, "--"+rule.setting+"="+text)...)
				want := []string{rule.setting + " (flag --" + rule.setting + ")"}
				if got := problems(t, err); !reflect.DeepEqual(got, want) {
					t.Errorf("mode %d, %s=%q: problems %v, want one", mode, rule.setting, text, got)
				}
			}
		}
	}
}

func TestPostgreSQLNeedsAKeyFileThatWasChosen(t *testing.T) {
	for _, mode := range []config.Mode{config.Serve, config.Tool} {
		_, err := load(t, mode, "--database=postgres://h/d")
		if got := fmt.Sprint(problems(t, err)); got != "[master-key-file (default)]" {
			t.Errorf("mode %d: %s", mode, got)
		}
		c := mustLoad(t, mode, "--database=postgres://h/d", "--master-key-file=propusk-data/master.key")
		if c.Database.Engine != config.Postgres || c.Database.Reveal() != "postgres://h/d" {
			t.Errorf("%v", c.Database)
		}
	}
}

func TestListenersMustNotCollide(t *testing.T) {
	for _, c := range []struct {
		listen, ops string
		collide     bool
	}{
		{"10.0.0.1:80", "10.0.0.1:80", true},
		{":80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "[::]:80", true},
		{"0.0.0.0:80", "127.0.0.1:080", true},
		{"10.0.0.1:80", "127.0.0.1:80", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{":80", "", false},
	} {
		_, err := load(t, config.Serve, "--listen="+c.listen, "--ops-listen="+c.ops)
		if (err != nil) != c.collide {
			t.Errorf("%s and %s: %v", c.listen, c.ops, err)
		}
	}
}

func TestRememberedTokensLiveAtLeastAsLongAsOthers(t *testing.T) {
	_, err := load(t, config.Serve, "PROPUSK_TOKEN_LIFETIME=31d")
	if got := fmt.Sprint(problems(t, err)); got != "[token-lifetime-remembered (default)]" {
		t.Error(got)
	}
	mustLoad(t, config.Serve, "--token-lifetime=31d", "--token-lifetime-remembered=31d")
}

func TestMailNeedsASender(t *testing.T) {
	_, err := load(t, config.Serve, "--smtp-url=smtp://mail.example.com")
	if got := fmt.Sprint(problems(t, err)); got != "[mail-from (default)]" {
		t.Error(got)
	}
	for _, url := range []string{"smtp://mail.example.com", "smtps://u:p%2Fw@mail.example.com:465/", "smtp://10.0.0.1:25"} {
		c := mustLoad(t, config.Serve, "--smtp-url="+url, "--mail-from=A <a@example.com>")
		if c.SMTP.Reveal().String() != url || c.MailFrom.Address != "a@example.com" {
			t.Errorf("%s became %s", url, c.SMTP.Reveal())
		}
	}
}

// A password goes to another machine through TLS only; without one, who says so
// may have none.
func TestMailGoesThroughTLSUnlessToldOtherwise(t *testing.T) {
	for url, want := range map[string]config.SMTPTLS{
		"smtp://mail.example.com": config.TLSRequired, "smtps://u:p@mail.example.com": config.TLSRequired, "smtp://u:p@mail.example.com:587?tls=required": config.TLSRequired,
		"smtp://mail.internal?tls=opportunistic": config.TLSOpportunistic, "smtp://mail.internal:25?tls=none": config.TLSNone,
		"smtp://u:p@127.0.0.1:1025?tls=none": config.TLSNone, "smtp://u:p@localhost?tls=opportunistic": config.TLSOpportunistic,
	} {
		if c := mustLoad(t, config.Serve, "--smtp-url="+url, "--mail-from=a@example.com"); c.SMTPTLS != want {
			t.Errorf("%s: %s", url, c.SMTPTLS)
		}
	}
	for _, url := range []string{"smtp://u:p@mail.example.com?tls=none", "smtp://u@10.0.0.1?tls=opportunistic"} {
		if _, err := load(t, config.Serve, "--smtp-url="+url, "--mail-from=a@example.com"); fmt.Sprint(problems(t, err)) != "[smtp-url (flag --smtp-url)]" {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSignatureNeedsAKeyAndASelector(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	all := files{"key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "junk.pem": "junk"}
	given := func(settings ...string) (config.Config, error) {
		return config.Load(config.Flags{}, append(settings, "PROPUSK_MAIL_FROM=Propusk <a@Example.com>"), all.read, config.Serve)
	}
	c, err := given("PROPUSK_DKIM_KEY_FILE=key.pem", "PROPUSK_DKIM_SELECTOR=s1")
	if err != nil || c.DKIMDomain != "Example.com" {
		t.Errorf("%q, %v", c.DKIMDomain, err)
	}
	for _, wrong := range [][]string{
		{"PROPUSK_DKIM_KEY_FILE=key.pem"}, {"PROPUSK_DKIM_SELECTOR=s1"},
		{"PROPUSK_DKIM_KEY_FILE=junk.pem", "PROPUSK_DKIM_SELECTOR=s1"}, {"PROPUSK_DKIM_KEY_FILE=none.pem", "PROPUSK_DKIM_SELECTOR=s1"},
	} {
		if _, err := given(wrong...); err == nil {
			t.Errorf("%v is taken", wrong)
		}
	}
}

func TestTextMessageHasAPlaceForNumberAndText(t *testing.T) {
	const url = "--sms-url=https://sms.example.com/send"
	for _, good := range [][]string{
		{url}, {url, "--sms-body=phone={digits}&msg={text}"}, {url + "?to={to}&msg={text}", "--sms-method=GET"}, {url + "?to={to}", "--sms-body=msg={text}"},
		{url, "--sms-headers=Content-Type: application/json", `--sms-body={"to":"{to}","text":"{text}"}`},
	} {
		c := mustLoad(t, config.Serve, good...)
		if fmt.Sprint(c.SMSCountries) != "[RU]" {
			t.Errorf("countries %v", c.SMSCountries)
		}
	}
	for _, bad := range [][]string{
		{url, "--sms-body=to={to}"}, {url, "--sms-body=text={text}"}, {url, "--sms-method=GET"}, {url + "?x={txt}"},
		{url, "--sms-headers=Content-Type: text/xml"}, {url, "--sms-headers=Content-Type: application/json"},
		{url, "--sms-headers=Content-Type: application/json", `--sms-body={"to":{to},"text":"{text}"`},
	} {
		if _, err := load(t, config.Serve, bad...); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if c := mustLoad(t, config.Serve, url, "--sms-countries=any"); c.SMSCountries != nil {
		t.Errorf("any became %v", c.SMSCountries)
	}
}

// N18: a throwaway instance sends nothing, so it takes no server to send by: who
// gives one may think that he runs the service.
func TestDevTakesNoServerToSendBy(t *testing.T) {
	_, err := load(t, config.Dev, "PROPUSK_SMTP_URL=smtp://u:geheim@mail.example.com", "--mail-from=a@example.com", "--sms-url=https://u:geheim@sms.example.com")
	want := "[sms-url (flag --sms-url) smtp-url (environment variable PROPUSK_SMTP_URL)]"
	got := problems(t, err)
	slices.Sort(got)
	if fmt.Sprint(got) != want || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "/dev/inbox") {
		t.Errorf("%v, want %s: %v", got, want, err)
	}
	mustLoad(t, config.Dev, "PROPUSK_SMTP_URL=", "PROPUSK_SMS_URL=")
}

func TestValuesAreKeptInOneForm(t *testing.T) {
	c := mustLoad(t, config.Serve, "--listen=localhost:08001", "--public-url=https://id.example.com/auth//", "--cors-origins=HTTPS://App.Example.com",
		"--trusted-networks=::ffff:10.0.0.1,fd00::/8", "--argon2=p=2, t=3, m=65536", "--token-idle=1d12h", "--languages=ru , en", "--password-blocklist=true")
	got := fmt.Sprintln(c.Listen, c.PublicURL, c.CORSOrigins, c.TrustedNetworks, c.Argon2, c.TokenIdle, c.Languages, c.PasswordBlocklist)
	want := "localhost:8001 https://id.example.com/auth [https://app.example.com] [10.0.0.1/32 fd00::/8] m=65536,t=3,p=2 36h0m0s [ru en] true\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
