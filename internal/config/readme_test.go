package config_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"propusk/internal/config"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of settings into README.md")

const (
	readmeEN = "../../README.md"
	readmeRU = "../../README.ru.md"
)

func TestReadmeTellsEverySetting(t *testing.T) {
	before, table, after := readmeTable(t, readmeEN)
	want := "\n" + config.MarkdownTable()
	if *update {
		if err := os.WriteFile(readmeEN, []byte(before+want+after), 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("README.md is not current; run go test ./internal/config -run Readme -update\n%s", diff)
	}
}

// The Russian table has words of its own: names and defaults are compared, and
// that there are words at all.
func TestRussianReadmeTellsEverySetting(t *testing.T) {
	_, table, _ := readmeTable(t, readmeRU)
	type row struct{ name, def string }
	rows := func(markdown string) (list []row) {
		for line := range strings.Lines(markdown) {
			cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
			if len(cells) != 5 || !strings.Contains(cells[1], "`--") {
				continue
			}
			list = append(list, row{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])})
			if strings.TrimSpace(cells[3]) == "" {
				t.Errorf("README.ru.md says nothing of %s", cells[1])
			}
		}
		return list
	}
	russian := strings.NewReplacer("| none", "| нет", ", in dev none", ", в dev нет", ", in dev ", ", в dev ")
	want := rows(russian.Replace(config.MarkdownTable()))
	if len(want) != len(config.Table()) {
		t.Fatalf("%d rows for %d settings", len(want), len(config.Table()))
	}
	if diff := cmp.Diff(want, rows(table), cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("README.ru.md is not current:\n%s", diff)
	}
}

// Both pages give the rule instead of a column of names.
func TestEnvironmentVariablesFollowTheRuleOfTheReadme(t *testing.T) {
	for _, row := range config.Table() {
		want := "PROPUSK_" + strings.ToUpper(strings.ReplaceAll(row.Name, "-", "_"))
		if row.Env != want {
			t.Errorf("--%s is %s in the environment; by the rule of the README it is %s", row.Name, row.Env, want)
		}
	}
}

func readmeTable(t *testing.T, path string) (before, table, after string) {
	t.Helper()
	const begin, end = "<!-- settings -->", "<!-- /settings -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(b), begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s: no %s … %s", path, begin, end)
	}
	return before + begin, table, end + after
}
