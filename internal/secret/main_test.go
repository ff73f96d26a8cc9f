package secret_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"propusk/internal/secret"
)

// TestMain makes the test binary what the program is to its hashing pool: it can
// be started as the child process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == secret.WorkerArg {
		if err := secret.ServeHashes(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == orphan {
		haveAChild()
	}
	goleak.VerifyTestMain(m)
}
