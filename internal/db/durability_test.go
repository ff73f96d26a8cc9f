package db_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A power cut takes what was written and not synchronised. These tests look at
// the system calls of a process that commits: what it has told of is what was
// synchronised before.

// traced runs the child "writers" on a fresh database under strace, and gives
// what it told and what it called.
func traced(t *testing.T, env map[string]string) (map[string][]string, []call) {
	t.Helper()
	url := fileURL(t)
	createThings(t, open(t, url))
	trace := filepath.Join(t.TempDir(), "trace")
	out := strace(t, url, env, "-o", trace, "-s", "8192", "-e", "trace=pwrite64,write,fsync,fdatasync")
	return told(t, out), calls(t, trace)
}

// strace gives the standard output of the child "writers", run under strace.
func strace(t *testing.T, url string, env map[string]string, options ...string) string {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing, which shows whether commits are synchronised: " +
			"\"make test\" installs it, or install Debian's package strace")
	}
	wrapper := append([]string{"strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", "signal=none"}, options...)
	all := map[string]string{"URL": url}
	for k, v := range env {
		all[k] = v
	}
	out, err := child(t, "writers", all, wrapper...).Output()
	if err != nil {
		t.Fatalf("strace of a child (is ptrace allowed here?): %v", err)
	}
	return string(out)
}

// call is one system call on one file. begun and ended count the lines of the
// trace: of two calls, the one that had ended before the other began came first.
type call struct {
	name, path, data string
	begun, ended     int
}

func (c call) syncs() bool { return c.name == "fsync" || c.name == "fdatasync" }
func (c call) wal() bool   { return strings.HasSuffix(c.path, "-wal") }

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>`)
)

func calls(t *testing.T, trace string) []call {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	var out []call
	unfinished := map[string]int{} // by thread, the place in out
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := resumedLine.FindStringSubmatch(line); m != nil {
			if i, ok := unfinished[m[1]]; ok {
				out[i].ended = n
				delete(unfinished, m[1])
			}
			continue
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		out = append(out, call{name: m[2], path: m[3], data: m[4], begun: n, ended: n})
		if strings.HasSuffix(line, "<unfinished ...>") {
			unfinished[m[1]] = len(out) - 1
			out[len(out)-1].ended = n + 1<<30 // unless it is resumed
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func walSyncs(calls []call) (n int) {
	for _, c := range calls {
		if c.wal() && c.syncs() {
			n++
		}
	}
	return n
}

var rowName = regexp.MustCompile(`row-\d+-\d+;`)

// unsynced gives what is wrong with acknowledgements: between the write that
// brought a row into the log and its acknowledgement, a sync of the log must
// have begun and ended. Of a lone writer, nothing may be written after it.
func unsynced(calls []call, lone bool) (wrong []string) {
	written, synced := map[string]int{}, map[string]int{} // by row, when that had ended
	lastWrite, lastSync := 0, 0
	for _, c := range calls {
		switch {
		case c.wal() && c.name == "pwrite64":
			lastWrite = c.ended
			for _, row := range rowName.FindAllString(c.data, -1) {
				if written[row] == 0 {
					written[row] = c.ended
				}
			}
		case c.wal() && c.syncs():
			lastSync = c.begun
			for row, at := range written {
				if synced[row] == 0 && at < c.begun {
					synced[row] = c.ended
				}
			}
		case c.name == "write" && strings.HasPrefix(c.data, `, "ack `):
			switch row := rowName.FindString(c.data); {
			case written[row] == 0 || c.begun < written[row]:
				wrong = append(wrong, row+" was acknowledged before it was written")
			case synced[row] == 0 || c.begun < synced[row]:
				wrong = append(wrong, row+" was acknowledged before it was synchronised")
			case lone && lastWrite > lastSync:
				wrong = append(wrong, row+" was acknowledged with a part of the log not synchronised")
			}
		}
	}
	return wrong
}

func TestEveryCommitIsSynchronisedBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	const transactions = 200
	told, calls := traced(t, map[string]string{"WRITERS": "1", "EACH": fmt.Sprint(transactions)})
	if n := len(told["ack"]); n != transactions {
		t.Fatalf("%d of %d transactions were acknowledged", n, transactions)
	}
	if n := walSyncs(calls); n < transactions {
		t.Errorf("%d commits, one after the other, made %d syncs", transactions, n)
	}
	for _, wrong := range unsynced(calls, true) {
		t.Error(wrong)
	}
}

func TestConcurrentCommitsShareTheirSyncsAndNoneGoesWithout(t *testing.T) {
	t.Parallel()
	const writers, each = 64, 10
	told, calls := traced(t, map[string]string{"WRITERS": fmt.Sprint(writers), "EACH": fmt.Sprint(each)})
	if n := len(told["ack"]); n != writers*each {
		t.Fatalf("%d of %d transactions were acknowledged", n, writers*each)
	}
	n := walSyncs(calls)
	t.Logf("%d transactions of %d writers shared %d syncs", writers*each, writers, n)
	if n == 0 || n > writers*each/4 {
		t.Errorf("%d transactions of %d writers made %d syncs", writers*each, writers, n)
	}
	for _, wrong := range unsynced(calls, false) {
		t.Error(wrong)
	}
}

// The tests above must fail where the setting is the one that loses commits.
func TestUnsynchronisedCommitsAreFoundOut(t *testing.T) {
	t.Parallel()
	const transactions = 200
	told, calls := traced(t, map[string]string{
		"WRITERS": "1", "EACH": fmt.Sprint(transactions), "ON_WRITER": "PRAGMA synchronous = NORMAL",
	})
	if n := len(told["ack"]); n != transactions {
		t.Fatalf("%d of %d transactions were acknowledged", n, transactions)
	}
	if n := walSyncs(calls); n > transactions/10 {
		t.Errorf("synchronous=NORMAL makes %d syncs for %d commits: their number shows nothing", n, transactions)
	}
	if found := len(unsynced(calls, true)); found < transactions*9/10 {
		t.Errorf("%d of %d unsynchronised commits were found out", found, transactions)
	}
}

// What is relaxed waits for no sync, and whatever is not waits for all that came
// before it: also for what was relaxed.
func TestRelaxedCommitsWaitForNoSyncAndNobodyElseGoesWithout(t *testing.T) {
	t.Parallel()
	for _, writers := range []int{1, 16} {
		each := 240 / writers &^ 1
		told, calls := traced(t, map[string]string{"WRITERS": fmt.Sprint(writers), "EACH": fmt.Sprint(each), "RELAXED": "second"})
		if n := len(told["ack"]); n != writers*each/2 {
			t.Fatalf("%d of %d transactions were acknowledged", n, writers*each/2)
		}
		n := walSyncs(calls)
		t.Logf("%d transactions of %d writers, half of them relaxed, made %d syncs", writers*each, writers, n)
		if most := writers * each / 2 * 11 / 10; n == 0 || n > most {
			t.Errorf("%d syncs for %d transactions that were not relaxed", n, writers*each/2)
		}
		for _, wrong := range unsynced(calls, writers == 1) {
			t.Error(wrong)
		}
	}
}

func TestRelaxedCommitsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 50
	url := fileURL(t)
	d := open(t, url)
	createThings(t, d)
	trace := filepath.Join(t.TempDir(), "trace")
	out := strace(t, url, map[string]string{"WRITERS": fmt.Sprint(writers), "EACH": fmt.Sprint(each), "RELAXED": "all"},
		"-o", trace, "-e", "trace=fsync,fdatasync")
	if n := len(told(t, out)["relaxed"]); n != writers*each {
		t.Fatalf("%d of %d transactions were acknowledged", n, writers*each)
	}
	if n := walSyncs(calls(t, trace)); n > 1 { // the log is new
		t.Errorf("%d transactions, all of them relaxed, made %d syncs", writers*each, n)
	}
	if n := count(t, d); n != writers*each {
		t.Errorf("%d of %d are left", n, writers*each)
	}
}
