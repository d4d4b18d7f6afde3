package audit

import (
	"syscall"
	"testing"
	"time"
)

// mountSmall mounts a file system of 256 KiB.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k") }

func unmount(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 100 { // a process that another test starts has the files open until its exec
		if err = syscall.Unmount(dir, 0); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("unmount: %v", err)
}
