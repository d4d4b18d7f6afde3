//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"fmt"
	"os"
	"syscall"
)

// keepOwner gives f to the owner of the file that it replaces, who could not read it otherwise. Only root may
// do so.
func keepOwner(f *os.File, old os.FileInfo) error {
	owner := old.Sys().(*syscall.Stat_t)
	if int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid() {
		return nil
	}
	if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("the file belongs to user %d and group %d, who could not read it afterwards; "+
			"run the command as that user", owner.Uid, owner.Gid)
	}
	return nil
}
