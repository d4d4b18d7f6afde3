package storetest

import "syscall"

// endWithParent makes a server end if the test binary is killed and cannot end it.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
