package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The code of the provider recipe is compiled and tested where it comes from.
func TestContributing_ProviderRecipeIsTestedCode(t *testing.T) {
	t.Parallel()
	checkWritten(t, "CONTRIBUTING.md", map[string]string{
		"provider": fenced(source(t, "providers/providertest/acme/acme.go", "does not exist.\n", "")),
		"harness":  fenced(acmeHarness(t)),
	})
}

func fenced(code string) string { return "```go\n" + code + "```\n" }

// source returns the part of a file from the text from to the end of the text to. An empty from is the beginning of
// the file. With an empty to, the part begins after from and ends with the file.
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
