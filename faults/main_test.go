//go:build faults

// Package faults_test is `make faults`: the program, built as a release is, under
// the faults F5, F7 and F15 to F17 and the promises P2 and P7 that are about
// them. It sees the program from outside, over loopback, prints figures, and
// fails where one misses what is promised. Each part runs alone with -run.
//
// FAULTS_SECONDS shortens floods and outages (60 and 30 s), for those who work
// on the program or on this; figures for others come without it.
package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test.
var binary string

// role, in the environment, makes this program play a part in a process of its
// own: an attacker's work must not stand between an answer and the clock that
// times it. The part gets its orders on standard input and writes a report.
const role = "FAULTS_ROLE"

// attackersNice is how far attackers stand back on the machine that they share
// with the program, in front of those who hash. They have machines of their own:
// what they take of this one must not look like what the program takes for them.
const attackersNice = "10"

var roles = map[string]func(orders []byte) (report any, err error){
	"flooder": playFlooder,
	"loris":   playLoris,
}

func TestMain(m *testing.M) {
	if play := roles[os.Getenv(role)]; play != nil {
		if err := perform(play); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "propusk-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what stays is in the temporary directory
	binary = filepath.Join(dir, "propusk")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "propusk/cmd/propusk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func perform(play func([]byte) (any, error)) error {
	var orders json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&orders); err != nil {
		return err
	}
	report, err := play(orders)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// cast starts a part. The function that it gives waits for the report.
func cast(ctx context.Context, t *testing.T, part string, orders any, atMost time.Duration) (pid int, report func(into any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, atMost)
	cmd := exec.CommandContext(ctx, "nice", "-n", attackersNice, os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+part)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	if err := json.NewEncoder(in).Encode(orders); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, func(into any) {
		t.Helper()
		if err := json.NewDecoder(out).Decode(into); err != nil {
			t.Errorf("%s: no report: %v", part, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// lasting is how long a flood or an outage lasts.
func lasting(t *testing.T, normal time.Duration) time.Duration {
	text := os.Getenv("FAULTS_SECONDS")
	if text == "" {
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("FAULTS_SECONDS=%s is not a number of seconds", text)
	}
	return min(normal, time.Duration(n)*time.Second)
}
