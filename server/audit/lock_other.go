//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package audit

import (
	"errors"
	"os"
)

// lockFolder refuses, because two processes could write into one folder.
func lockFolder(string) (*os.File, error) {
	return nil, errors.New("the audit log needs file locks (flock), which this operating system does not have")
}

func unlockFolder(f *os.File) { f.Close() }
