package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"propusk/internal/config"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// files is a file system for Load.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// parseArgs fills Flags as the program does.
func parseArgs(t testing.TB, args ...string) config.Flags {
	t.Helper()
	var cli struct {
		config.Flags
	}
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatalf("kong: %v", err)
	}
	return cli.Flags
}

// load takes flags (--x=y), environment variables (X=y) and nothing else.
func load(t testing.TB, mode config.Mode, given ...string) (config.Config, error) {
	t.Helper()
	var args, environ []string
	for _, one := range given {
		if strings.HasPrefix(one, "--") {
			args = append(args, one)
		} else {
			environ = append(environ, one)
		}
	}
	return config.Load(parseArgs(t, args...), environ, files{}.read, mode)
}

func mustLoad(t testing.TB, mode config.Mode, given ...string) config.Config {
	t.Helper()
	c, err := load(t, mode, given...)
	if err != nil {
		t.Fatalf("load %q: %v", given, err)
	}
	return c
}

// problems gives "setting (source)" of every problem.
func problems(t testing.TB, err error) []string {
	t.Helper()
	var p *config.Problems
	if err == nil {
		return nil
	}
	if !errors.As(err, &p) {
		t.Fatalf("error is a %T", err)
	}
	var names []string
	for _, one := range p.List {
		names = append(names, one.Setting+" ("+one.Source+")")
	}
	return names
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	c := mustLoad(t, config.Serve)
	if c.Listen != "0.0.0.0:8001" || c.OpsListen != "127.0.0.1:8002" || c.MasterKeyFile != "propusk-data/master.key" {
		t.Errorf("addresses or key: %q %q %q", c.Listen, c.OpsListen, c.MasterKeyFile)
	}
	if c.Database.Engine != config.SQLite || c.Database.Path != "propusk-data/propusk.db" || c.Database.Memory {
		t.Errorf("database %v", c.Database)
	}
	if c.PublicURL != nil || !c.SMTP.IsZero() || !c.SMS.IsZero() || c.MailFrom != nil || c.TLSCert != "" ||
		c.TrustedNetworks != nil || c.TrustedProxies != nil || c.CORSOrigins != nil {
		t.Errorf("something is on that should be off: %+v", c)
	}
	if c.TokenLifetime != 24*time.Hour || c.TokenLifetimeRemembered != 720*time.Hour || c.TokenIdle != 0 {
		t.Errorf("lifetimes %v %v %v", c.TokenLifetime, c.TokenLifetimeRemembered, c.TokenIdle)
	}
	if c.SecondFactorLifetime != 24*time.Hour || c.SecondFactorIdle != time.Hour {
		t.Errorf("second factor: %v, %v", c.SecondFactorLifetime, c.SecondFactorIdle)
	}
	if c.PasswordMinLength != 8 || !c.PasswordBlocklist || c.Argon2 != (config.Argon2{Memory: 19456, Passes: 2, Lanes: 1}) {
		t.Errorf("passwords: %d %v %v", c.PasswordMinLength, c.PasswordBlocklist, c.Argon2)
	}
	if c.HashWorkers < 1 || c.HashQueue != 1024 || c.HashWait != 3*time.Second || c.ShutdownTimeout != 10*time.Second {
		t.Errorf("work: %d %d %v %v", c.HashWorkers, c.HashQueue, c.HashWait, c.ShutdownTimeout)
	}
	if c.AttemptsPerAccount != 10 || c.AttemptsPerNetwork != 300 || c.AttemptsRefill != time.Minute {
		t.Errorf("attempts: %d %d %v", c.AttemptsPerAccount, c.AttemptsPerNetwork, c.AttemptsRefill)
	}
	if c.AttemptsMaxWait != time.Hour || c.AttemptsLimit != 100 || c.DeviceLifetime != 180*24*time.Hour {
		t.Errorf("attempts: %v %d %v", c.AttemptsMaxWait, c.AttemptsLimit, c.DeviceLifetime)
	}
	if c.RegistrationsPerNetwork != 100 || c.RegistrationsRefill != time.Minute || c.SessionMemory != 256<<20 || c.OfflineChecks != 5*time.Minute {
		t.Errorf("registrations: %d %v; sessions: %d %v", c.RegistrationsPerNetwork, c.RegistrationsRefill, c.SessionMemory, c.OfflineChecks)
	}
	if c.Registration != config.RegistrationOpen || c.PhoneRegion != "RU" || c.TimeZone != time.UTC ||
		!cmp.Equal(c.UserTypes, []string{"ind", "org"}) || !cmp.Equal(c.Languages, []string{"en", "ru"}) {
		t.Errorf("users: %+v", c)
	}
	if c.LogLevel != slog.LevelInfo || c.LogFormat != config.LogAuto {
		t.Errorf("log: %v %v", c.LogLevel, c.LogFormat)
	}
}

func TestDevIsReadyForTheSeed(t *testing.T) {
	c := mustLoad(t, config.Dev)
	if c.Listen != "127.0.0.1:8001" || c.OpsListen != "127.0.0.1:8002" || !c.Database.Memory || c.PasswordBlocklist || c.MasterKeyFile != "" {
		t.Errorf("%+v", c)
	}
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if fmt.Sprint(c.TrustedNetworks) != fmt.Sprint(local) {
		t.Errorf("trusted networks %v, want %v", c.TrustedNetworks, local)
	}
	mustLoad(t, config.Dev, "--argon2=m=64,t=1,p=1", "--password-min-length=1", "--trusted-networks=0.0.0.0/0")
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	disk := files{"p.yaml": "phone-region: FR\nlog-level: error\ntime-zone: Asia/Tokyo\n", "other.yaml": "phone-region: IT\n"}
	env := []string{"PROPUSK_CONFIG=p.yaml", "PROPUSK_PHONE_REGION=DE", "PROPUSK_LOG_LEVEL=warn", "HOME=/", "PROPUSK_LANGUAGES="}
	c, err := config.Load(parseArgs(t, "--phone-region=GB"), env, disk.read, config.Serve)
	if err != nil {
		t.Fatal(err)
	}
	if c.PhoneRegion != "GB" || c.LogLevel != slog.LevelWarn || c.TimeZone.String() != "Asia/Tokyo" || len(c.Languages) != 2 || c.File != "p.yaml" {
		t.Errorf("got %v %v %v %v %v", c.PhoneRegion, c.LogLevel, c.TimeZone, c.Languages, c.File)
	}
	c, err = config.Load(parseArgs(t, "--config=other.yaml"), []string{"PROPUSK_CONFIG=p.yaml"}, disk.read, config.Serve)
	if err != nil || c.PhoneRegion != "IT" || c.LogLevel != slog.LevelInfo {
		t.Errorf("--config does not beat PROPUSK_CONFIG: %v %v", c.PhoneRegion, err)
	}
}

func TestEmptyMeansNoneOnlyWhereNoneIsPossible(t *testing.T) {
	for _, given := range []string{"PROPUSK_OPS_LISTEN=", "--ops-listen="} {
		if c := mustLoad(t, config.Serve, given); c.OpsListen != "" {
			t.Errorf("%s: %q", given, c.OpsListen)
		}
	}
	if c := mustLoad(t, config.Dev, "PROPUSK_TRUSTED_NETWORKS="); c.TrustedNetworks != nil {
		t.Errorf("trusted networks %v", c.TrustedNetworks)
	}
	if c := mustLoad(t, config.Serve, "PROPUSK_LISTEN=", "PROPUSK_DATABASE="); c.Listen != "0.0.0.0:8001" || c.Database.Memory {
		t.Errorf("an empty variable changed %v %v", c.Listen, c.Database)
	}
	_, err := load(t, config.Serve, "--listen=", "--database=")
	if diff := cmp.Diff([]string{"listen (flag --listen)", "database (flag --database)"}, problems(t, err)); diff != "" {
		t.Error(diff)
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	disk := files{"p.yaml": "tokn-lifetime: 1h\nlisten: nowhere\nlisten: :1\nargon2:\n  m: 1\nlanguages: [en, [ru]]\nconfig: x\nlog-level:\nuser-types: [ind, Org]\n"}
	env := []string{"PROPUSK_CONFIG=p.yaml", "PROPUSK_LISEN=:1", "PROPUSK_HASH_QUEUE=many", "PROPUSK_TEST_POSTGRES=x", "PROPUSK_BENCH_X=1"}
	c, err := config.Load(parseArgs(t, "--registration=invite", "--token-lifetime=5"), env, disk.read, config.Serve)
	want := `PROPUSK_LISEN (environment): no such setting; did you mean PROPUSK_LISTEN?
tokn-lifetime (file p.yaml, line 1): no such setting; did you mean token-lifetime?
listen (file p.yaml, line 3): is given twice; first in file p.yaml, line 2
argon2 (file p.yaml, line 4): must be a single value
languages (file p.yaml, line 6): line 6: must be a single value
config (file p.yaml, line 7): a file cannot name another file
log-level (file p.yaml, line 8): has no value; leave the line out, or write "" for none
registration (flag --registration): invite is not available in this version
user-types (file p.yaml, line 9): "Org" is not 1 to 32 of the letters a-z, digits and _
hash-queue (environment variable PROPUSK_HASH_QUEUE): "many" is not a whole number from 0 to 65536
token-lifetime (flag --token-lifetime): "5" needs a unit, such as 90s, 15m, 24h or 30d`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if c.Listen != "" {
		t.Error("a broken configuration came out with values")
	}
}

func TestFilesThatAreNoFlatListOfSettingsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"- listen":                         "not a list of",
		"listen":                           "not a list of",
		"listen: a: b":                     "not valid YAML: mapping values",
		"listen: :1\n---\nlisten: :2":      "more than one YAML document",
		"listen: &a :1\ndatabase: *a":      "not an alias",
		"? [a]\n: b":                       "a key must be",
		"<<: {listen: ':1'}":               "no such setting",
		"Listen: :1":                       "did you mean listen?",
		"token_lifetime: 1h":               "did you mean token-lifetime?",
		"languages: {en: ru}":              "a text or a list of texts",
		"phone-region: !!binary aGk=":      "must be text",
		"\xff":                             "not valid YAML",
		"listen: [':1', ':2']":             "a single value",
		"\"a\\nlisten (flag): fine\": b\n": "no such setting",
	} {
		_, err := config.Load(config.Flags{}, []string{"PROPUSK_CONFIG=f"}, files{"f": text}.read, config.Serve)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line with %q", text, err, want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "trusted-networks: []\n", "{}"} {
		if _, err := config.Load(config.Flags{}, []string{"PROPUSK_CONFIG=f"}, files{"f": text}.read, config.Serve); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := load(t, config.Serve, "--config=missing.yaml", "--listen=x")
	if diff := cmp.Diff([]string{"config (flag --config)", "listen (flag --listen)"}, problems(t, err)); diff != "" {
		t.Error(diff)
	}
}

func TestFileTakesYAMLsOwnTypes(t *testing.T) {
	text := "hash-queue: 7\npassword-blocklist: false\ntoken-lifetime: 1h30m\ntrusted-networks: [10.0.0.0/8, '::1']\nuser-types:\n- a\n- b\n"
	c, err := config.Load(config.Flags{}, []string{"PROPUSK_CONFIG=f"}, files{"f": text}.read, config.Serve)
	if err != nil {
		t.Fatal(err)
	}
	if c.HashQueue != 7 || c.PasswordBlocklist || c.TokenLifetime != 90*time.Minute || len(c.TrustedNetworks) != 2 || len(c.UserTypes) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestMisspelledVariablesAreProblemsAndForeignOnesAreNot(t *testing.T) {
	mustLoad(t, config.Serve, "PROPUSK_SERVICE_HOST=10.0.0.1", "PROPUSK_SERVICE_PORT=8001", "PROPUSK_SERVICE_PORT_HTTP=8001",
		"PROPUSK_PORT=tcp://10.0.0.1:8001", "PROPUSK_PORT_8001_TCP=tcp://10.0.0.1:8001", "PROPUSK_PORT_8001_TCP_PROTO=tcp",
		"PROPUSK_PORT_8001_TCP_PORT=8001", "PROPUSK_PORT_8001_TCP_ADDR=10.0.0.1", "PROPUSK_OPS_SERVICE_HOST=10.0.0.2",
		"PROPUSK_OPS_PORT=tcp://10.0.0.2:8002", "PROPUSK_TEST_POSTGRES=1", "PROPUSK_BENCH_PEERS=", "PROPUSKX=1", "MY_PROPUSK_LISTEN=1")
	_, err := load(t, config.Serve, "PROPUSK_PORT=9000", "PROPUSK_TRUSTED_NETWORK=10.0.0.0/8", "PROPUSK_X=secret-word")
	want := "PROPUSK_PORT (environment): no such setting\n" +
		"PROPUSK_TRUSTED_NETWORK (environment): no such setting; did you mean PROPUSK_TRUSTED_NETWORKS?\n" +
		"PROPUSK_X (environment): no such setting"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestFlagsAndTableAgree(t *testing.T) {
	tags := map[string]reflect.StructTag{}
	for field := range reflect.TypeFor[config.Flags]().Fields() {
		if field.Type != reflect.TypeFor[*string]() {
			t.Errorf("%s is a %v: a problem with it could not be collected", field.Name, field.Type)
		}
		for _, key := range []string{"name", "help", "placeholder", "group"} {
			if field.Tag.Get(key) == "" {
				t.Errorf("%s has no %s", field.Name, key)
			}
		}
		for _, key := range []string{"default", "env", "enum", "required"} {
			if _, has := field.Tag.Lookup(key); has {
				t.Errorf("%s leaves its %s to kong", field.Name, key)
			}
		}
		tags[field.Tag.Get("name")] = field.Tag
	}
	for _, row := range config.Table() {
		if _, has := tags[row.Name]; !has {
			t.Errorf("%s has no flag", row.Name)
		}
		delete(tags, row.Name)
	}
	if len(tags) > 0 {
		t.Errorf("flags that are in no table: %v", tags)
	}
}

func TestEveryFlagIsAlsoAVariableAndAKey(t *testing.T) {
	for _, row := range config.Table() {
		text := "\x01" // bad for each
		_, byFlag := load(t, config.Serve, "--"+row.Name+"="+text)
		_, byEnv := load(t, config.Serve, row.Env+"="+text)
		_, byFile := config.Load(config.Flags{}, []string{"PROPUSK_CONFIG=f"}, files{"f": row.Name + `: "\x01"`}.read, config.Serve)
		if byFlag == nil || byEnv == nil || byFile == nil {
			t.Errorf("%s is not read: flag %v, variable %v, file %v", row.Name, byFlag, byEnv, byFile)
		}
	}
}

func TestMarkdownTableHasEverySetting(t *testing.T) {
	table := config.MarkdownTable()
	for _, row := range config.Table() {
		if !strings.Contains(table, "\n| `--"+row.Name+"` | ") {
			t.Errorf("%s is missing", row.Name)
		}
	}
	if !strings.Contains(table, "| `--listen` | `0.0.0.0:8001`, in dev `127.0.0.1:8001` |") {
		t.Error(table)
	}
}

func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestCertificateAndKeyMustBeAPair(t *testing.T) {
	cert, key := keyPair(t)
	_, otherKey := keyPair(t)
	disk := files{"cert": cert, "key": key, "other": otherKey, "junk": "x"}
	for _, c := range []struct {
		args []string
		mode config.Mode
		want []string
	}{
		{[]string{"--tls-cert=cert", "--tls-key=key"}, config.Serve, nil},
		{[]string{"--tls-cert=cert"}, config.Serve, []string{"tls-key (default)"}},
		{[]string{"--tls-key=key"}, config.Serve, []string{"tls-cert (default)"}},
		{[]string{"--tls-cert=cert", "--tls-key=other"}, config.Serve, []string{"tls-cert (flag --tls-cert)"}},
		{[]string{"--tls-cert=junk", "--tls-key=key"}, config.Serve, []string{"tls-cert (flag --tls-cert)"}},
		{[]string{"--tls-cert=no", "--tls-key=none"}, config.Serve, []string{"tls-cert (flag --tls-cert)", "tls-key (flag --tls-key)"}},
		{[]string{"--tls-cert=no", "--tls-key=none"}, config.Tool, nil},
		{[]string{"--tls-cert=no"}, config.Tool, []string{"tls-key (default)"}},
	} {
		_, err := config.Load(parseArgs(t, c.args...), nil, disk.read, c.mode)
		if diff := cmp.Diff(c.want, problems(t, err)); diff != "" {
			t.Errorf("%v: %s", c.args, diff)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%v tells of the key: %v", c.args, err)
		}
	}
}

func TestSecondFactorLimitsYieldOnlyToTheSettingsTheyStandFor(t *testing.T) {
	for _, c := range []struct {
		given          []string
		lifetime, idle time.Duration
	}{
		{nil, 24 * time.Hour, time.Hour},
		{[]string{"--token-lifetime=1h"}, 24 * time.Hour, time.Hour},
		{[]string{"--token-lifetime=48h"}, 48 * time.Hour, time.Hour},
		{[]string{"--token-lifetime-remembered=720h"}, 0, time.Hour},
		{[]string{"--token-idle=none"}, 24 * time.Hour, 0},
		{[]string{"--token-idle=2h"}, 24 * time.Hour, 0},
	} {
		got := mustLoad(t, config.Serve, c.given...)
		if got.SecondFactorLifetime != c.lifetime || got.SecondFactorIdle != c.idle {
			t.Errorf("%v: %v and %v, want %v and %v", c.given, got.SecondFactorLifetime, got.SecondFactorIdle, c.lifetime, c.idle)
		}
	}
}
