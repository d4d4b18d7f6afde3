package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

func TestRun_Defaults(t *testing.T) {
	profile := write(t, "p.yaml", "log:\n  level: debug\n")
	keycloak := map[string]string{"provider.preset": "keycloak", "provider.issuer": "https://login.example.com/realms/a",
		"resource": "https://mcp.example.com/mcp"}
	for name, c := range map[string]struct {
		s    Sources
		want map[string]string
	}{
		"local issuer": {Sources{}, map[string]string{
			"provider.kind": "local (default of gatehouse run)", "scopes.required": "mcp:use (default of gatehouse run)",
			"scopes.initial": "mcp:use (derived from scopes.required)", "tools.demo": "false (default)",
			"scopes.descriptions": "\"mcp:use=Use the tools of this server\" (default of gatehouse run)",
			"tools.show_all":      "true (default of gatehouse run)", "resource": "http://localhost:3002/mcp (default)",
			"server.listen":         "127.0.0.1:3002 (default)",
			"upstreams.main.tools":  "* (default of gatehouse run)",
			"upstreams.main.prefix": " (default of gatehouse run)",
			"upstreams.main.command": `["npx","-y","some-server","--token","[redacted]","a b"] ` +
				"(command line of gatehouse run)",
		}},
		"another provider": {Sources{Flags: keycloak}, map[string]string{
			"provider.kind": "oidc (derived from provider.preset)", "scopes.required": "mcp:use (default of gatehouse run)",
			"server.allowed_origins": " (default)",
		}},
		"overridden": {Sources{Profile: profile, Environ: []string{"GATEHOUSE_SCOPES__REQUIRED=files:use"},
			Flags: map[string]string{"tools.demo": "true", "upstreams.main.tools": "read_* > files:read",
				"upstreams.main.prefix": "x_", "upstreams.main.command": `["other"]`}}, map[string]string{
			"scopes.required":       "files:use (environment variable GATEHOUSE_SCOPES__REQUIRED)",
			"tools.demo":            "true (flag --tools.demo)",
			"log.level":             "debug (profile " + profile + ":2)",
			"upstreams.main.tools":  "\"read_* > files:read\" (flag --upstreams.main.tools)",
			"upstreams.main.prefix": "x_ (flag --upstreams.main.prefix)",
			"upstreams.main.command": `["npx","-y","some-server","--token","[redacted]","a b"] ` +
				"(command line of gatehouse run)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.s.Run = &Run{Command: []string{"npx", "-y", "some-server", "--token", "hunter2", "a b"}}
			config := mustLoad(t, c.s)
			for key, want := range c.want {
				v := effective(t, config, key)
				if got := v.Text() + " (" + v.Origin + ")"; got != want {
					t.Errorf("%s: %s, not %s", key, got, want)
				}
			}
		})
	}
}

func TestRun_Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		run   Run
		flags map[string]string
		want  map[string]providers.Code
	}{
		"auto_approve": {Run{Command: []string{"a"}}, map[string]string{"provider.auto_approve": "true"},
			map[string]providers.Code{"provider.auto_approve": providers.CodeNotAllowed}},
		"public resource of the local issuer": {Run{Command: []string{"a"}}, map[string]string{
			"provider.dangerously_allow_public_resource": "true", "resource": "https://mcp.example.com/mcp"},
			map[string]providers.Code{"provider.dangerously_allow_public_resource": providers.CodeNotAllowed}},
		"every address with the local issuer": {Run{Command: []string{"a"}}, map[string]string{"server.listen": ":3002"},
			map[string]providers.Code{"server.listen": providers.CodeInsecure}},
		"every address that is allowed": {Run{Command: []string{"a"}}, map[string]string{"server.listen": ":3002",
			"provider.dangerously_allow_public_resource": "true"},
			map[string]providers.Code{"provider.dangerously_allow_public_resource": providers.CodeNotAllowed}},
		"neither": {Run{}, nil, map[string]providers.Code{"upstreams.main.command": providers.CodeMissing}},
		"plain http": {Run{URL: "http://192.0.2.1/mcp"}, nil,
			map[string]providers.Code{"upstreams.main.url": providers.CodeInsecure}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]providers.Code{}
			for _, p := range mustRefuse(t, Sources{Run: &c.run, Flags: c.flags}) {
				got[p.Key] = p.Code
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What run prints gives the same server without run.
func TestConfig_Profile(t *testing.T) {
	secret, variables := write(t, "secret", "hunter2"), write(t, "files.env", "TOKEN=hunter2")
	for name, c := range map[string]struct {
		s       Sources
		want    string // of the profile; not compared if it is empty
		differs []string
	}{
		"run": {Sources{Run: &Run{Command: []string{"npx", "-y", "some server"}}}, `server:
  allowed_origins: ['http://localhost:*', 'http://127.0.0.1:*']
tools:
  show_all: true
upstreams:
  main:
    command: [npx, -y, some server]
    tools:
      - '*'
    prefix: ""
scopes:
  required: ['mcp:use']
  descriptions: ['mcp:use=Use the tools of this server']
provider:
  kind: local
  client_documents: false
`, nil},
		"settings of every type": {Sources{Run: &Run{URL: "https://notes.example.com/mcp"}, Flags: map[string]string{
			"provider.preset": "keycloak", "provider.issuer": "https://login.example.com/realms/a", "mcp.max_sessions": "7",
			"mcp.call_timeout": "90s", "tools.show_all": "true", "resource": "https://mcp.example.com/mcp"}}, "", nil},
		"secrets in files": {Sources{Run: &Run{Command: []string{"a"}},
			Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" + secret},
			Flags:   map[string]string{"upstreams.main.env_file": variables}}, "", nil},
		"secrets in no file": {Sources{Run: &Run{Command: []string{"a", "--token", "hunter2"}},
			Environ: []string{"GATEHOUSE_UPSTREAMS__MAIN__ENV=A=hunter2"}}, "",
			[]string{"upstreams.main.command", "upstreams.main.env"}},
		"secret in a URL": {Sources{Run: &Run{URL: "https://notes.example.com/mcp?key=hunter2"}}, "",
			[]string{"upstreams.main.url"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, c.s)
			profile, err := config.Profile()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(profile), "hunter2") {
				t.Errorf("it has a secret:\n%s", profile)
			}
			if c.want != "" && string(profile) != c.want {
				t.Errorf("it is\n%s", profile)
			}
			if name == "secrets in no file" && !strings.Contains(string(profile), "# [redacted] is a secret: ") {
				t.Errorf("nothing says what is missing:\n%s", profile)
			}
			again := mustLoad(t, Sources{Profile: write(t, "gatehouse.yaml", string(profile))})
			var differs []string
			for _, change := range Compare(config, again) {
				differs = append(differs, change.Key)
			}
			if diff := cmp.Diff(c.differs, differs); diff != "" {
				t.Errorf("%s\n%s", diff, profile)
			}
		})
	}
}
