package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"gatehouse/providers"
)

// FuzzLoad loads any profile and .env: Load returns a valid configuration, or a complete report, the same
// each time.
func FuzzLoad(f *testing.F) {
	profiles, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, profile := range append(profiles, "local.yaml") {
		content, err := os.ReadFile(profile)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, []byte("GATEHOUSE_LOG__LEVEL=debug\n"))
	}
	for _, dot := range []string{"A", "=", "A='", "export GATEHOUSE_LOG__LEVEL=\"x${A}\"",
		"GATEHOUSE_=1\nGATEHOUSE___=2", "\x00=1", "GATEHOUSE_\x1b=1"} {
		f.Add([]byte(localKind), []byte(dot))
	}
	f.Add([]byte("a: &a [*a, *a]\nb: &b {c: *b}\n*a: 1\n? [x]\n: 2\n<<: *b\n"), []byte(nil))
	f.Add([]byte("provider.kind: local\nscopes: {required: [!!binary aGk=, ~, 1.5, 2026-01-01, {a: b}]}\n"),
		[]byte(nil))
	f.Fuzz(func(t *testing.T, profile, dot []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "profile.yaml")
		if err := errors.Join(os.WriteFile(path, profile, 0o600),
			os.WriteFile(filepath.Join(dir, ".env"), dot, 0o600)); err != nil {
			t.Fatal(err)
		}
		s := Sources{Profile: path, Dir: dir}
		text := string(profile) + strings.ToLower(string(dot))
		if strings.Contains(text, "_file") || strings.Contains(text, "pins") ||
			strings.Contains(strings.ToUpper(string(dot)), "GATEHOUSE_CONFIG") {
			t.Skip("it would read other files")
		}
		config, err := Load(s)
		if err == nil {
			checkAccepted(t, config)
			return
		}
		report := mustRefuse(t, s).Error()
		if report != err.Error() {
			t.Errorf("two reports:\n%s\n%s", err, report)
		}
		if strings.ContainsFunc(report, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("a report with control characters: %q", report)
		}
	})
}

func checkAccepted(t *testing.T, c *Config) {
	t.Helper()
	refused := func(p providers.Problem) { t.Errorf("accepted, with a problem: %+v", p) }
	c.Server.Validate(refused)
	c.MCP.Validate(refused)
	c.Scopes.Validate(refused)
	c.Log.Validate(refused)
	c.Provider.Validate(c.Resource, refused)
	for _, u := range c.Upstreams {
		u.Validate(refused)
	}
	for _, v := range c.Effective {
		if v.Key == "" || v.Origin == "" {
			t.Errorf("a value without a key or an origin: %+v", v)
		}
	}
}
