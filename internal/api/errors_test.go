package api_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"propusk/internal/account"
	"propusk/internal/api"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// statusOf is the status that a code comes with; what is not here comes only as
// the code of a field.
var statusOf = map[account.Code]string{
	"not_found": "404", "method_not_allowed": "405", "invalid_json": "400", "wrong_type": "400", "unknown_field": "400", "duplicate_field": "400", "body_too_complex": "400",
	"unsupported_media_type": "415", "body_too_large": "413", "body_incomplete": "400", "header_invalid": "400", "cross_origin": "403",
	"internal_error": "500", "unavailable": "503",
	"invalid_fields": "422", "email_taken": "409", "username_taken": "409", "contact_number_taken": "409", "already_taken": "409",
	"idempotency_key_reused": "422", "invalid_credentials": "401", "token_required": "401", "token_invalid": "401", "reauthentication_required": "403",
	"wrong_password": "403", "registration_closed": "403", "user_not_found": "404", "session_not_found": "404", "precondition_failed": "412",
	"too_many_attempts": "429", "overloaded": "503", "form_invalid": "400", "role_missing": "403", "scope_missing": "403", "key_invalid": "401",
}

// Every code has words in both languages, with the same placeholders, and stands
// in docs/errors.md; and every code that the source declares is in the list.
func TestEveryCodeHasWordsAndIsDocumented(t *testing.T) {
	t.Parallel()
	all := api.AllCodes()
	placeholder := regexp.MustCompile(`\{\w+\}`)
	for code, words := range all {
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(string(code)) {
			t.Errorf("%s is no good name", code)
		}
		if words.EN == "" || words.RU == "" || strings.ContainsFunc(words.EN, cyrillic) || !strings.ContainsFunc(words.RU, cyrillic) ||
			!strings.HasSuffix(words.EN, ".") || !strings.HasSuffix(words.RU, ".") {
			t.Errorf("%s: %q, %q", code, words.EN, words.RU)
		}
		if en, ru := placeholder.FindAllString(words.EN, -1), placeholder.FindAllString(words.RU, -1); fmt.Sprint(en) != fmt.Sprint(ru) {
			t.Errorf("%s: placeholders %v and %v", code, en, ru)
		}
	}
	for code := range statusOf {
		if _, ok := all[code]; !ok {
			t.Errorf("%s has a status, but no words", code)
		}
	}
	declared := regexp.MustCompile(`\b[cC]ode\w+\s+(?:account\.)?Code\s+= "(\w+)"`)
	found := 0
	for _, dir := range []string{".", "../account"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllSubmatch(source, -1) {
				found++
				if _, ok := all[account.Code(m[1])]; !ok {
					t.Errorf("%s declares %s, which has no words", file, m[1])
				}
			}
		}
	}
	if found != len(all) {
		t.Errorf("the source declares %d codes, the lists have %d", found, len(all))
	}
	golden(t, "../../docs/errors.md", errorsPage(all))
}

func cyrillic(r rune) bool { return unicode.Is(unicode.Cyrillic, r) }

// errorsPage is docs/errors.md.
func errorsPage(all map[account.Code]account.Words) string {
	var b strings.Builder
	b.WriteString(`# Error codes

A code is part of the API: it is never renamed and never used for something else. Words may change; new codes may come. A code without a status comes only in ` + "`fields`" + `, beside the name of the field that is at fault. Words in braces are filled in.

<!-- Made by the tests: go test ./internal/api -run TestEveryCodeHasWordsAndIsDocumented -update -->

| code | status | English | Russian |
|---|---|---|---|
`)
	for _, code := range sortedKeys(all) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", code, statusOf[code], all[code].EN, all[code].RU)
	}
	return b.String()
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a page for everyone
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the source says; run the test with -update", path)
	}
}
