package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"propusk/internal/config"

	"github.com/google/go-cmp/cmp"
)

func printed(t testing.TB, c config.Config) string {
	t.Helper()
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrintTellsEverySettingAndItsSource(t *testing.T) {
	disk := files{"p.yaml": "\n# a comment\ntrusted-networks: [10.0.0.0/8, 192.168.0.0/16]\n"}
	env := []string{"PROPUSK_CONFIG=p.yaml", "PROPUSK_OPS_LISTEN=", "PROPUSK_DATABASE=sqlite:a b.db"}
	c, err := config.Load(parseArgs(t, "--log-level=warn", "--password-min-length=12"), env, disk.read, config.Serve)
	if err != nil {
		t.Fatal(err)
	}
	out := printed(t, c)
	for _, line := range []string{
		"# config: p.yaml  # environment variable PROPUSK_CONFIG",
		"# listen: 0.0.0.0:8001  # default",
		`ops-listen: ""  # environment variable PROPUSK_OPS_LISTEN`,
		"trusted-networks: 10.0.0.0/8,192.168.0.0/16  # file p.yaml, line 3",
		`database: "sqlite:a b.db"  # environment variable PROPUSK_DATABASE`,
		"password-min-length: 12  # flag --password-min-length",
		"log-level: warn  # flag --log-level",
		`# sms-url: ""  # default`,
	} {
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
	if got, want := strings.Count(out, "\n"), len(config.Table()); got != want {
		t.Errorf("%d lines for %d settings", got, want)
	}
}

// A configuration that is read back must mean the same, also where a rule asks
// whether a setting was given.
func TestPrintedConfigurationCanBeReadBack(t *testing.T) {
	for _, c := range []struct {
		mode  config.Mode
		given []string
	}{
		{config.Serve, nil},
		{config.Dev, nil},
		{config.Serve, []string{"--token-lifetime=48h", "--ops-listen=", "--user-types=a,b", "--master-key-file=null", "--cors-origins=http://[::1]:3000",
			"--database=sqlite:'odd\"%: name", "--mail-from=A B <a@example.com>", "--password-blocklist=off", "--hash-queue=010"}},
		{config.Serve, []string{"--database=postgres://u@h/d?sslmode=disable", "--master-key-file=~", "--token-idle=none", "--time-zone=Europe/Moscow"}},
	} {
		first := mustLoad(t, c.mode, c.given...)
		again, err := config.Load(parseArgs(t, "--config=f"), nil, files{"f": printed(t, first)}.read, c.mode)
		if err != nil {
			t.Errorf("%v: %v\n%s", c.given, err, printed(t, first))
			continue
		}
		withoutSources := func(c config.Config) string {
			var lines []string
			for line := range strings.Lines(printed(t, c)) {
				line, _, _ = strings.Cut(line, "  # ")
				if !strings.HasPrefix(line, "# config:") {
					lines = append(lines, line)
				}
			}
			return strings.Join(append(lines, fmt.Sprint(c.SecondFactorLifetime, c.SecondFactorIdle)), "\n")
		}
		if diff := cmp.Diff(withoutSources(first), withoutSources(again)); diff != "" {
			t.Errorf("%v: %s", c.given, diff)
		}
	}
}

func TestCredentialsAreNeverPrinted(t *testing.T) {
	c := mustLoad(t, config.Serve, "--master-key-file=k",
		"--database=postgres://user:hunter2@db.example.com/name?sslmode=require&password=hunter2&sslpassword=hunter2",
		"--smtp-url=smtps://mailer:hunter2@mail.example.com:465", "--mail-from=a@example.com",
		"--sms-url=https://hunter2:hunter2@sms.example.com/hunter2/send?key=hunter2",
		"--sms-headers=Authorization: Bearer hunter2, X-Key: hunter2", "--sms-body=key=hunter2&to={to}&text={text}")
	if !strings.Contains(c.Database.Reveal(), "hunter2") || !strings.Contains(c.SMTP.Reveal().String(), "hunter2") || !strings.Contains(c.SMS.Reveal().String(), "hunter2") {
		t.Fatal("the credentials are lost")
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("config", "all", c, "db", c.Database, "sms", c.SMS, "headers", c.SMSHeaders, "body", c.SMSBody)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("config", "all", &c, "db", c.Database, "sms", c.SMS, "headers", c.SMSHeaders, "body", c.SMSBody)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"Print": printed(t, c), "log": logged.String(), "json": string(asJSON)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown[verb] = fmt.Sprintf(strings.Repeat(verb, 8), c, &c, c.Database, &c.Database, c.SMTP, &c.SMTP, c.SMS, &c.SMS)
	}
	for what, text := range shown {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%s tells a password: %s", what, text)
		}
	}
	out := printed(t, c)
	for _, want := range []string{
		`database: "postgres://user:xxxxx@db.example.com/name?password=xxxxx&sslmode=require&sslpassword=xxxxx"  # flag --database; masked here`,
		`smtp-url: "smtps://mailer:xxxxx@mail.example.com:465"  # flag --smtp-url; masked here`,
		`sms-url: https://sms.example.com/xxxxx  # flag --sms-url; masked here`,
		`sms-headers: "Authorization: xxxxx, X-Key: xxxxx"  # flag --sms-headers; masked here`,
		`sms-body: xxxxx  # flag --sms-body; masked here`,
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

func TestProblemsNeverTellAPassword(t *testing.T) {
	for _, given := range []string{
		"--database=postgres://u:hunter2/x@h/d", "--database=postgres://u:hunter2#x@h/d", "--database=postgres://u:hunter2@/d", "--database=mysql://u:hunter2@h/d",
		"--database=postgres://u:hunter2%zz@h/d", "--database=postgres://h/d?password=hunter2%zz", "--database=postgres://u:hunter2:1@h:1:2/d",
		"--database=postgres://u:12/hunter2@h/d", "--database=postgres://u:12?hunter2@h/d", "--database=postgres://u:1@2/hunter2@h/d",
		"--sms-url=https://u:12/hunter2@h", "--sms-url=https://u:12?hunter2@h", "--smtp-url=smtp://u:12/hunter2@h", "--smtp-url=smtp://u:12?hunter2@h",
		"--smtp-url=smtp://u:hunter2/x@h", "--smtp-url=smtp://u:hunter2@h/x", "--smtp-url=u:hunter2@h", "--smtp-url=smtp://u:hunter2@h",
		"--sms-url=https://u:hunter2/x@h", "--sms-url=https://h/?k=hunter2#x", "--public-url=https://u:hunter2@h", "--public-url=https://u:hunter2/x@h",
		"PROPUSK_DATABSE=postgres://u:hunter2@h/d", "--sms-headers=A: b, hunter2", "--sms-headers=hunter2", "--sms-headers=A: b, hunter2:",
	} {
		for _, mode := range []config.Mode{config.Serve, config.Dev} {
			if _, err := load(t, mode, given); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", given, err)
			}
		}
	}
	for _, given := range []string{"--database=postgres://u:hunter2@h/d", "--database=postgres://h/d?password=hunter2"} {
		if _, err := load(t, config.Dev, given); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", given, err)
		}
	}
	for _, text := range []string{"database: *hunter2", "database: postgres://u:hunter2@h: x", "smtp-url: @hunter2", "smtp-url: %hunter2", "smtp-url: 'hunter2", "sms-url: !hunter2 {"} {
		_, err := config.Load(config.Flags{}, []string{"PROPUSK_CONFIG=f"}, files{"f": text}.read, config.Serve)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("file %q: %v", text, err)
		}
	}
}
