package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// The lines that a stranger copies out of a README work, in their order and in
// both languages: the four calls against the service, and the seed and the first
// steps against a throwaway instance. So do those of its guide.
func TestReadmeLinesWork(t *testing.T) {
	for _, file := range []string{"README.md", "README.ru.md"} {
		for _, c := range []struct {
			name, address, command string
			successes              int
		}{
			{"the four calls", "http://localhost:8001", "serve", 6}, // and one field changed, and logged out
			{"the seed", "http://0.0.0.0:8001", "dev", 4},
			{"a throwaway instance", "http://127.0.0.1:8001", "dev", 3},
		} {
			t.Run(file+"/"+c.name, func(t *testing.T) {
				b, err := os.ReadFile("../../" + file)
				if err != nil {
					t.Fatal(err)
				}
				var script strings.Builder
				for _, m := range shellBlock.FindAllStringSubmatch(string(b), -1) {
					usesURL := strings.Contains(m[1], "$URL") && c.command == "serve"
					if strings.Contains(m[1], c.address) || usesURL {
						script.WriteString(m[1])
					}
				}
				wantSuccesses(t, c.command, c.address, script.String(), c.successes)
			})
		}
	}
	t.Run("docs/dev.md", func(t *testing.T) {
		b, err := os.ReadFile("../../docs/dev.md")
		if err != nil {
			t.Fatal(err)
		}
		const address = "http://127.0.0.1:8001"
		var script strings.Builder
		for _, m := range shellBlock.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], address) {
				script.WriteString(m[1])
			}
		}
		wantSuccesses(t, "dev", address, script.String(), 8)
	})
}

// wantSuccesses runs a script of calls against a service of its own.
func wantSuccesses(t *testing.T, command, address, script string, want int) {
	t.Helper()
	p := run(t, t.TempDir(), command)
	out, err := exec.Command("bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, address, p.url)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v; the script needs bash and curl\n%s", err, out)
	}
	if n := strings.Count(string(out), `{"status":"success"`); n != want || strings.Contains(string(out), "fail") {
		t.Errorf("%d successes, want %d:\n%s\n%s", n, want, script, out)
	}
}
