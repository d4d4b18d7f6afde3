// Package golden compares generated files with the copies in the repository. `go test ./... -update` writes the
// copies instead. For tests only.
//
// The go command passes -update to the test binary of every package, and a binary that does not know the flag
// fails. So every package with tests imports this one, which registers it.
package golden

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// File fails the test if the file at path does not contain want. With -update it writes want to the file.
func File(t testing.TB, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(got, want):
	case *update:
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Error(err)
		}
	case err != nil:
		t.Errorf("%v (`go test ./... -update` writes it)", err)
	default:
		t.Errorf("%s is out of date (`go test ./... -update` writes it):\n%s", path, cmp.Diff(string(got), string(want)))
	}
}
