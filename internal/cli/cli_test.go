package cli_test

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"propusk/internal/cli"
	"propusk/internal/config"
)

// propusk runs the program as a shell would; cmd/propusk/testdata has the
// scripts that need a whole process.
func propusk(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = cli.Main(context.Background(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	return code, out.String(), err.String()
}

var commandLine = regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)*) {4,}\S`)

// commands walks the help from the top, as a reader would.
func commands(t *testing.T, path ...string) (all [][]string) {
	t.Helper()
	all = append(all, path)
	_, help, _ := propusk(t, append(path, "--help")...)
	_, list, ok := strings.Cut(help, "Commands:\n")
	if !ok {
		return all
	}
	for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
		all = append(all, commands(t, strings.Fields(m[1])...)...)
	}
	return all
}

// Every command can be found from the top, and explains itself in the same way.
func TestEveryCommandExplainsItself(t *testing.T) {
	all := commands(t)
	if len(all) < 18 {
		t.Fatalf("only %d commands were found: %v", len(all), all)
	}
	for _, path := range all {
		t.Run(strings.Join(path, "_"), func(t *testing.T) {
			code, help, stderr := propusk(t, append(path, "--help")...)
			usage := "Usage: " + strings.Join(append([]string{"propusk"}, path...), " ")
			if code != 0 || stderr != "" || !strings.HasPrefix(help, usage) || !strings.Contains(help, "Show this help.") {
				t.Errorf("code %d, stderr %q:\n%s", code, stderr, help)
			}
			for line := range strings.Lines(help) {
				if utf8.RuneCountInString(line) > 101 {
					t.Errorf("a line too long for a terminal: %s", line)
				}
			}
			if again, same, _ := propusk(t, append([]string{"help"}, path...)...); again != 0 || same != help {
				t.Errorf("propusk help %s says something else", strings.Join(path, " "))
			}
		})
	}
}

// The help of serve has every setting and its default, and that of dev its own.
func TestHelpHasEverySetting(t *testing.T) {
	for command, def := range map[string]func(config.Row) string{
		"serve": func(r config.Row) string { return r.Default },
		"dev":   func(r config.Row) string { return r.DevDefault },
	} {
		_, help, _ := propusk(t, command, "--help")
		help = strings.Join(strings.Fields(help), " ") // lines are wrapped anywhere
		for _, row := range config.Table() {
			want := row.Help
			if d := def(row); d != "" {
				want += " Default: " + d + "."
			}
			if !strings.Contains(help, "--"+row.Name+"="+row.Placeholder+" "+want) {
				t.Errorf("%s: --%s: no %q", command, row.Name, want)
			}
		}
	}
}

// A tool takes every setting, so that one file and one environment fit all, and
// complains of all that are wrong.
func TestToolsTakeEverySetting(t *testing.T) {
	code, stdout, stderr := propusk(t, "user", "list", "--tls-cert=a", "--log-level=loud", "--argon2=weak", "--listen=nowhere")
	if code != 2 || stdout != "" {
		t.Errorf("code %d, stdout %q", code, stdout)
	}
	for _, want := range []string{"  tls-key (default): ", "  log-level (flag --log-level): ", "  argon2 (flag --argon2): ", "  listen (flag --listen): "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in:\n%s", want, stderr)
		}
	}
}
