package pgtest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"propusk/internal/apptest/pgtest"
)

// childVariable turns TestServerDiesWithItsProcess into the process that dies.
const childVariable = "PGTEST_CHILD"

func TestServerDiesWithItsProcess(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		fmt.Println(pgtest.URL(t))
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed, or the parent has gone
		return
	}
	t.Parallel()
	tmp := sharedTempDir(t)
	child, url := startChild(t, tmp)
	postmaster := postmasterOf(t, url)
	if dirs := clusters(t, tmp); !alive(postmaster) || len(dirs) != 1 {
		t.Fatalf("before the kill: process %d and directories %q; want one of each", postmaster, dirs)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "the postmaster ends", func() bool { return !alive(postmaster) })
	within(t, 5*time.Second, "its directory is gone", func() bool { return len(clusters(t, tmp)) == 0 })
}

func TestStartSweepsTheDirectoriesOfTheDeadOnly(t *testing.T) {
	t.Parallel()
	tmp := sharedTempDir(t)
	_, url := startChild(t, tmp)
	living := clusters(t, tmp)
	dead := filepath.Join(tmp, "propusk-pgtest-dead")
	if err := os.MkdirAll(filepath.Join(dead, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	startChild(t, tmp)
	if len(living) != 1 {
		t.Fatalf("the first child has directories %q, want one", living)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the directory of a dead process is still there: %v", err)
	}
	if _, err := os.Stat(living[0]); err != nil {
		t.Errorf("the directory of a living process was taken away: %v", err)
	}
	connect(t, url) // the living one's server answers
}

// sharedTempDir is a TMPDIR like /tmp: as root, the server's user must be able
// to reach its own directory in it and to remove it. t.TempDir is closed to others.
func sharedTempDir(t *testing.T) string {
	t.Helper()
	parent := os.TempDir()
	if os.Geteuid() == 0 {
		parent = "/tmp" // root's own may be closed to others as well
	}
	tmp, err := os.MkdirTemp(parent, "pgtest-tmp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the kill in startChild
		within(t, 5*time.Second, "the children's directories are gone", func() bool { return len(clusters(t, tmp)) == 0 })
		if err := os.Remove(tmp); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return tmp
}

func clusters(t *testing.T, tmp string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(tmp, "propusk-pgtest-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// startChild runs this test program as a process of its own that has started a
// server under tmp, and gives a URL on it.
func startChild(t *testing.T, tmp string) (child *exec.Cmd, url string) {
	t.Helper()
	child = exec.Command(os.Args[0], "-test.run=^TestServerDiesWithItsProcess$")
	child.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+tmp, "PROPUSK_TEST_POSTGRES=")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // an error: it was killed
		_ = stdin.Close()
	})
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		rest, _ := io.ReadAll(out)
		t.Fatalf("the child gave no URL, but %q", line+string(rest))
	}
	return child, strings.TrimSpace(line)
}

func postmasterOf(t *testing.T, url string) int {
	t.Helper()
	var file string
	if err := connect(t, url).QueryRow(t.Context(), `SELECT pg_read_file('postmaster.pid')`).Scan(&file); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(file, "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }
