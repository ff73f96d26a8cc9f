package secret

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// lowest is the nice value with a share of 15/1024 beside an ordinary thread.
const lowest = 19

// diesWithParent has the kernel kill the child when the thread that starts it
// ends: the caller keeps that thread for as long as the child lives.
func diesWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// yieldToOthers gives every thread of this process the lowest priority. On Linux
// a priority is a thread's own; a new thread has that of the one that makes it,
// so once a round has found none that is new, there will be none.
func yieldToOthers() {
	done := map[string]bool{}
	for grew := true; grew; {
		grew = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil { // no /proc: at least this one
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, lowest)
			return
		}
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil && !done[t.Name()] {
				_ = unix.Setpriority(unix.PRIO_PROCESS, id, lowest) // down is always allowed; it may have ended
				done[t.Name()] = true
				grew = true
			}
		}
	}
}

// keepOutOfDumps: what crashes writes no passwords to a disk, and nobody but
// root attaches a debugger.
func keepOutOfDumps() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
