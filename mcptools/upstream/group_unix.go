//go:build unix

package upstream

import (
	"os"
	"syscall"
)

// ownGroup makes a process the leader of a new process group. npx, for example, starts a shell that starts node.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// signalGroup sends a signal to the process group that p leads.
func signalGroup(p *os.Process, s syscall.Signal) error { return syscall.Kill(-p.Pid, s) }
