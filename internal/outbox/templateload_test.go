package outbox_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"propusk/internal/outbox"
)

// override is a folder with these files.
func override(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What is built in is also an example of a folder: so no file of it goes unread.
func TestBuiltInTemplatesAreAFolderOfTemplates(t *testing.T) {
	ts, err := outbox.LoadTemplates("templates", service, publicURL)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := renderMail(t, ts, outbox.Mail, outbox.Recover, "ru", mailData()), renderMail(t, builtInTemplates(t), outbox.Mail, outbox.Recover, "ru", mailData()); a != b {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestFilesOfAFolderReplaceSingleTemplates(t *testing.T) {
	dir := override(t, map[string]string{
		"en/recover.txt":        "\uFEFFSubject: Again\r\n\r\n# Once more\r\n\r\nFor {username}.\r\n\r\n@code\r\n\r\n@button Go\r\n",
		"ru/footer.txt":         "С уважением, {service}. Ваше имя: {username}.",
		"en/sms/login_code.txt": "{code} ({minutes: minute | minutes})",
		"layout.html.tmpl": `<!-- ours --><h1>{{.Heading}}</h1>{{.Service}}{{range .Blocks}}<p>{{.Paragraph}}{{.Note}}{{.Code}}</p>{{if .Label}}<a href="{{.Link}}">{{.Label}}</a>{{end}}` +
			`{{range .Rows}}<i>{{.Label}} {{.Value}}</i>{{end}}{{end}}<!--[if mso]><b><![endif]-->{{.Footer}}`,
		"..data/x":             "of a mounted volume",
		"en/.recover.txt.swp":  "of an editor",
		"ru/sms/.gitkeep":      "",
		"en/sms/.login_code~1": "",
	})
	ts, err := outbox.LoadTemplates(dir, service, publicURL)
	if err != nil {
		t.Fatal(err)
	}
	want := "Once more\n\nFor ivan_petrov.\n\n    481902\n\nGo:\n" + mailLink + "\n\nThis message was sent automatically by propusk.example. Replies to it\nare not read.\n"
	c := renderMail(t, ts, outbox.Mail, outbox.Recover, "en", mailData())
	if c.Subject != "Again" || c.Text != want || !strings.HasPrefix(c.HTML, "<!-- ours --><h1>Once more</h1>") || !strings.Contains(c.HTML, "<!--[if mso]><b><![endif]-->") {
		t.Errorf("%q\n%s\n%s", c.Subject, c.Text, c.HTML)
	}
	if c := renderMail(t, ts, outbox.SMS, outbox.LoginCode, "en", mailData()); c.Text != "481902 (15 minutes)" {
		t.Errorf("%q", c.Text)
	}
	if c := renderMail(t, ts, outbox.Mail, outbox.Recover, "ru", mailData()); c.Subject != "Восстановление доступа" || !strings.HasSuffix(c.Text, "\nС уважением, propusk.example. Ваше имя: ivan_petrov.\n") {
		t.Errorf("%+v", c)
	}
}

func TestFaultsOfAFolderAreToldWithTheirPlaces(t *testing.T) {
	const head = "Subject: S\n\n# H\n\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no head":             {map[string]string{"en/recover.txt": "Hello"}, []string{`en/recover.txt:1: must begin with "Subject: …", an empty line, "# Heading", an empty line and words`}},
		"empty":               {map[string]string{"en/recover.txt": ""}, []string{`en/recover.txt:1: must begin with`}},
		"no heading":          {map[string]string{"en/recovered.txt": "Subject: S\n\nH\n\n{username}"}, []string{`en/recovered.txt:3: must be one line, "# Heading"`}},
		"second heading":      {map[string]string{"en/recovered.txt": head + "{username}\n\n# H"}, []string{`en/recovered.txt:7: is a second heading`}},
		"unknown place":       {map[string]string{"en/recovered.txt": head + "Hello\n{user}"}, []string{`en/recovered.txt:6: {user} is not one of {device}, {ip}, {service}, {time}, {username}, which can stand here`}},
		"place of other mail": {map[string]string{"en/recovered.txt": head + "{username} {code}"}, []string{`en/recovered.txt:5: {code} is not one of`}},
		"link in words":       {map[string]string{"en/recover.txt": head + "{username} {link}\n\n@code\n\n@button B"}, []string{`en/recover.txt:5: {link} is not one of`}},
		"user in subject":     {map[string]string{"en/recovered.txt": "Subject: For {username}\n\n# H\n\n{username}"}, []string{`en/recovered.txt:1: {username} is not one of {service}, which can stand here`}},
		"user in heading":     {map[string]string{"en/recovered.txt": "Subject: S\n\n# {username}\n\n{username}"}, []string{`en/recovered.txt:3: {username} is not one of {service}`}},
		"open brace":          {map[string]string{"en/recovered.txt": head + "{username} {ip"}, []string{`en/recovered.txt:5: has a { without a }`}},
		"closed brace":        {map[string]string{"en/recovered.txt": head + "{username} ip}"}, []string{`en/recovered.txt:5: has a } without a {`}},
		"forms": {map[string]string{"ru/sms/login_code.txt": "{code} {minutes: минута | минуты}", "en/sms/login_code.txt": "{code}\n{minutes: minute | }"},
			[]string{`en/sms/login_code.txt:2: {minutes: …} must have 2 forms of the noun, with | between them`, `ru/sms/login_code.txt:1: {minutes: …} must have 3 forms`}},
		"forms of a text":    {map[string]string{"en/recovered.txt": head + "{username: a | b}"}, []string{`en/recovered.txt:5: {username} is a text and has no forms`}},
		"factors":            {map[string]string{"en/factor_added.txt": head + "{username} {factor: totp=app | passkey=key}"}, []string{`en/factor_added.txt:5: {factor: …} must have words for each of totp, passkey, recovery_codes, and for nothing else`}},
		"bare factor":        {map[string]string{"en/factor_added.txt": head + "{username} {factor}"}, []string{`en/factor_added.txt:5: {factor: …} must have words for each of totp, passkey, recovery_codes, and for nothing else`}},
		"unknown factor":     {map[string]string{"en/factor_added.txt": head + "{username} {factor: totp=a | passkey=b | recovery_codes=c | sms=d}"}, []string{`en/factor_added.txt:5: {factor: …} must have words for each of totp, passkey, recovery_codes, and for nothing else`}},
		"unknown block":      {map[string]string{"en/recovered.txt": head + "{username}\n\n@image a.png"}, []string{`en/recovered.txt:7: @image is not one of @button, @code, @details, @note`}},
		"no code":            {map[string]string{"en/recover.txt": head + "{username}\n\n@button B"}, []string{`en/recover.txt: has no @code`}},
		"no code in SMS":     {map[string]string{"en/sms/login_code.txt": "Hello"}, []string{`en/sms/login_code.txt: does not say {code}`}},
		"no button":          {map[string]string{"en/recover.txt": head + "{username}\n\n@code"}, []string{`en/recover.txt: has no @button`}},
		"button for nothing": {map[string]string{"en/recovered.txt": head + "{username}\n\n@button B"}, []string{`en/recovered.txt: has a @button, but there is no link for it`}},
		"code for nothing":   {map[string]string{"en/recovered.txt": head + "{username}\n\n@code"}, []string{`en/recovered.txt: has @code, but there is no code`}},
		"code with words":    {map[string]string{"en/recover.txt": head + "{username}\n\n@code 123\n\n@button B"}, []string{`en/recover.txt:7: @code stands alone`}},
		"mute button":        {map[string]string{"en/recover.txt": head + "{username}\n\n@code\n\n@button"}, []string{`en/recover.txt:9: @button must be followed by what it says`}},
		"no details":         {map[string]string{"en/recovered.txt": head + "{username}\n\n@details"}, []string{`en/recovered.txt:7: @details stands alone on its line`}},
		"row without label":  {map[string]string{"en/recovered.txt": head + "{username}\n\n@details\n{ip}"}, []string{`en/recovered.txt:8: must be "Label: {value}"`}},
		"nobody":             {map[string]string{"en/recovered.txt": head + "Hello"}, []string{`en/recovered.txt: does not say {username}, nor does the footer`}},
		"long footer":        {map[string]string{"ru/footer.txt": "a\n\nb"}, []string{`ru/footer.txt: must be one paragraph, not 2`}},
		"not UTF-8":          {map[string]string{"ru/recover.txt": head + "\xcf\xf0\xe8\xe2\xe5\xf2"}, []string{`ru/recover.txt:5: is not UTF-8`}},
		"control":            {map[string]string{"ru/recover.txt": "Subject: \x1b[31m"}, []string{`ru/recover.txt:1: has a control character`}},
		"large":              {map[string]string{"ru/recover.txt": strings.Repeat("a", 300<<10)}, []string{`ru/recover.txt: is larger than 256 KiB`}},
		"strange names": {map[string]string{"recover.txt": "", "en/recovr.txt": "", "de/recover.txt": "", "en/sms/register.txt": "", "layout.html": ""},
			[]string{"recover.txt: is the name of no template", "en/recovr.txt: is the name of no template", "de: is the name of no template", "en/sms/register.txt: is the name of no template", "layout.html: is the name of no template"}},
		"layout: empty":        {map[string]string{"layout.html.tmpl": ""}, []string{`layout.html.tmpl: is empty`}},
		"layout: syntax":       {map[string]string{"layout.html.tmpl": "<p>\n{{if .Code}}"}, []string{`layout.html.tmpl:2: unexpected EOF`}},
		"layout: function":     {map[string]string{"layout.html.tmpl": "<p>\n{{exec .Code}}"}, []string{`layout.html.tmpl:2: function "exec" not defined`}},
		"layout: field":        {map[string]string{"layout.html.tmpl": "<!-- a\nb -->\n<p>\n{{.Password}}"}, []string{`layout.html.tmpl:4:2: executing`}},
		"layout: context":      {map[string]string{"layout.html.tmpl": "<p>\n{{.Heading}}<a href='"}, []string{`layout.html.tmpl`}},
		"layout: comment":      {map[string]string{"layout.html.tmpl": "<p>\n<!-- {{.Code}} -->"}, []string{`layout.html.tmpl:2: a comment cannot hold {{ or a backquote`}},
		"layout: shows little": {map[string]string{"layout.html.tmpl": "{{.Service}} {{.Heading}} {{.Footer}}{{range .Blocks}}{{.Paragraph}}{{.Note}}{{.Label}} {{.Link}}{{range .Rows}}{{.Label}} {{.Value}}{{end}}{{end}}"}, []string{`layout.html.tmpl: does not show .Code`, `layout.html.tmpl: does not show .Link as an href`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := override(t, test.files)
			ts, err := outbox.LoadTemplates(dir, service, publicURL)
			if err == nil || ts != nil {
				t.Fatal("it was taken")
			}
			text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
			for _, want := range test.want {
				if !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, want) }) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if n := len(strings.Split(text, "\n")); n > len(test.want)+2 {
				t.Errorf("one fault, %d lines:\n%s", n, text)
			}
		})
	}
}

func TestFolderOfTemplatesMustBeThere(t *testing.T) {
	file := filepath.Join(override(t, map[string]string{"file": "x"}), "file")
	for _, dir := range []string{filepath.Join(t.TempDir(), "nowhere"), file} {
		if _, err := outbox.LoadTemplates(dir, service, publicURL); err == nil || !strings.HasPrefix(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestManualTellsTheTruthAboutTemplates(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Mails: words and looks\n")
	_, example, _ := strings.Cut(section, "\n```\n")
	example, table, _ := strings.Cut(example, "\n```\n")
	if _, err := outbox.LoadTemplates(override(t, map[string]string{"en/recover.txt": example}), service, publicURL); err != nil {
		t.Errorf("the example: %v", err)
	}
	for _, kind := range slices.Concat(mailKinds, smsKinds) {
		if !strings.Contains(table, "`"+string(kind)+"`") {
			t.Errorf("nothing is said of %s", kind)
		}
	}
}
