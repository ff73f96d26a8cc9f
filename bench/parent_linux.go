package main

import "syscall"

// dieWithParent lets a process end with bench, even where bench is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
