package apptest_test

import (
	"flag"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tests into the table of docs/security.md")

const securityPage = "../../docs/security.md"

var (
	securityRow = regexp.MustCompile(`(?m)^\| *([SV]-?\d+) *\| *([^|]+?) *\|([^|]*)\|$`)
	securityID  = regexp.MustCompile(`\b(?:S-\d+|V\d+)\b`)
	testFunc    = regexp.MustCompile(`^func ((?:Test|Fuzz)\w+)\(`)
	testName    = regexp.MustCompile("`([^`]+)`")
)

// The table of promises, so that it cannot rot: every promise has a test that
// names it in a comment, and every test that the table names is one of those.
func TestEveryPromiseHasATest(t *testing.T) {
	page, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfPromises(t)
	rows := securityRow.FindAllStringSubmatch(string(page), -1)
	if len(rows) == 0 {
		t.Fatal("docs/security.md has no table")
	}
	for _, row := range rows {
		id, cell := row[1], row[3]
		if len(tests[id]) == 0 {
			t.Errorf("%s is promised, and no test names it in a comment", id)
		}
		if *update {
			continue
		}
		for _, name := range testName.FindAllStringSubmatch(cell, -1) {
			if !tests[id][name[1]] {
				t.Errorf("%s: %s is not there, or does not name the id", id, name[1])
			}
		}
		if !testName.MatchString(cell) {
			t.Errorf("%s: the table names no test", id)
		}
	}
	if t.Failed() && !*update {
		t.Log("go test ./internal/apptest -run EveryPromise -update writes the tests into the table")
	}
	if !*update || t.Failed() {
		return
	}
	written := securityRow.ReplaceAllStringFunc(string(page), func(line string) string {
		row := securityRow.FindStringSubmatch(line)
		names := slices.Sorted(maps.Keys(tests[row[1]]))
		return "| " + row[1] + " | " + row[2] + " | `" + strings.Join(names, "`, `") + "` |"
	})
	if err := os.WriteFile(securityPage, []byte(written), 0o644); err != nil { //nolint:gosec // a page for everybody
		t.Fatal(err)
	}
}

// testsOfPromises gives the tests whose comments name an id: functions, and
// scripts by their file names.
func testsOfPromises(t *testing.T) map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]bool{}
	add := func(name string, ids []string) {
		for _, id := range ids {
			if found[id] == nil {
				found[id] = map[string]bool{}
			}
			found[id][name] = true
		}
	}
	repository := os.DirFS("../..")
	err := fs.WalkDir(repository, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "node_modules", "bin", ".cache"}, d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, ".txtar"):
			text, err := fs.ReadFile(repository, path)
			readPromises(d.Name(), string(text), add)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// readPromises tells add of the ids in the comments of one file. A comment
// belongs to the test below it, or to the one around it.
func readPromises(file, text string, add func(name string, ids []string)) {
	if strings.HasSuffix(file, ".txtar") {
		for line := range strings.Lines(text) {
			_, comment, _ := strings.Cut(line, "#")
			add(file, securityID.FindAllString(comment, -1))
		}
		return
	}
	test := ""
	var above []string
	for line := range strings.Lines(text) {
		if m := testFunc.FindStringSubmatch(line); m != nil {
			test = m[1]
		} else if strings.HasPrefix(line, "func ") || strings.HasPrefix(line, "}") {
			test = "" // a helper promises nothing
		}
		_, comment, _ := strings.Cut(line, "//")
		ids := securityID.FindAllString(comment, -1)
		if strings.HasPrefix(line, "//") { // at the margin: of what follows
			above = append(above, ids...)
			continue
		}
		if test != "" {
			add(test, append(above, ids...))
		}
		above = nil
	}
}
