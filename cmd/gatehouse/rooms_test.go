package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// mayImport says which rooms each room may know. Imports point one way; server and mcptools do not know each other.
var mayImport = map[string][]string{
	"cmd/gatehouse": {"cmd/gatehouse/doctor", "cmd/gatehouse/house", "configs", "server", "mcptools", "providers",
		"providers/authserver", "providers/local", "providers/token"},
	"cmd/gatehouse/doctor": {"configs", "providers", "providers/diagnostics", "providers/token"},
	"cmd/gatehouse/house":  {"configs", "server", "mcptools", "mcptools/demo", "providers"},
	"cmd/conformance":      {"cmd/gatehouse/house", "configs", "server", "mcptools"},
	"cmd/compare":          {"cmd/compare/canned", "configs", "providers", "server"},
	"cmd/compare/baseline": {"cmd/compare/canned"},
	"cmd/compare/canned":   {},
	"cmd/smoke":            {},
	"cmd/overload":         {},
	"configs": {"server", "mcptools", "providers", "providers/local", "providers/oidc", "providers/scalekit",
		"providers/token"},
	"server":        {"providers"},
	"mcptools":      {"providers", "providers/rawjson"},
	"mcptools/demo": {"mcptools"},

	"providers":             {},
	"providers/token":       {"providers", "providers/rawjson"},
	"providers/diagnostics": {"providers", "providers/token"},
	"providers/oidc":        {"providers", "providers/token", "providers/diagnostics"},
	"providers/scalekit":    {"providers", "providers/token", "providers/diagnostics"},
	"providers/local":       {"providers", "providers/token", "providers/diagnostics", "providers/oidc", "providers/authserver"},
	"providers/authserver":  {},
	"providers/rawjson":     {},

	"providers/providertest":             {"providers", "providers/token"},
	"providers/providertest/acme":        {"providers", "providers/token"},
	"providers/providertest/golden":      {},
	"providers/providertest/scalekitenv": {"providers/providertest"},
}

func TestImportsPointOneWay(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		room, _ := filepath.Rel(root, filepath.Dir(path))
		room = filepath.ToSlash(room)
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s is in a room that nobody planned: add it to this table, or put the file where it belongs", path)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if other, ours := strings.CutPrefix(name, "gatehouse/"); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s", path, other)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The seam is what every adapter, the server and the tools have in common: it fits on one screen.
func TestTheSeamOfProvidersStaysSmall(t *testing.T) {
	doc := exec.Command("go", "doc", "./providers")
	doc.Dir = root
	text, err := doc.Output()
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 60 {
		t.Errorf("go doc ./providers has %d lines, at most 60 are planned", lines)
	}
}

func TestTheTopLevelIsThePlan(t *testing.T) {
	plan := []string{"cmd", "configs", "server", "providers", "mcptools", "go.mod", "go.sum", "docker-compose.yml", "Dockerfile", "README.md", "BENCHMARKS.md", "LICENSE", "CONTRIBUTING.md"}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != "gatehouse" { // the binary, ignored by git
			found = append(found, e.Name())
		}
	}
	slices.Sort(plan)
	slices.Sort(found)
	if !slices.Equal(plan, found) {
		t.Errorf("the top level is %v, the plan %v", found, plan)
	}
}
