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

// mayImport lists the packages of this module that each package may import, test files excepted. Imports point one
// way; server and mcptools do not import each other. The package of a provider needs no row: see [importsOf].
var mayImport = map[string][]string{
	"cmd/gatehouse": {"cmd/gatehouse/app", "cmd/gatehouse/doctor", "cmd/gatehouse/telemetry", "configs", "server",
		"mcptools", "mcptools/upstream", "providers", "providers/authserver", "providers/authserver/seal",
		"providers/authserver/store", "providers/broker", "providers/local", "providers/page", "providers/token",
		"server/audit", "server/denials"},
	"cmd/gatehouse/app": {"configs", "server", "server/audit", "server/denials", "mcptools", "mcptools/demo",
		"mcptools/mcphttp", "mcptools/upstream", "providers", "providers/signins"},
	"cmd/gatehouse/doctor": {"cmd/gatehouse/app", "cmd/gatehouse/telemetry", "configs", "mcptools/upstream", "server",
		"server/audit", "server/denials", "providers", "providers/diagnostics", "providers/token"},
	"cmd/gatehouse/telemetry": {"cmd/gatehouse/app", "configs", "mcptools/upstream", "providers", "providers/page",
		"providers/token", "server"},
	"cmd/conformance": {"cmd/gatehouse/app", "configs", "server", "mcptools"},

	"cmd/conformance/agents": {},
	"cmd/conformance/mcpgo":  {},

	"cmd/compare":          {"cmd/compare/canned", "configs", "providers", "server"},
	"cmd/compare/baseline": {"cmd/compare/canned"},
	"cmd/compare/canned":   {},
	"cmd/smoke":            {},
	"cmd/overload":         {},
	"configs": {"server", "server/audit", "server/denials", "mcptools", "mcptools/mcphttp", "mcptools/upstream",
		"providers", "providers/authserver", "providers/broker", "providers/local", "providers/oidc", "providers/scalekit",
		"providers/token"},
	"server":           {"providers", "providers/page", "server/audit", "server/denials"},
	"server/audit":     {"providers", "providers/rawjson"},
	"server/denials":   {"providers"},
	"mcptools":         {"providers"},
	"mcptools/mcphttp": {"mcptools", "providers", "providers/rawjson"},
	"mcptools/demo":    {"mcptools"},

	"mcptools/upstream": {"mcptools", "providers", "providers/rawjson"},

	"providers":             {},
	"providers/token":       {"providers", "providers/rawjson"},
	"providers/diagnostics": {"providers", "providers/token"},
	"providers/oidc":        {"providers", "providers/token", "providers/diagnostics"},
	"providers/scalekit":    {"providers", "providers/token", "providers/diagnostics"},
	"providers/local": {"providers", "providers/token", "providers/diagnostics", "providers/oidc",
		"providers/authserver"},
	"providers/authserver": {"providers", "providers/authserver/seal", "providers/authserver/store", "providers/page",
		"providers/rawjson", "providers/signins"},
	"providers/authserver/seal":            {},
	"providers/authserver/store":           {},
	"providers/authserver/store/storetest": {"providers/authserver/store"},
	"providers/broker": {"providers", "providers/token", "providers/diagnostics", "providers/oidc",
		"providers/authserver", "providers/authserver/seal", "providers/authserver/store", "providers/rawjson",
		"providers/signins"},
	"providers/page":    {},
	"providers/signins": {"providers"},
	"providers/rawjson": {},

	"providers/providertest":             {"providers", "providers/token"},
	"providers/providertest/acme":        {"providers", "providers/token"},
	"providers/providertest/golden":      {},
	"providers/providertest/scalekitenv": {"providers/providertest"},
}

// importsOf returns the packages that a package may import. A folder of providers without a row is the adapter of a
// provider, which may import what every adapter needs; configs, which has the table of kinds, may import it.
func importsOf(dir string) (allowed []string, known bool) {
	allowed, known = mayImport[dir]
	if name, isProvider := strings.CutPrefix(dir, "providers/"); !known && isProvider && !strings.Contains(name, "/") {
		return []string{"providers", "providers/token", "providers/diagnostics"}, true
	}
	return allowed, known
}

// isAdapter reports whether a package is the adapter of a provider without a row.
func isAdapter(dir string) bool {
	_, hasRow := mayImport[dir]
	_, known := importsOf(dir)
	return known && !hasRow
}

func TestPackages_ImportsPointOneWay(t *testing.T) {
	t.Parallel()
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
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		dir = filepath.ToSlash(dir)
		allowed, known := importsOf(dir)
		if !known {
			t.Errorf("%s is in a package without a row in this table", path)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			other, ours := strings.CutPrefix(name, "gatehouse/")
			if ours && !slices.Contains(allowed, other) && !(dir == "configs" && isAdapter(other)) {
				t.Errorf("%s imports %s", path, other)
			}
			if strings.HasPrefix(name, "github.com/modelcontextprotocol/go-sdk/") && !mayImportSDK(dir) {
				t.Errorf("%s imports %s: only mcptools and cmd may import the MCP SDK", path, name)
			}
			if isTelemetrySDK(name) && dir != "cmd/gatehouse/telemetry" {
				t.Errorf("%s imports %s: only cmd/gatehouse/telemetry may import the SDK of OpenTelemetry", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mayImportSDK reports whether a package may import the MCP SDK: below mcptools and cmd only, so that a new
// version of the SDK cannot change authentication.
func mayImportSDK(dir string) bool {
	top, _, _ := strings.Cut(dir, "/")
	return top == "mcptools" || top == "cmd"
}

// isTelemetrySDK reports whether a package belongs to the SDK or an exporter of OpenTelemetry, rather than to its API.
func isTelemetrySDK(name string) bool {
	for _, prefix := range []string{
		"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters/", "go.opentelemetry.io/proto/",
		"go.opentelemetry.io/contrib/", "github.com/prometheus/",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// The exporters of OTLP that come with OpenTelemetry link gRPC, which is 1.9 MB that nothing runs.
func TestPackages_NothingNeedsGRPC(t *testing.T) {
	t.Parallel()
	if strings.Contains(read(t, "go.mod"), "google.golang.org/grpc") {
		t.Error("go.mod has google.golang.org/grpc: find out which package imports it")
	}
}

// Package providers is what the adapters, the server and the tools share: its documentation fits on one screen.
func TestPackages_ProvidersDocFitsOneScreen(t *testing.T) {
	t.Parallel()
	doc := exec.Command("go", "doc", "./providers")
	doc.Dir = root
	text, err := doc.Output()
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 64 {
		t.Errorf("go doc ./providers has %d lines, the limit is 64", lines)
	}
}

func TestPackages_TopLevel(t *testing.T) {
	t.Parallel()
	want := []string{
		"BENCHMARKS.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "README.md", "cmd", "configs", "docker-compose.yml",
		"go.mod", "go.sum", "mcptools", "providers", "server",
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries { // sorted by name
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != "gatehouse" { // the binary, ignored by git
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the top level is %v, want %v", got, want)
	}
}

// Tests pass without the line that offers the demo tools. Those in configs compare the profiles with their scopes.
func TestPackages_OnlyDemoTestsNeedDemoTools(t *testing.T) {
	t.Parallel()
	const demo = `"gatehouse/mcptools/` + `demo"`
	mayUse := []string{"mcptools/demo", "configs"}
	walk(t, func(path string) {
		isTest := strings.HasSuffix(path, "_test.go")
		if isTest && strings.Contains(read(t, path), demo) && !slices.Contains(mayUse, filepath.ToSlash(filepath.Dir(path))) {
			t.Errorf("%s imports mcptools/demo: define the tools that the test needs in the test", path)
		}
	})
}
