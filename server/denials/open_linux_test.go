package denials

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A pipe that takes the place of the file at the worst moment must not block the reader, and neither must a file
// of the kernel that counts as regular.
func TestOpenFile_NeverBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	replaceFile(t, path("denied.yaml"), "[]")
	if err := syscall.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/kmsg", path("kernel")); err != nil { // only root may open it
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = readFile(path("kernel"), openFile)
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			if content, err := readFile(path("denied.yaml"), openFile); err == nil && string(content) != "[]" {
				t.Errorf("%q was read", content)
			}
		}
	}()
	exchange := func() { // the file and the pipe
		for _, names := range [][2]string{{"denied.yaml", "x"}, {"pipe", "denied.yaml"}, {"x", "pipe"}} {
			if err := os.Rename(path(names[0]), path(names[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	for timeout := time.After(10 * time.Second); ; {
		select {
		case <-done:
			return
		case <-timeout:
			t.Fatal("the reader is blocked")
		default:
			exchange()
		}
	}
}
