package apptest_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The picture of docs/ARCHITECTURE.md, as a check. A room is a folder of
// internal, or cmd, bench, deploy or faults, with all below it.
func TestOnlyDrawnArrowsExist(t *testing.T) {
	drawn := map[string][]string{
		"cmd":     {"cli"},
		"cli":     {"server", "web", "api", "dev", "oidc", "account", "event", "outbox", "db", "config", "secret"}, // puts all together
		"server":  {"web", "api", "dev", "oidc", "account", "event", "outbox", "db"},
		"dev":     {"account", "outbox"},
		"web":     {"oidc", "account", "event"},
		"api":     {"oidc", "account", "event"},
		"oidc":    {"account", "event", "outbox", "db", "secret"},
		"account": {"event", "outbox", "db", "secret"},
		"event":   {"outbox", "db", "secret"},
		"outbox":  {"db", "secret"},
		"config":  {"secret"},
		"db":      nil, // as general as a library, and to be read without the rest
		"secret":  nil, // the same
		"apptest": {"cli", "server", "web", "api", "dev", "oidc", "account", "event", "outbox", "db", "config", "secret"},
		"bench":   {"secret"},  // sees the program from outside, as the peers, and makes the pool's own hash beside it
		"deploy":  {"apptest"}, // only tests: of what is shipped beside the program
		"faults":  {"apptest"},
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "propusk/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(list)) {
		paths := strings.Fields(line)
		from := room(paths[0])
		may, known := drawn[from]
		if !known {
			t.Errorf("%s is in no room of the picture", paths[0])
		}
		for _, path := range paths[1:] {
			if to := room(path); to != "" && to != from && !slices.Contains(may, to) {
				t.Errorf("%s imports %s: no arrow leads from %s to %s", paths[0], path, from, to)
			}
		}
	}
	if len(list) == 0 {
		t.Error("go list found no package")
	}
}

// room gives the room of one of our packages, and nothing for another's.
func room(path string) string {
	inside, ours := strings.CutPrefix(path, "propusk/")
	name, _, _ := strings.Cut(strings.TrimPrefix(inside, "internal/"), "/")
	if !ours {
		return ""
	}
	return name
}
