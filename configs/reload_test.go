package configs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
)

// A setting without a class would need a restart unseen.
func TestKeys_HaveAReloadClass(t *testing.T) {
	for _, key := range Keys() {
		if !slices.Contains([]ReloadClass{ReloadLive, ReloadNew, ReloadRestart}, key.Reload) {
			t.Errorf("%s of kind %q: the tag reload is %q", key.Name, key.Kind, key.Reload)
		}
		known := []Loosening{"", LoosenedByRaising, LoosenedByAdding, LoosenedByRemoving, LoosenedByTrue, LoosenedByAny}
		if !slices.Contains(known, key.Loosens) {
			t.Errorf("%s of kind %q: the tag loosens is %q", key.Name, key.Kind, key.Loosens)
		}
	}
}

// What Compare compares and what is documented are the same.
func TestConfig_HasAValueOfEveryKey(t *testing.T) {
	for _, kind := range Kinds() {
		config := mustLoad(t, validSources(t, kind.Name))
		values := config.values()
		for _, key := range config.keys {
			if _, ok := values[key.Name]; !ok {
				t.Errorf("%s of kind %q has no value", key.Name, kind.Name)
			}
		}
		if len(values) != len(config.keys) {
			t.Errorf("kind %s has %d keys and %d values", kind.Name, len(config.keys), len(values))
		}
	}
}

// validSources are the sources that a kind needs.
func validSources(t *testing.T, kind string) Sources {
	s := Sources{Flags: validFlags(kind)}
	if kind == "broker" {
		s.Environ = []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=the secret of the client"}
		s.Flags["provider.secrets_file"] = write(t, "secrets", seal.NewSecret())
	}
	return s
}

// validFlags are the settings that a kind needs.
func validFlags(kind string) map[string]string {
	flags := map[string]string{"provider.kind": kind}
	switch kind {
	case "oidc":
		flags["provider.issuer"] = "https://login.example.com"
	case "broker":
		flags["provider.issuer"], flags["provider.client_id"] = "https://login.example.com", "gatehouse"
		flags["provider.scope_rules"] = "* > mcp:use"
	case "scalekit":
		flags["provider.environment_url"], flags["provider.resource_id"] = "https://acme.scalekit.com", "res_123"
	}
	return flags
}

func TestCompare_NamesChangesAndWhatTheyLoosen(t *testing.T) {
	base := validFlags("oidc")
	for key, value := range map[string]string{
		"scopes.required": "a,b", "scopes.implies": "admin > a b", "server.allowed_origins": "https://one.example",
		"server.trusted_proxies": "192.0.2.1/32", "provider.allowed_clients": "web",
		"provider.audience_mode": "client_allow_list", "resource": "https://mcp.example.com/mcp",
	} {
		base[key] = value
	}
	for name, c := range map[string]struct {
		key, value string
		loosens    bool
	}{
		"a required scope less":          {"scopes.required", "a", true},
		"another required scope":         {"scopes.required", "a,b,c", false},
		"required scopes in other order": {"scopes.required", "b,a", false},
		"one required scope for another": {"scopes.required", "a,c", true},
		"an implied scope more":          {"scopes.implies", "admin > a b c", true},
		"an implied scope less":          {"scopes.implies", "admin > a", false},
		"the same in two lines":          {"scopes.implies", "admin > a,admin > b", false},
		"implied by way of another":      {"scopes.implies", "admin > a b,a > c", true},
		"another origin":                 {"server.allowed_origins", "https://one.example,https://two.example", true},
		"no origin":                      {"server.allowed_origins", "", false},
		"another proxy":                  {"server.trusted_proxies", "192.0.2.1/32,192.0.2.2/32", true},
		"more failures":                  {"server.failed_auth_per_minute", "301", true},
		"fewer failures":                 {"server.failed_auth_per_minute", "299", false},
		"longer calls":                   {"mcp.call_timeout", "6m", true},
		"shorter calls":                  {"mcp.call_timeout", "1m", false},
		"more sessions":                  {"mcp.max_sessions", "1001", true},
		"all tools":                      {"tools.show_all", "true", true},
		"another client":                 {"provider.allowed_clients", "web,cli", true},
		"no guard":                       {"provider.id_token_guard", "false", true},
		"a stricter provider":            {"provider.algorithms", "ES256", true},
		"another level":                  {"log.level", "debug", false},
		"another drain time":             {"server.drain_time", "9s", false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(base)
			changed[c.key] = c.value
			if c.value == "" {
				delete(changed, c.key)
			}
			changes := Compare(mustLoad(t, Sources{Flags: base}), mustLoad(t, Sources{Flags: changed}))
			i := slices.IndexFunc(changes, func(one Change) bool { return one.Key == c.key })
			if i < 0 {
				t.Fatalf("%s is not among %v", c.key, changes)
			}
			if changes[i].Loosens != c.loosens {
				t.Errorf("%s = %s loosens: %v, want %v", c.key, c.value, changes[i].Loosens, c.loosens)
			}
		})
	}
	if changes := Compare(mustLoad(t, Sources{Flags: base}), mustLoad(t, Sources{Flags: base})); changes != nil {
		t.Errorf("without a change there are %v", changes)
	}
}

// A secret is compared, and neither its value nor that it is set appears anywhere.
func TestCompare_SecretsHaveNoValues(t *testing.T) {
	load := func(secret string) *Config {
		flags := validFlags("oidc")
		for key, value := range map[string]string{
			"provider.introspection": "opaque", "provider.client_id": "me",
		} {
			flags[key] = value
		}
		file := write(t, "secret", secret)
		return mustLoad(t, Sources{
			Flags: flags, Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" + file},
		})
	}
	before, after := load("hunter2-before"), load("hunter2-after")
	changes := Compare(before, after)
	if len(changes) != 1 || changes[0].Key != "provider.client_secret" || changes[0].Loosens {
		t.Errorf("the changes are %v", changes)
	}
	if text := fmt.Sprintf("%+v %#v %v", changes, changes, CheckReload(before, after)); strings.Contains(text, "hunter2") {
		t.Errorf("a secret is printed: %s", text)
	}
}

func TestCheckReload_RefusesByKeyAndCode(t *testing.T) {
	const profile = "provider:\n  kind: oidc\n  issuer: https://login.example.com\nscopes:\n  required: [mcp:use]\n"
	type files struct{ profile, dotEnv string }
	for name, c := range map[string]struct {
		before, after files
		environ       []string
		want          []string // key and code of each problem
	}{
		"nothing":        {before: files{profile: profile}, after: files{profile: profile + "# a comment\n"}},
		"a live setting": {before: files{profile: profile}, after: files{profile: profile + "tools:\n  show_all: true\n"}},
		"no required scope": {
			before: files{profile: profile}, after: files{profile: profile[:strings.Index(profile, "scopes")]},
			want: []string{"scopes.required insecure"},
		},
		"an empty list of required scopes": {
			before: files{profile: profile}, after: files{profile: strings.Replace(profile, "[mcp:use]", "[]", 1)},
			want: []string{"scopes.required insecure"},
		},
		"settings that need a restart": {
			before: files{profile: profile},
			after: files{profile: profile + "resource: http://localhost:9999/mcp\nmcp:\n  era: stateless\n" +
				"log:\n  format: json\naudit:\n  events: all\ntools:\n  demo: true\n"},
			want: []string{"resource needs_restart", "server.listen needs_restart", "mcp.era needs_restart",
				"tools.demo needs_restart", "log.format needs_restart", "audit.events needs_restart"},
		},
		"the local issuer for a real one": {
			before: files{profile: "provider:\n  kind: local\nscopes:\n  required: [mcp:use]\n"}, after: files{profile: profile},
			want: []string{"provider.kind needs_restart", "provider.issuer needs_restart"},
		},
		"scopes of the local issuer": {
			before: files{profile: "provider:\n  kind: local\nscopes:\n  required: [a]\n"},
			after:  files{profile: "provider:\n  kind: local\nscopes:\n  required: [b]\n"},
			want:   []string{"scopes.required needs_restart", "scopes.initial needs_restart"},
		},
		"oidc for scalekit": {
			before: files{profile: profile},
			after: files{profile: "provider:\n  kind: scalekit\n  environment_url: https://acme.scalekit.com\n" +
				"  resource_id: res_123\nscopes:\n  required: [mcp:use]\n"},
		},
		"an empty profile, with all in the environment": {
			before: files{profile: profile},
			environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc", "GATEHOUSE_PROVIDER__ISSUER=https://login.example.com",
				"GATEHOUSE_SCOPES__REQUIRED=mcp:use"},
			want: []string{"config missing"},
		},
		"nothing but comments, with all in the environment": {
			before: files{profile: profile}, after: files{profile: "# provider:\n#   kind: oidc\n"},
			environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc", "GATEHOUSE_PROVIDER__ISSUER=https://login.example.com",
				"GATEHOUSE_SCOPES__REQUIRED=mcp:use"},
			want: []string{"config missing"},
		},
		"a profile without the kind, which is in the environment": {
			before:  files{profile: profile},
			after:   files{profile: strings.Replace(profile, "  kind: oidc\n", "", 1)},
			environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc"},
			want:    []string{"provider.kind missing"},
		},
		"a profile with a preset for the kind": {
			before: files{profile: profile},
			after:  files{profile: strings.Replace(profile, "  kind: oidc\n", "  preset: keycloak\n", 1)},
		},
		"no .env": {
			before: files{profile: profile, dotEnv: "GATEHOUSE_TOOLS__SHOW_ALL=true\n"}, after: files{profile: profile},
			want: []string{".env missing"},
		},
		"no .env, which was for another program": {
			before: files{profile: profile, dotEnv: "PORT=1\nOTHER=2\n"}, after: files{profile: profile},
		},
	} {
		t.Run(name, func(t *testing.T) {
			load := func(f files) *Config {
				dir := t.TempDir()
				if f.dotEnv != "" {
					if err := os.WriteFile(filepath.Join(dir, dotEnv), []byte(f.dotEnv), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return mustLoad(t, Sources{Profile: write(t, "p.yaml", f.profile), Dir: dir, Environ: c.environ})
			}
			problems := CheckReload(load(c.before), load(c.after))
			var got []string
			for _, p := range problems {
				got = append(got, p.Key+" "+string(p.Code))
			}
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n%s", diff, problems.Summary())
			}
		})
	}
}

// A file of another program has thousands of settings that do not exist. Reporting them must neither take seconds nor
// fill the log, and their names, which may be anything that was pasted, do not appear in a summary.
func TestProblems_OfAForeignFileAreFew(t *testing.T) {
	var profile strings.Builder
	profile.WriteString("provider.kind: local\nresource: 12\n")
	for i := range 20_000 {
		fmt.Fprintf(&profile, "canary_%s_%d: 1\n", strings.Repeat("k", 20), i)
	}
	begin := time.Now()
	_, err := Load(Sources{Profile: write(t, "p.yaml", profile.String())})
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	problems, _ := errors.AsType[Problems](err)
	if len(problems) < maxUnknown || len(problems) > maxUnknown+10 {
		t.Errorf("%d problems", len(problems))
	}
	if !strings.Contains(err.Error(), "there are 19950 more settings that do not exist") {
		t.Errorf("%.2000s", err)
	}
	summary := problems.Summary()
	if len(summary) > 2_000 || strings.Contains(summary, "canary_") || !strings.HasSuffix(summary, " more") {
		t.Errorf("the summary is %s", summary)
	}
	if settings := problems.Settings(); !slices.Equal(settings, []string{"resource"}) {
		t.Errorf("the settings are %q", settings)
	}
}

// The variables of OpenTelemetry are no settings, and a change of them does not act before a restart.
func TestCheckReload_VariablesOfOpenTelemetry(t *testing.T) {
	load := func(headers string) *Config {
		return mustLoad(t, Sources{
			Environ: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://c.example", "OTEL_EXPORTER_OTLP_HEADERS=key=" + headers},
			Flags:   map[string]string{"telemetry.traces": "otlp"},
		})
	}
	if got := CheckReload(load("a"), load("a")); len(got) > 0 {
		t.Errorf("without a change: %v", got)
	}
	if got := CheckReload(load("a"), load("b")).Summary(); got != "OTEL_* (needs_restart, .env)" {
		t.Errorf("it is %q", got)
	}
}

// Settings of a kind in another module have no tag.
func TestCheckReload_WithoutATagASettingNeedsARestart(t *testing.T) {
	load := func(url string) *Config {
		return mustLoad(t, Sources{
			Flags:      map[string]string{"provider.kind": "other", "provider.url": url},
			ExtraKinds: []Kind{{Name: "other", Defaults: func() providers.Settings { return &untagged{} }}},
		})
	}
	got := CheckReload(load("a"), load("b")).Summary()
	if got != "provider.url (needs_restart, flag --provider.url)" {
		t.Errorf("it is %q", got)
	}
}

type untagged struct {
	URL string `koanf:"url" help:"x"`
}

func (*untagged) Validate(providers.Resource, func(providers.Problem)) {}
func (*untagged) Open(context.Context, providers.ServerInfo) (providers.Provider, error) {
	return nil, errors.New("it is never opened")
}
