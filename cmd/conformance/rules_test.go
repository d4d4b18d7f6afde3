package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	ruleID     = regexp.MustCompile(`\b(RS|AS|TR)-\d\d[a-z]?\b`)
	ruleInName = regexp.MustCompile(`\b(?:Test|Fuzz)(RS|AS|TR)(\d\d)`)
	definition = regexp.MustCompile(`(?m)^\| ((?:RS|AS|TR)-\d\d[a-z]?) \| (.*\.) \| (.+) \|$`)
)

// RULES.md defines the ids of protocol rules, and every id is used by a test. Product code cites the
// specification.
func TestRuleIDsAreDefinedAndUsed(t *testing.T) {
	raw, err := os.ReadFile("RULES.md")
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	var order []string
	for _, match := range definition.FindAllStringSubmatch(string(raw), -1) {
		if defined[match[1]] {
			t.Errorf("RULES.md defines %s twice", match[1])
		}
		defined[match[1]] = true
		order = append(order, strings.NewReplacer("RS", "1", "AS", "2", "TR", "3").Replace(match[1]))
	}
	if !slices.IsSorted(order) {
		t.Error("the rules are not in order")
	}

	used := map[string]bool{}
	const root = "../.."
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "node_modules", "testdata"}, entry.Name()) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		ids := ruleID.FindAllString(string(content), -1)
		for _, match := range ruleInName.FindAllStringSubmatch(string(content), -1) {
			ids = append(ids, match[1]+"-"+match[2])
		}
		for _, id := range ids {
			used[id] = true
			if !defined[id] {
				t.Errorf("%s names %s, which RULES.md does not define", path, id)
			}
			if !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s names %s: cite the section of the specification in product code", path, id)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range defined {
		if !used[id] {
			t.Errorf("no test names %s", id)
		}
	}
}
