package golden

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../../.."

// A package that does not register the flag makes `go test ./... -update` fail.
func TestUpdate_EveryPackageWithTestsKnowsTheFlag(t *testing.T) {
	self, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{} // by the folder of the package
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		if _, seen := known[folder]; !seen {
			known[folder] = false
		}
		for _, spec := range file.Imports {
			if name, _ := strconv.Unquote(spec.Path.Value); name == "gatehouse/providers/providertest/golden" {
				known[folder] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, ok := range known {
		if absolute, _ := filepath.Abs(folder); !ok && absolute != self {
			t.Errorf(`no test in %s imports "gatehouse/providers/providertest/golden", which registers -update`, folder)
		}
	}
	if len(known) < 10 {
		t.Errorf("only %d packages were found", len(known))
	}
}

// recorder is a test whose failures are expected.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Error(...any)          { r.failed = true }
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestFile(t *testing.T) {
	was := *update
	t.Cleanup(func() { *update = was })
	path := filepath.Join(t.TempDir(), "file")
	for _, c := range []struct {
		name   string
		update bool
		want   string
		fails  bool
	}{
		{"the file does not exist", false, "a", true},
		{"-update creates it", true, "a", false},
		{"then it is current", false, "a", false},
		{"the text changed", false, "b", true},
		{"-update writes it", true, "b", false},
		{"then it is current again", false, "b", false},
	} {
		*update = c.update
		r := &recorder{TB: t}
		if File(r, path, []byte(c.want)); r.failed != c.fails {
			t.Errorf("%s: failed: %t", c.name, r.failed)
		}
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "b" {
		t.Errorf("the file contains %q, %v", content, err)
	}
}
