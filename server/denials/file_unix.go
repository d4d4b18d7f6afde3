//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package denials

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// owner is who should own a file, so that the server can read it.
type owner struct {
	uid, gid int
	// isNew is set if the file does not exist: then its owner would be that of the folder.
	isNew bool
}

// ownerOf returns the owner of a file or, if there is none, of its folder.
func ownerOf(path string) owner {
	info, err := os.Stat(path)
	isNew := err != nil
	if isNew {
		if info, err = os.Stat(filepath.Dir(path)); err != nil {
			return owner{os.Geteuid(), os.Getegid(), true}
		}
	}
	stat := info.Sys().(*syscall.Stat_t)
	return owner{int(stat.Uid), int(stat.Gid), isNew}
}

// take gives a file that this process created to o. Only root may do so. Another user may write a file into a
// folder of root, but must not replace a file that then becomes unreadable for its owner.
func (o owner) take(f *os.File) error {
	if o.uid == os.Geteuid() || f.Chown(o.uid, o.gid) == nil || o.isNew {
		return nil
	}
	return fmt.Errorf("the file belongs to user %d, who could not read it afterwards; run the command as that user", o.uid)
}

// lockFile takes the lock of a file, which it creates for o. Closing the file, and the end of the process,
// free it.
func lockFile(path string, o owner) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	_ = o.take(f) // if it fails, the file itself has the same owner as before
	return f, nil
}

// syncFolder makes a rename in a folder last.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
