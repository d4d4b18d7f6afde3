package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/providertest/golden"
)

// canary is the secret in the bad profiles.
const canary = "hunter2"

// badProfiles returns the names in testdata/bad.
func badProfiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no bad profiles", err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	return files
}

// fullReports are the bad profiles of which testdata/reports has the whole text.
var fullReports = []string{
	"broker", "broker-store", "local-listens-everywhere", "many", "not-yaml", "oidc-introspection-key",
	"preset-as-kind", "resource-user",
	"scalekit-pasted", "secret-file-missing", "type-list-entries", "upstreams-process", "upstreams-types", "upstreams-url",
	"values-scopes",
}

// testdata/bad has the key and the code of each problem, one on each line, in the order of the report.
// `go test ./... -update` writes them.
func TestEachBadProfileGivesItsReport(t *testing.T) {
	for _, name := range badProfiles(t) {
		t.Run(name, func(t *testing.T) {
			problems := mustRefuse(t, Sources{Profile: "testdata/bad/" + name + ".yaml"})
			if report := problems.Error(); strings.Contains(report, canary) {
				t.Errorf("the report shows a secret:\n%s", report)
			}
			var lines strings.Builder
			for _, p := range problems {
				fmt.Fprintf(&lines, "%s %s\n", p.Key, p.Code)
			}
			golden.File(t, "testdata/bad/"+name+".txt", []byte(lines.String()))
		})
	}
}

func TestReportsReadAsIntended(t *testing.T) {
	for _, name := range fullReports {
		t.Run(name, func(t *testing.T) {
			report := mustRefuse(t, Sources{Profile: "testdata/bad/" + name + ".yaml"}).Error()
			golden.File(t, "testdata/reports/"+name+".txt", []byte(report))
		})
	}
}

// A report without a profile is compared with nothing.
func TestEachReportHasItsProfile(t *testing.T) {
	for pattern, profiles := range map[string][]string{"testdata/bad/*.txt": badProfiles(t),
		"testdata/reports/*": fullReports} {
		reports, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, report := range reports {
			if name := strings.TrimSuffix(filepath.Base(report), ".txt"); !slices.Contains(profiles, name) {
				t.Errorf("%s has no profile", report)
			}
		}
	}
}

// Each new setting needs a bad value of it.
func TestEverySettingIsRefusedInSomeBadProfile(t *testing.T) {
	refused := map[string]bool{}
	for _, name := range badProfiles(t) {
		for _, p := range mustRefuse(t, Sources{Profile: "testdata/bad/" + name + ".yaml"}) {
			if p.Value != "" {
				refused[p.Key] = true
			}
		}
	}
	for _, key := range keysWithUpstream() {
		if !refused[key.Name] {
			t.Errorf("no file in testdata/bad has a bad value of %s: add one, and run `go test ./... -update`",
				key.Name)
		}
	}
}

// mustRefuse loads s and returns the problems. Each must be complete.
func mustRefuse(t testing.TB, s Sources) Problems {
	t.Helper()
	config, err := Load(s)
	if err == nil {
		t.Fatal("the configuration is accepted")
	}
	if config != nil {
		t.Error("Load returned a configuration and an error")
	}
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("the error has no problems: %T %v", err, err)
	}
	for _, p := range problems {
		for name, text := range map[string]string{"key": p.Key, "origin": p.Origin, "reason": p.Reason,
			"fix": p.Fix} {
			if text == "" {
				t.Errorf("no %s: %+v", name, p)
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Errorf("the %s is not one line of text: %q", name, text)
			}
		}
		if !slices.ContainsFunc(Codes(), func(d CodeDoc) bool { return d.Code == p.Code }) {
			t.Errorf("the code is not in the list: %+v", p)
		}
		if p.Code == "internal" {
			t.Errorf("a defect of this package: %+v", p)
		}
	}
	return problems
}

// mustRefuseOne returns the only problem of s.
func mustRefuseOne(t testing.TB, s Sources) Problem {
	t.Helper()
	problems := mustRefuse(t, s)
	if len(problems) > 1 {
		t.Fatalf("more than one problem: %v", problems)
	}
	return problems[0]
}

// write creates a file in a new folder and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A value that is rejected in one layer does not hide what is wrong with that of another.
func TestRejectedValueHidesOnlyThatThereIsNone(t *testing.T) {
	rejected := "provider.issuer " + string(providers.CodeInvalidType)
	missing := "provider.issuer " + string(providers.CodeMissing)
	for name, c := range map[string]struct {
		flags  map[string]string
		reads  []string
		hidden string
	}{
		"no other value": {nil, []string{rejected}, missing},
		"a template, whose metadata URL is missing": {
			map[string]string{"provider.issuer": "https://login.example.com/{tid}/v2.0"}, []string{rejected, missing}, ""},
	} {
		profile := write(t, "profile.yaml", "provider:\n  kind: oidc\n  issuer: [x]\n")
		var got []string
		for _, p := range mustRefuse(t, Sources{Profile: profile, Flags: c.flags}) {
			got = append(got, p.Key+" "+string(p.Code))
		}
		for _, want := range c.reads {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q is not in %q", name, want, got)
			}
		}
		if c.hidden != "" && slices.Contains(got, c.hidden) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
