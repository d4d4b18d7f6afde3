//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package audit

import (
	"errors"
	"os"
)

var errNoLocks = errors.New("the audit log needs file locks (flock), which this operating system does not have")

// lockFolder refuses, because two processes could write into one folder.
func lockFolder(string) (*os.File, error) { return nil, errNoLocks }

func isLocked(string) (bool, error) { return false, errNoLocks }

func unlockFolder(f *os.File) { f.Close() }
