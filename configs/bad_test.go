package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/providertest/golden"
)

// canary stands in the bad profiles wherever a secret could.
const canary = "hunter2"

// Every bad profile has the report that it gives. `go test ./... -update` writes the reports; read the diff as the
// person would who made the mistake.
func TestEachBadProfileGivesItsReport(t *testing.T) {
	profiles, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(profiles) == 0 {
		t.Fatal("there are no bad profiles", err)
	}
	for _, profile := range profiles {
		t.Run(strings.TrimSuffix(filepath.Base(profile), ".yaml"), func(t *testing.T) {
			got := mustRefuse(t, Sources{Profile: profile}).Error()
			if strings.Contains(got, canary) {
				t.Errorf("the report shows a secret:\n%s", got)
			}
			golden.File(t, strings.TrimSuffix(profile, ".yaml")+".txt", []byte(got))
		})
	}
}

// A report that no profile gives proves nothing.
func TestEachReportHasItsProfile(t *testing.T) {
	reports, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, report := range reports {
		if _, err := os.Stat(strings.TrimSuffix(report, ".txt") + ".yaml"); err != nil {
			t.Errorf("%s: %v", report, err)
		}
	}
}

// Whoever adds a setting adds a bad value of it.
func TestEverySettingIsRefusedInSomeBadProfile(t *testing.T) {
	profiles, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{}
	for _, profile := range profiles {
		for _, p := range mustRefuse(t, Sources{Profile: profile}) {
			if p.Value != "" {
				refused[p.Key] = true
			}
		}
	}
	for _, key := range Keys() {
		if !refused[key.Name] {
			t.Errorf("no file in testdata/bad has a bad value of %s: add one, and run `go test ./... -update`", key.Name)
		}
	}
}

// mustRefuse loads s and returns the problems, each of which must say what a person needs to know.
func mustRefuse(t testing.TB, s Sources) Problems {
	t.Helper()
	config, err := Load(s)
	if err == nil {
		t.Fatal("it was not refused")
	}
	if config != nil {
		t.Error("there are a configuration and an error")
	}
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("the error is no report: %T %v", err, err)
	}
	for _, p := range problems {
		for name, text := range map[string]string{"key": p.Key, "origin": p.Origin, "reason": p.Reason, "way out": p.Fix} {
			if text == "" {
				t.Errorf("no %s: %+v", name, p)
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Errorf("the %s is not one line of text: %q", name, text)
			}
		}
		if strings.Contains(p.Fix, "mistake in gatehouse") {
			t.Errorf("a mistake in this package: %+v", p)
		}
	}
	return problems
}
