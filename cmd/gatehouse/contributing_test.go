package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The provider that CONTRIBUTING.md adds is compiled, and held against the rules of all providers, where it comes from.
func TestTheProviderOfCONTRIBUTINGIsTheOneThatIsTested(t *testing.T) {
	checkWritten(t, "CONTRIBUTING.md", map[string]string{
		"provider": fenced(source(t, "providers/providertest/acme/acme.go", "does not exist.\n", "")),
		"harness":  fenced(acmeHarness(t)),
	})
}

func fenced(code string) string { return "```go\n" + code + "```\n" }

// source returns a file from what it contains of from to the end of what it contains of to; all of it if they are empty.
func source(t *testing.T, path, from, to string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(raw), from)
	if to == "" {
		return text
	}
	text, _, closed := strings.Cut(from+text, to)
	if !found || !closed {
		t.Fatalf("%s has no part from %q to %q", path, from, to)
	}
	return text + to
}

func acmeHarness(t *testing.T) string {
	return source(t, "providers/providertest/acme/acme_test.go", "func acmeHarness", "\n}\n")
}
