//go:build !unix

package upstream

import (
	"os"
	"syscall"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup() *syscall.SysProcAttr { return nil }

// signalGroup ends p alone, if the signal is SIGKILL. There are no other signals here.
func signalGroup(p *os.Process, s syscall.Signal) error {
	if s == syscall.SIGKILL {
		return p.Kill()
	}
	return nil
}
