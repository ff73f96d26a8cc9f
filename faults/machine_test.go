//go:build faults

package faults_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processTree is a process and all below it.
func processTree(root int) []int {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	for _, name := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		fields := statOf(pid)
		if err != nil || len(fields) < 2 {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		for pid, parent := range parents {
			if parent == tree[i] {
				tree = append(tree, pid)
			}
		}
	}
	return tree
}

// statOf is /proc/PID/stat from the state on; nil where there is no such
// process, or it has ended and nobody has asked how.
func statOf(pid int) []string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return nil
	}
	return fields
}

func startTime(pid int) int {
	fields := statOf(pid)
	if fields == nil {
		return 0
	}
	n, _ := strconv.Atoi(fields[19])
	return n
}

// cpuOf is the CPU time that processes have used.
func cpuOf(pids ...int) (sum time.Duration) {
	const tick = 10 * time.Millisecond // the same on every Linux (USER_HZ)
	for _, pid := range pids {
		if fields := statOf(pid); fields != nil {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			sum += time.Duration(user+system) * tick
		}
	}
	return sum
}

// busyCPU is what all programs of the machine have used, and other machines
// beside it have taken ("steal").
func busyCPU() (sum time.Duration) {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	for _, i := range []int{1, 2, 3, 8} {
		if i < len(fields) {
			n, _ := strconv.Atoi(fields[i])
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// memoryOf is what of a process tree is in memory, added up.
func memoryOf(root int) (rss int64) {
	for _, pid := range processTree(root) {
		statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // it may have ended
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			rss += pages * int64(os.Getpagesize())
		}
	}
	return rss
}

// sharedOnce is the same with what the processes share counted once. It takes the
// system some milliseconds.
func sharedOnce(root int) (pss int64) {
	for _, pid := range processTree(root) {
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)) // it may have ended
		for line := range strings.Lines(string(rollup)) {
			if value, found := strings.CutPrefix(line, "Pss:"); found {
				n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
				pss += n << 10
			}
		}
	}
	return pss
}

// readBy is what a process has read from files and connections.
func readBy(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "rchar: "); found {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// watch follows a process tree: its peak of memory, and who used the CPU.
type watch struct {
	root       int
	others     []int // processes of the test, this one included
	begun      time.Time
	busy       time.Duration
	rootCPU    time.Duration
	testCPU    time.Duration
	childCPU   time.Duration
	load       string
	rss, pss   int64
	children   int
	stop, done chan struct{}
}

func watchTree(root int, tests ...int) *watch {
	w := &watch{root: root, others: append(tests, os.Getpid()), begun: time.Now(), busy: busyCPU(), load: loadAverage(),
		stop: make(chan struct{}), done: make(chan struct{})}
	w.rootCPU, w.testCPU, w.childCPU = cpuOf(root), cpuOf(w.others...), cpuOf(processTree(root)[1:]...)
	w.sample(true)
	go func() {
		defer close(w.done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-w.stop:
				return
			case <-tick.C:
				w.sample(n%8 == 0)
			}
		}
	}()
	return w
}

func (w *watch) sample(exact bool) {
	if w.rss = max(w.rss, memoryOf(w.root)); exact {
		w.pss = max(w.pss, sharedOnce(w.root))
		w.children = max(w.children, len(processTree(w.root))-1)
	}
}

// end gives the peaks and prints who had the machine.
func (w *watch) end(v *verdicts) (rss, pss int64) {
	close(w.stop)
	<-w.done
	w.sample(true)
	took := time.Since(w.begun).Seconds()
	tree := processTree(w.root)
	root, children, tests := cpuOf(w.root)-w.rootCPU, cpuOf(tree[1:]...)-w.childCPU, cpuOf(w.others...)-w.testCPU
	rest := busyCPU() - w.busy - root - children - tests
	v.note("cores: program, its children, this test, all others", "%.2f, %.2f, %.2f, %.2f", root.Seconds()/took,
		children.Seconds()/took, tests.Seconds()/took, max(0, rest.Seconds()/took))
	v.note("load average before and after; children", "%s, %s; %d", w.load, loadAverage(), w.children)
	if cores := rest.Seconds() / took; cores > 0.5 {
		v.note("the machine was not ours alone", "times tell little where others use %.1f cores", cores)
	}
	return w.rss, w.pss
}

func mib(bytes int64) float64 { return float64(bytes*10>>20) / 10 }
