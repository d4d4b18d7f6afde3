package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/scalekit"
)

// fromTemplate is the environment of Scalekit's FastAPI template, as in its env.example.
func fromTemplate(more ...string) []string {
	return append([]string{
		"SK_ENV_URL=https://acme.scalekit.com",
		"SK_CLIENT_ID=skc_1",
		"SK_CLIENT_SECRET=hunter2",
		"EXPECTED_AUDIENCE=http://localhost:3002/",
		`PROTECTED_RESOURCE_METADATA={"authorization_servers":` +
			`["https://acme.scalekit.com/resources/res_103100112351265282"],"bearer_methods_supported":["header"],` +
			`"resource":"http://localhost:3002/","resource_documentation":"http://localhost:3002/docs",` +
			`"scopes_supported":["todo:read","todo:write"]}`,
	}, more...)
}

func TestLegacyVariablesOfTheTemplateAreEnough(t *testing.T) {
	for name, s := range map[string]func(t *testing.T) Sources{
		"in the environment": func(*testing.T) Sources { return Sources{Environ: fromTemplate()} },
		"in .env": func(t *testing.T) Sources {
			var file strings.Builder
			for _, line := range fromTemplate() {
				key, value, _ := strings.Cut(line, "=")
				file.WriteString(key + "='" + value + "'\n")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(file.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			return Sources{Dir: dir}
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := Load(s(t))
			if err != nil {
				t.Fatal(err)
			}
			scalekit, ok := config.Provider.(*scalekit.Settings)
			if !ok || config.Kind != "scalekit" {
				t.Fatalf("the kind is %s", config.Kind)
			}
			if scalekit.EnvironmentURL != "https://acme.scalekit.com" ||
				scalekit.ResourceID != "res_103100112351265282" || scalekit.ClientSecret.Reveal() != "hunter2" {
				t.Errorf("the settings are %+v", scalekit)
			}
			if config.Resource.String() != "http://localhost:3002/" || config.Server.Listen != "127.0.0.1:3002" {
				t.Errorf("resource %s, listen %s", config.Resource, config.Server.Listen)
			}
			origins := map[string]string{}
			for _, v := range config.Effective {
				origins[v.Key] = v.Origin
				if strings.Contains(v.Value, "hunter2") {
					t.Errorf("%s shows the secret", v.Key)
				}
			}
			if !strings.Contains(origins["provider.environment_url"], "SK_ENV_URL") ||
				origins["provider.resource_id"] != "derived from provider.protected_resource_metadata" ||
				origins["resource"] != "derived from provider.protected_resource_metadata" {
				t.Errorf("origins: %v", origins)
			}
			if len(config.Notes) != 1 || !strings.Contains(config.Notes[0], "SK_ENV_URL as provider.environment_url") {
				t.Errorf("notes: %q", config.Notes)
			}
		})
	}
}

func TestLegacyNamesSetOurSettings(t *testing.T) {
	const env, id = "SCALEKIT_ENVIRONMENT_URL=https://acme.scalekit.com", "SCALEKIT_RESOURCE_ID=res_1"
	for name, c := range map[string]struct {
		environ []string
		flags   map[string]string
		key     string
		want    string
	}{
		"FastMCP's environment": {[]string{env, id}, nil, "provider.environment_url",
			"https://acme.scalekit.com"},
		"FastMCP's resource id": {[]string{env, id}, nil, "provider.resource_id", "res_1"},
		"the id under MCP_SERVER_ID": {[]string{env, "MCP_SERVER_ID=res_2"}, nil,
			"provider.resource_id", "res_2"},
		"the id as the expected audience": {[]string{env, "EXPECTED_AUDIENCE=res_3"}, nil,
			"provider.resource_id", "res_3"},
		"MCP_URL": {[]string{env, id, "MCP_URL=https://mcp.example.com/mcp"},
			nil, "resource", "https://mcp.example.com/mcp"},
		"BASE_URL": {[]string{env, id, "BASE_URL=https://mcp.example.com"}, nil,
			"resource", "https://mcp.example.com"},
		"BASE_URL and MCP_URL, the same": {[]string{env, id, "BASE_URL=https://mcp.example.com",
			"MCP_URL=https://mcp.example.com/"}, nil, "resource", "https://mcp.example.com"},
		"PORT, for this computer": {[]string{env, id, "PORT=4000"}, nil, "server.listen",
			"127.0.0.1:4000"},
		"PORT, for a public resource": {[]string{env, id, "PORT=4000",
			"MCP_URL=https://mcp.example.com/mcp"}, nil, "server.listen", ":4000"},
		"PORT, with a public resource as a flag": {[]string{env, id, "PORT=4000"},
			map[string]string{"resource": "https://mcp.example.com/mcp"}, "server.listen", ":4000"},
		"an empty variable": {[]string{env, id, "PORT="}, nil, "server.listen",
			"127.0.0.1:3002"},
		"a flag overrides": {[]string{env, id},
			map[string]string{"provider.resource_id": "res_9"}, "provider.resource_id", "res_9"},
		"two names with one value": {[]string{env, id, "GATEHOUSE_PROVIDER__RESOURCE_ID=res_1"},
			nil, "provider.resource_id", "res_1"},
		"an environment with a slash and one without": {[]string{env, id, "SK_ENV_URL=https://acme.scalekit.com/"},
			nil, "provider.resource_id", "res_1"},
		"PORT without another variable of Scalekit": {[]string{"PORT=4000", "BASE_URL=https://x.example"}, nil,
			"server.listen", "127.0.0.1:3002"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := Load(Sources{Environ: c.environ, Flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range config.Effective {
				if v.Key == c.key && v.Value != c.want {
					t.Errorf("%s is %q (%s), want %q", c.key, v.Value, v.Origin, c.want)
				}
			}
			for key := range c.flags {
				if strings.Contains(strings.Join(config.Notes, "\n"), " as "+key) {
					t.Errorf("the variable for %s is noted, which a flag overrides: %q", key, config.Notes)
				}
			}
		})
	}
}

func TestLegacyConflictsAreReported(t *testing.T) {
	const env, id = "SK_ENV_URL=https://acme.scalekit.com", "SCALEKIT_RESOURCE_ID=res_1"
	profile := filepath.Join(t.TempDir(), "oidc.yaml")
	if err := os.WriteFile(profile, []byte("provider: {kind: oidc, issuer: https://login.example.com}\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sources Sources
		key     string
		says    []string
	}{
		"two legacy names": {Sources{Environ: []string{env, id,
			"SCALEKIT_ENVIRONMENT_URL=https://other.scalekit.com"}}, "SCALEKIT_ENVIRONMENT_URL",
			[]string{"https://other.scalekit.com", "SK_ENV_URL", "https://acme.scalekit.com"}},
		"two ids": {Sources{Environ: []string{env, id, "MCP_SERVER_ID=res_2"}}, "MCP_SERVER_ID",
			[]string{"res_2", "SCALEKIT_RESOURCE_ID", "res_1"}},
		"two addresses": {Sources{Environ: []string{env, id, "MCP_URL=https://a.example/mcp",
			"BASE_URL=https://a.example"}}, "BASE_URL", []string{"MCP_URL", "https://a.example/mcp"}},
		"a name of ours": {Sources{Environ: []string{env, id, "GATEHOUSE_PROVIDER__RESOURCE_ID=res_2"}},
			"SCALEKIT_RESOURCE_ID", []string{"GATEHOUSE_PROVIDER__RESOURCE_ID", "res_2"}},
		"a port and an address": {Sources{Environ: []string{env, id, "PORT=4000",
			"GATEHOUSE_SERVER__LISTEN=:5000"}}, "PORT", []string{"GATEHOUSE_SERVER__LISTEN"}},
		"secrets, redacted": {Sources{Environ: []string{env, id, "SK_CLIENT_SECRET=hunter2",
			"GATEHOUSE_PROVIDER__CLIENT_SECRET=hunter22"}}, "SK_CLIENT_SECRET", []string{"[redacted]"}},
		"an invalid port": {Sources{Environ: []string{env, id, "PORT=http"}}, "PORT",
			[]string{"not a port"}},
		"an audience and a URL": {Sources{Environ: []string{env, id, "EXPECTED_AUDIENCE=https://a.example/mcp",
			"MCP_URL=https://b.example/mcp"}}, "provider.expected_audience",
			[]string{"https://a.example/mcp", "https://b.example/mcp"}},
		"metadata of another id": {Sources{Environ: fromTemplate(id)}, "provider.protected_resource_metadata",
			[]string{"res_103100112351265282", "res_1"}},
		"metadata in shell quotes": {Sources{Environ: []string{env, id,
			`PROTECTED_RESOURCE_METADATA='{"resource":"x"}'`}}, "provider.protected_resource_metadata",
			[]string{"quotes around it"}},
		"metadata escaped": {Sources{Environ: []string{env, id,
			`PROTECTED_RESOURCE_METADATA={\"resource\":\"x\"}`}}, "provider.protected_resource_metadata",
			[]string{"escaped"}},
		"metadata truncated": {Sources{Environ: []string{env, id, `PROTECTED_RESOURCE_METADATA={`}},
			"provider.protected_resource_metadata", []string{"the end is missing"}},
		"metadata that is not JSON": {Sources{Environ: []string{env, id,
			`PROTECTED_RESOURCE_METADATA={resource: x}`}}, "provider.protected_resource_metadata",
			[]string{"not JSON, at character 2"}},
		"another kind as a flag": {Sources{Environ: []string{env, id},
			Flags: map[string]string{"provider.kind": "local"}}, "provider.kind", []string{`"local"`, "SK_ENV_URL"}},
		"another kind in a profile": {Sources{Profile: profile, Environ: []string{env}}, "provider.kind",
			[]string{`"oidc"`, "SK_ENV_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			report := mustRefuse(t, c.sources)
			text := report.Error()
			if strings.Contains(text, "hunter2") {
				t.Error("the report shows a secret")
			}
			for _, p := range report {
				if p.Key != c.key {
					continue
				}
				one := Problems{p}.Error()
				for _, want := range c.says {
					if !strings.Contains(one, want) {
						t.Errorf("%q is missing:\n%s", want, one)
					}
				}
				return
			}
			t.Errorf("no problem of %s:\n%s", c.key, text)
		})
	}
}
