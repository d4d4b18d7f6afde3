//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package doctor

import "syscall"

// canWrite reports whether this user may create files in a folder. Nothing is created.
func canWrite(dir string) error {
	const writeAndSearch = 3 // W_OK and X_OK of access(2)
	return syscall.Access(dir, writeAndSearch)
}
