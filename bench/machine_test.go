package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	got, err := parseCPU([]byte("12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 9 0 100 1 2\n"))
	if err != nil || got != 3*time.Second {
		t.Errorf("%v, %v; want 3s", got, err)
	}
	for _, bad := range []string{"", "12 (a) S 1", "12 (a) S 1 12 12 0 -1 4194304 100 0 0 0 x 50 7"} {
		if _, err := parseCPU([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestParseBusy(t *testing.T) {
	if got := parseBusy("cpu  100 20 30 999 999 7 7 50 5 5\ncpu0 1 1 1\n"); got != 2*time.Second {
		t.Errorf("%v, want 2s: user, nice, system and steal", got)
	}
	if got := parseBusy("something else"); got != 0 {
		t.Errorf("%v out of nothing", got)
	}
}

func TestParseMemory(t *testing.T) {
	got, err := parseMemory("Name:\tpropusk\nVmHWM:\t   40960 kB\nVmRSS:\t   20480 kB\nRssAnon:\t   10240 kB\nRssFile:\t   10240 kB\n")
	if err != nil || got != (memory{All: 20 << 20, Anon: 10 << 20, File: 10 << 20, Peak: 40 << 20}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "VmRSS:\tmany kB\n"} {
		if _, err := parseMemory(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestChildrenCountWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here, and no figure of it either")
	}
	alone, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	if children := childrenOf(os.Getpid()); !slices.Equal(children, []int{child.Process.Pid}) {
		t.Fatalf("children %v, want %d", children, child.Process.Pid)
	}
	one, err := memoryOfOne(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if both, err := memoryOf(os.Getpid()); err != nil || both.Peak < alone.Peak+one.Peak-one.File {
		t.Errorf("%+v with the child's %+v, %+v without; %v", both, one, alone, err)
	}
}

func TestParseArgon2(t *testing.T) {
	if got, err := parseArgon2("m=19456,t=2,p=1"); err != nil || got != (cost{19456, 2, 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "m=19456", "m=0,t=2,p=1", "m=1,t=1,p=300", "m=1,t=1,p=1,x", "t=2,m=1,p=1"} {
		if c, err := parseArgon2(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-only", "session,start"}, io.Discard)
	if err != nil || len(o.only) != 2 || o.starts >= 10 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parseOptions(nil, io.Discard); err != nil || len(o.only) != len(parts) || o.starts != 10 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{
		{"-only", "sessions"}, {"-rounds", "0"}, {"-round", "-1s"}, {"-database", "mysql://x"}, {"-argon2", "strong"}, {"session"}, {"-nonsense"},
	} {
		if _, err := parseOptions(bad, io.Discard); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestSchemaOfItsOwn(t *testing.T) {
	got, err := inSchema("postgres://u:p@h:5432/d?sslmode=disable", "mine")
	if err != nil || got != "postgres://u:p@h:5432/d?search_path=mine&sslmode=disable" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := inSchema("postgres://u:se%cret@h/d", "mine"); err == nil || strings.Contains(err.Error(), "se%cret") {
		t.Errorf("error %v", err)
	}
}

func TestReportSaysWhatWasMissedAndWhatWasWrong(t *testing.T) {
	missed := false
	r := report{
		Machine: machine{Others: 1},
		Figures: []figure{
			figure{Part: partStart, Name: "first answer", Unit: "ms", Goal: 50}.of([]float64{70, 60, 90}).judged(),
			figure{Part: partMemory, Name: "at rest", Value: 30, Unit: "MiB", Goal: 35}.judged(),
		},
		Comparisons: []comparison{{Part: partSession, Beside: bareServer, Conns: 16, Ratio: sample{.41, .4, .5}, Wrong: 3, Complaint: "answer 401", Goal: .6, Met: &missed}},
	}
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"first answer: 70.0 ms (median of 3, the slowest 90.0); goal: at most 50, MISSED", "at rest: 30.0 MiB", "goal: at most 35, met",
		"0.41", "≥ 0.60 MISSED", "WARNING", "WRONG: session at 16 connections: 3 answers, such as: answer 401",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if r.wrong() != 3 {
		t.Errorf("wrong() = %d", r.wrong())
	}
	out.Reset()
	if err := r.writeJSON(&out); err != nil || !strings.Contains(out.String(), `"median": 0.41`) {
		t.Errorf("%v\n%s", err, &out)
	}
}
