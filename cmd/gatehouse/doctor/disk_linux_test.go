package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The kernel's own table of mounts says what each file system is.
func TestDiskOf_KnowsFileSystems(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Skip(err)
	}
	mounted := map[string]string{}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		mounted[fields[1]] = fields[2] // the last one is on top
	}
	kinds := map[string]string{"tmpfs": "tmpfs", "overlay": "overlay", "ext4": "", "xfs": ""}
	for _, dir := range []string{"/", "/dev/shm"} {
		want, known := kinds[mounted[dir]]
		if !known {
			continue
		}
		if d, err := diskOf(dir); err != nil || d.Kind != want {
			t.Errorf("%s has %s: %+v, %v", dir, mounted[dir], d, err)
		}
	}
	if d, err := diskOf(t.TempDir()); err != nil || d.Free == 0 {
		t.Errorf("the folder of this test has no room: %+v, %v", d, err)
	}
	if _, err := diskOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that does not exist has a file system")
	}
}
