package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Where /proc is not, what comes from there is zero and printed as unknown.

// tick is the unit of times in /proc, the same on every Linux (USER_HZ).
const tick = 10 * time.Millisecond

// childrenOf are the processes that a process has started and that run: the
// program may hash passwords in one. None where they cannot be told.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children") // of each thread
	for _, list := range lists {
		text, _ := os.ReadFile(list) //nolint:gosec // in /proc; the thread may have ended
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// cpuOf is the CPU time that a process and its children have used.
func cpuOf(pid int) (time.Duration, error) {
	sum, err := cpuOfOne(pid)
	for _, child := range childrenOf(pid) {
		if cpu, err := cpuOfOne(child); err == nil { // it may have ended
			sum += cpu
		}
	}
	return sum, err
}

func cpuOfOne(pid int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) && runtime.GOOS != "linux" {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return parseCPU(stat)
}

// parseCPU adds utime and stime of /proc/PID/stat: the 14th and 15th fields,
// of which the second is a name in parentheses that may hold anything.
func parseCPU(stat []byte) (time.Duration, error) {
	_, rest, found := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := strings.Fields(string(rest))
	const utime, stime = 11, 12 // after the first two
	if !found || len(fields) <= stime {
		return 0, errors.New("CPU time: stat has another form")
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// busyCPU is the CPU time that all programs of the machine have used, and that
// other machines beside it have taken ("steal"); not the kernel's own work on
// packets, which is ours and cannot be told apart.
func busyCPU() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseBusy(string(stat))
}

func parseBusy(stat string) time.Duration {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0
	}
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 8} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

// memory is what of a process is in memory.
type memory struct {
	All  int64 `json:"all"`  // VmRSS
	Anon int64 `json:"anon"` // what it made itself
	File int64 `json:"file"` // pages of the program, which the system can drop
	Peak int64 `json:"peak"`
}

// memoryOf is the memory of a process and its children. Those run the same
// program, so its pages count once.
func memoryOf(pid int) (memory, error) {
	sum, err := memoryOfOne(pid)
	for _, child := range childrenOf(pid) {
		if one, err := memoryOfOne(child); err == nil { // it may have ended
			sum.All += one.Anon
			sum.Anon += one.Anon
			sum.Peak += one.Peak - one.File
		}
	}
	return sum, err
}

func memoryOfOne(pid int) (memory, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, fs.ErrNotExist) && runtime.GOOS != "linux" {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return parseMemory(string(status))
}

func parseMemory(status string) (memory, error) {
	var m memory
	into := map[string]*int64{"VmRSS": &m.All, "RssAnon": &m.Anon, "RssFile": &m.File, "VmHWM": &m.Peak}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		at := into[name]
		if at == nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("memory: %s: %w", name, err)
		}
		*at = n << 10
	}
	if m.All == 0 {
		return m, errors.New("memory: status without VmRSS")
	}
	return m, nil
}

// machine is where a run took place.
type machine struct {
	Cores      int     `json:"cores"` // that a program may use
	CPU        string  `json:"cpu"`
	Go         string  `json:"go"`
	System     string  `json:"system"`
	LoadBefore float64 `json:"load_before"` // over the last minute
	LoadAfter  float64 `json:"load_after"`
	// Others is the CPU time that neither bench nor a server under load used
	// during the rounds, in cores.
	Others float64 `json:"others"`
}

func thisMachine() machine {
	return machine{
		Cores: runtime.GOMAXPROCS(0), CPU: cpuModel(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, LoadBefore: loadAverage(),
	}
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

// others adds up what else ran while rounds ran.
type others struct{ theirs, all time.Duration }

// during measures f, in which the processes pids and bench itself are at work.
func (o *others) during(f func() error, pids ...int) error {
	ours := func() (sum time.Duration) {
		for _, pid := range append([]int{os.Getpid()}, pids...) {
			cpu, err := cpuOf(pid)
			if err != nil {
				return 0 // it has ended: f will tell why
			}
			sum += cpu
		}
		return sum
	}
	begun, busy, own := time.Now(), busyCPU(), ours()
	err := f()
	o.theirs += max(0, busyCPU()-busy-(ours()-own))
	o.all += time.Since(begun)
	return err
}

// cores is how many cores the others kept busy.
func (o *others) cores() float64 {
	if o.all == 0 {
		return 0
	}
	return o.theirs.Seconds() / o.all.Seconds()
}
