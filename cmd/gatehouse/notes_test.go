package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/mcptools"
)

func TestBanner_MarksToolsBeyondInitialScopes(t *testing.T) {
	t.Parallel()
	const (
		covered   = "mcp:use greet:read"
		uncovered = "mcp:use greet:write asks for more: greet:write"
	)
	for name, c := range map[string]struct {
		flags          map[string]string
		greet, confirm string
		line           string
	}{
		"all are listed": {nil, covered, uncovered, "a call of one starts another sign-in"},
		"three of them": {
			map[string]string{"tools.show_all": "false"}, covered, uncovered, "shows 3 of the 5 tools",
		},
		"one of them": {
			map[string]string{"tools.show_all": "false", "scopes.initial": "mcp:use"},
			"mcp:use greet:read asks for more: greet:read", uncovered, "shows 1 of the 5 tools",
		},
		"no scope is required": {
			map[string]string{"scopes.required": "", "scopes.initial": ""},
			"greet:read asks for more: greet:read", "greet:write asks for more: greet:write", "a call of one",
		},
		"an initial scope implies them": {
			map[string]string{
				"scopes.initial": "mcp:use,all", "scopes.implies": "all > more,more > greet:read greet:write gatehouse:admin",
			}, covered, "mcp:use greet:write", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := configs.Load(configs.Sources{Flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			listTools(&out, cfg, testCatalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{}).Tools)
			banner := out.String()
			greet, confirm := toolInBanner(banner, "greet"), toolInBanner(banner, "confirm")
			if greet != c.greet || confirm != c.confirm {
				t.Errorf("greet %q, confirm %q", greet, confirm)
			}
			if !strings.Contains(banner, c.line) || c.line == "" && strings.Contains(banner, "First sign-in") {
				t.Errorf("the banner lacks %q:\n%s", c.line, banner)
			}
		})
	}
}

func TestServe_WithoutToolsExplainsHowToAddOne(t *testing.T) {
	t.Parallel()
	s, address := startService(t, "serve", "--resource=http://ADDRESS/mcp", "--tools.demo=false", "--scopes.initial=",
		"--provider.auto_approve")
	if want := "none: add one in mcptools/tools.go"; !strings.Contains(s.stdout.String(), want) {
		t.Errorf("the banner lacks %q", want)
	}
	log := s.stderr.String()
	const warning = "the server offers no tools: add one in mcptools/tools.go"
	if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, warning) {
		t.Errorf("the log:\n%s", log)
	}
	for _, protocol := range []string{modern, legacy} {
		session, err := connect(t, "http://"+address+"/mcp", protocol, &user{}, dynamicClient)
		if err != nil {
			t.Fatal(err)
		}
		list, err := session.ListTools(t.Context(), nil)
		if err != nil || list.Tools == nil || len(list.Tools) > 0 {
			t.Errorf("%s: %v, %v", protocol, list, err)
		}
		if _, err := call(t, session, "greet", map[string]any{"name": "Ada"}); err == nil {
			t.Errorf("%s: greet can be called", protocol)
		}
	}
}

func TestNotes_DemoScopesWithoutDemoTools(t *testing.T) {
	t.Parallel()
	if !hasDemoTools() {
		t.Skip("the product has no demo tools")
	}
	const (
		required  = "scopes:\n  required: [mcp:use]\n"
		initial   = required + "  initial: [mcp:use, greet:read]\n"
		scopeMap  = "  scope_map: [\"api://demo/greet.read=greet:read\"]\n"
		implies   = "  implies: [\"gatehouse:admin > greet:write x\"]\n"
		longer    = "scopes:\n  required: [\"greet:read:all\"]\n"
		inBuiltIn = "greet:read (scopes.initial, built-in profile local.yaml)"
	)
	profile := func(settings string) string {
		return "--config=" + writeFile(t, "p.yaml", "provider:\n  kind: oidc\n  issuer: http://localhost:9\n"+settings)
	}
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"no demo scope":             {[]string{profile(required)}, nil},
		"tools.demo is on":          {[]string{profile(initial), "--tools.demo"}, nil},
		"the built-in profile":      {[]string{"--resource=http://localhost:3002/mcp"}, nil},
		"it without the demo tools": {[]string{"--tools.demo=false"}, []string{inBuiltIn}},
		"in scopes.required": {
			[]string{"--scopes.required=mcp:use,greet:write", "--scopes.initial=", "--tools.demo=false"},
			[]string{"greet:write (scopes.required, flag --scopes.required)"},
		},
		"in a setting of the kind": {
			[]string{profile(scopeMap + required)}, []string{"greet:read (provider.scope_map, profile "},
		},
		"in several settings": {
			[]string{profile(initial + implies)},
			[]string{
				"greet:read (scopes.initial, profile ", "greet:write (scopes.implies, profile ",
				"gatehouse:admin (scopes.implies, profile ",
			},
		},
		"in a longer name": {[]string{profile(longer)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := runCommand(t, append([]string{"config"}, c.args...)...)
			const note = "Note: scopes of the demo tools are set, but tools.demo is off"
			if want := min(1, len(c.want)); got.code != exitOK || strings.Count(got.stdout, note) != want {
				t.Fatalf("exit code %d:\n%s", got.code, got.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("the output lacks %q:\n%s", want, got.stdout)
				}
			}
		})
	}
	t.Run("once in the log", func(t *testing.T) {
		s, _ := startService(t, "serve", "--resource=http://ADDRESS/mcp", "--tools.demo=false")
		if log := s.stderr.String(); strings.Count(log, `level=WARN msg="scopes of the demo tools`) != 1 {
			t.Errorf("the log:\n%s", log)
		}
	})
}

func TestNotes_NoRequiredScope(t *testing.T) {
	t.Parallel()
	const note = "Note: scopes.required is empty"
	config := []string{
		"config", "--provider.kind=oidc", "--provider.issuer=http://localhost:9", "--resource=http://localhost:3002/mcp",
	}
	if got := runCommand(t, config...); got.code != exitOK || !strings.Contains(got.stdout, note) {
		t.Errorf("exit code %d:\n%s", got.code, got.stdout)
	}
	if got := runCommand(t, append(config, "--scopes.required=mcp:use")...); strings.Contains(got.stdout, note) {
		t.Errorf("with a required scope:\n%s", got.stdout)
	}
}

func TestServe_IsTheDefaultCommand(t *testing.T) {
	t.Parallel()
	s, address := startService(t, "--resource=http://ADDRESS/")
	if status, _ := httpGet(t, "http://"+address+"/health"); status != http.StatusOK {
		t.Errorf("/health: %d", status)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
