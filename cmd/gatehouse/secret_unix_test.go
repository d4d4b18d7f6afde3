//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// root changes the file of the user that the broker runs as.
func TestSecret_KeepsOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	path := filepath.Join(t.TempDir(), "secrets")
	runCommand(t, "secret", path)
	if err := os.Chown(path, 65532, 65533); err != nil {
		t.Fatal(err)
	}
	runCommand(t, "secret", "--prepend", path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 65532 || owner.Gid != 65533 || info.Mode().Perm() != 0o600 {
		t.Errorf("owner %d, group %d, mode %o", owner.Uid, owner.Gid, info.Mode().Perm())
	}
}
