// Whole-program scripts: testdata/*.txtar, run against this very program, and
// what is easier told in Go: crash_test.go, passkeys_test.go, seed_test.go.
package main

import (
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"propusk/internal/apptest/browser"
)

// TestMain makes the test binary the program where it is called "propusk": so
// nothing is built twice, and the race detector watches the program too.
func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" { // or else the race detector holds up the end of every process by a second
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // its only error is a bad name
	}
	testscript.Main(tests{m}, map[string]func(){"propusk": main})
}

// tests are those of the package; behind them the browser ends.
type tests struct{ m *testing.M }

func (t tests) Run() int { return browser.Run(t.m) }

// TestScripts tells, in the words of a shell, what operators and clients see.
// scripts_test.go says which words there are besides testscript's own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(10 * time.Minute),
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars,
				// Any free port, wherever a script leaves the address open.
				"PROPUSK_LISTEN=127.0.0.1:0", "PROPUSK_OPS_LISTEN=127.0.0.1:0",
				"PASSWORD=velvet-Anchor-71-quartz", "GORACE="+os.Getenv("GORACE"))
			e.Values[worldKey{}] = newWorld(e)
			return nil
		},
		Cmds: words,
	})
}
