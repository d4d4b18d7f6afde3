package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/mcptools/demo"
	"gatehouse/providers"
	"gatehouse/providers/local"
)

func mustLoad(t testing.TB, s Sources) *Config {
	t.Helper()
	config, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// effective returns the effective value of key, with its origin.
func effective(t testing.TB, c *Config, key string) Value {
	t.Helper()
	i := slices.IndexFunc(c.Effective, func(v Value) bool { return v.Key == key })
	if i < 0 {
		t.Fatalf("%s is not in Effective", key)
	}
	return c.Effective[i]
}

const localKind = "provider:\n  kind: local\n"

func TestBuiltInProfileAppliesWithoutSources(t *testing.T) {
	config := mustLoad(t, Sources{})
	if config.Kind != "local" || config.Resource.String() != "http://localhost:3002/mcp" {
		t.Errorf("kind %s, resource %s", config.Kind, config.Resource)
	}
	if len(config.Notes) > 0 {
		t.Errorf("notes: %q", config.Notes)
	}
}

// Each layer sets max_body_bytes to a different number.
func TestLaterLayersWin(t *testing.T) {
	const key = "server.max_body_bytes"
	profile := write(t, "profile.yaml", localKind+"server:\n  max_body_bytes: 2001\n")
	silent := write(t, "silent.yaml", localKind)
	dir := filepath.Dir(write(t, ".env", "GATEHOUSE_SERVER__MAX_BODY_BYTES=2002\n"))
	type layers struct{ profile, dot, environment, flag bool }
	load := func(set layers) Value {
		s := Sources{Profile: silent}
		if set.profile {
			s.Profile = profile
		}
		if set.dot {
			s.Dir = dir
		}
		if set.environment {
			s.Environ = []string{"GATEHOUSE_SERVER__MAX_BODY_BYTES=2003"}
		}
		if set.flag {
			s.Flags = map[string]string{key: "2004"}
		}
		return effective(t, mustLoad(t, s), key)
	}
	var (
		byDefault     = Value{key, "1048576", "default"}
		byProfile     = Value{key, "2001", "profile " + profile + ":4"}
		byDot         = Value{key, "2002", "GATEHOUSE_SERVER__MAX_BODY_BYTES in .env"}
		byEnvironment = Value{key, "2003", "environment variable GATEHOUSE_SERVER__MAX_BODY_BYTES"}
		byFlag        = Value{key, "2004", "flag --server.max_body_bytes"}
	)
	for name, c := range map[string]struct {
		set  layers
		want Value
	}{
		"nothing leaves the default":        {layers{}, byDefault},
		"the profile beats the default":     {layers{profile: true}, byProfile},
		".env beats the default":            {layers{dot: true}, byDot},
		"the environment beats the default": {layers{environment: true}, byEnvironment},
		"a flag beats the default":          {layers{flag: true}, byFlag},
		".env beats the profile":            {layers{profile: true, dot: true}, byDot},
		"the environment beats the profile": {layers{profile: true, environment: true}, byEnvironment},
		"a flag beats the profile":          {layers{profile: true, flag: true}, byFlag},
		"the environment beats .env":        {layers{dot: true, environment: true}, byEnvironment},
		"a flag beats .env":                 {layers{dot: true, flag: true}, byFlag},
		"a flag beats the environment":      {layers{environment: true, flag: true}, byFlag},
		"a flag beats all others":           {layers{true, true, true, true}, byFlag},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, load(c.set)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettingsHaveTheSameMeaningInEveryLayer(t *testing.T) {
	for key, c := range map[string]struct{ yaml, text, want string }{
		"server.listen": {"127.0.0.1:4000", "127.0.0.1:4000", "127.0.0.1:4000"},
		"server.allowed_origins": {`["https://a.example", "https://b.example"]`,
			" https://a.example, https://b.example ,", "https://a.example,https://b.example"},
		"server.idle_timeout":     {"90s", "1m30s", "1m30s"},
		"mcp.max_sessions":        {"7", "7", "7"},
		"provider.auto_approve":   {"true", "1", "true"},
		"provider.token_lifetime": {"1h", "60m", "1h"},
		"provider.kind":           {"local", "local", "local"},
		"scopes.required":         {"[]", ",", ""},
		"provider.client_secret":  {"s3cret", "s3cret", redacted},
		"scopes.implies":          {`["a > b c"]`, "a > b c", "a > b c"},
		"server.max_header_bytes": {"8192", "8192", "8192"},
		"resource": {"http://localhost:3002/tools", "http://localhost:3002/tools",
			"http://localhost:3002/tools"},
		"log.level":                  {"debug", "debug", "debug"},
		"server.drain_time":          {"0s", "0", "0s"},
		"server.read_body_timeout":   {"1.5s", "1500ms", "1.5s"},
		"mcp.era":                    {"'stateless'", "stateless", "stateless"},
		"tools.show_all":             {"True", "TRUE", "true"},
		"server.trusted_proxies":     {"[10.0.0.0/8]", "10.0.0.0/8", "10.0.0.0/8"},
		"provider.signing_algorithm": {"ES256", "ES256", "ES256"},
	} {
		t.Run(key, func(t *testing.T) {
			// A profile may use the dotted form, too.
			yaml := "provider.kind: local\n"
			if key == kindKey {
				yaml = ""
			}
			name := "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
			dir := filepath.Dir(write(t, ".env", "export "+name+"='"+c.text+"'\n"))
			for layer, s := range map[string]Sources{
				"profile":     {Profile: write(t, "p.yaml", yaml+key+": "+c.yaml+"\n")},
				".env":        {Dir: dir},
				"environment": {Environ: []string{name + "=" + c.text}},
				"flag":        {Flags: map[string]string{key: c.text}},
			} {
				got := effective(t, mustLoad(t, s), key)
				if got.Value != c.want {
					t.Errorf("%s: %q, not %q", layer, got.Value, c.want)
				}
				if !strings.Contains(got.Origin, layer) {
					t.Errorf("%s: the origin is %q", layer, got.Origin)
				}
			}
		})
	}
}

func TestListReplacesTheListOfAnEarlierLayer(t *testing.T) {
	profile := write(t, "p.yaml", localKind+"scopes:\n  required: [a, b]\n  initial: [a, b, c]\n")
	config := mustLoad(t, Sources{Profile: profile, Environ: []string{"GATEHOUSE_SCOPES__REQUIRED=a"},
		Flags: map[string]string{"scopes.initial": "a,d"}})
	if diff := cmp.Diff(Scopes{Required: []string{"a"}, Initial: []string{"a", "d"}, Implies: []string{},
		Descriptions: []string{}}, config.Scopes); diff != "" {
		t.Error(diff)
	}
}

func TestScopes_DescriptionOf(t *testing.T) {
	profile := write(t, "p.yaml", localKind+"scopes:\n  descriptions:\n"+
		"    - api://x/mcp.use=Use the tools, all of them\n    - sum=a = b + c\n")
	want := map[string]string{"api://x/mcp.use": "Use the tools, all of them", "sum": "a = b + c"}
	if diff := cmp.Diff(want, mustLoad(t, Sources{Profile: profile}).Scopes.DescriptionOf()); diff != "" {
		t.Error(diff)
	}
	builtIn := mustLoad(t, Sources{}).Scopes.DescriptionOf()
	for _, scope := range append(demo.Scopes(), "mcp:use") {
		if builtIn[scope] == "" {
			t.Errorf("the built-in profile does not describe %s", scope)
		}
	}
}

func TestFlagCanEmptyAList(t *testing.T) {
	config := mustLoad(t, Sources{Flags: map[string]string{"server.allowed_origins": ""}})
	if got := config.Server.AllowedOrigins; len(got) > 0 {
		t.Errorf("the list of the profile is still in force: %q", got)
	}
}

func TestInitialScopesDefaultToRequiredScopes(t *testing.T) {
	profile := write(t, "p.yaml", localKind+"scopes:\n  required: [a, b]\n")
	config := mustLoad(t, Sources{Profile: profile})
	if !slices.Equal(config.Scopes.Initial, []string{"a", "b"}) {
		t.Errorf("initial: %q", config.Scopes.Initial)
	}
	if diff := cmp.Diff(Value{"scopes.initial", "a,b", "derived from scopes.required"},
		effective(t, config, "scopes.initial")); diff != "" {
		t.Error(diff)
	}
	config.Scopes.Initial[0] = "x"
	if config.Scopes.Required[0] != "a" {
		t.Error("the two lists share their entries")
	}
}

func TestEnvironment(t *testing.T) {
	t.Run("an empty variable counts as unset", func(t *testing.T) {
		config := mustLoad(t, Sources{Environ: []string{"GATEHOUSE_LOG__LEVEL=", "GATEHOUSE_PROVIDER__KIND=",
			"GATEHOUSE_CONFIG=", "GATEHOUSE_NO_SUCH_THING="}})
		if got := effective(t, config, "log.level"); got.Value != "info" || got.Origin != "default" {
			t.Errorf("log.level: %+v", got)
		}
	})
	t.Run("an empty variable in .env counts as unset", func(t *testing.T) {
		dir := filepath.Dir(write(t, ".env", "GATEHOUSE_LOG__LEVEL=\nGATEHOUSE_LOG__FORMAT=\"\"\n"))
		if got := effective(t, mustLoad(t, Sources{Dir: dir}), "log.level").Origin; got != "default" {
			t.Errorf("from %s", got)
		}
	})
	t.Run("variables without the prefix are ignored", func(t *testing.T) {
		mustLoad(t, Sources{Environ: []string{"PATH=/bin", "LOG__LEVEL=loud", "MY_GATEHOUSE_LOG__LEVEL=loud",
			"HOUSE_LOG__LEVEL=loud", "GATEHOUS_URL=loud", "GATEHOSE_LOG__LEVEL=", "=", ""}})
	})
	t.Run("a value may contain an equals sign", func(t *testing.T) {
		config := mustLoad(t, Sources{Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=a=b="}})
		if got := config.Provider.(*local.Settings).ClientSecret.Reveal(); got != "a=b=" {
			t.Errorf("%q", got)
		}
	})
	t.Run("the variables of Kubernetes for Services are ignored", func(t *testing.T) {
		mustLoad(t, Sources{Environ: []string{
			"GATEHOUSE_SERVICE_HOST=10.0.0.1",
			"GATEHOUSE_SERVICE_PORT=3002",
			"GATEHOUSE_SERVICE_PORT_HTTP_MCP=3002",
			"GATEHOUSE_PORT=tcp://10.0.0.1:3002",
			"GATEHOUSE_PORT_3002_TCP=tcp://10.0.0.1:3002",
			"GATEHOUSE_PORT_3002_TCP_PROTO=tcp",
			"GATEHOUSE_PORT_3002_TCP_PORT=3002",
			"GATEHOUSE_PORT_3002_TCP_ADDR=10.0.0.1",
			// A Service called gatehouse-issuer.
			"GATEHOUSE_ISSUER_SERVICE_HOST=10.0.0.2",
			"GATEHOUSE_ISSUER_SERVICE_PORT=9000",
			"GATEHOUSE_ISSUER_PORT=tcp://10.0.0.2:9000",
			"GATEHOUSE_ISSUER_PORT_9000_TCP_ADDR=10.0.0.2",
			"GATEHOUSE_ISSUER_PORT_53_UDP=udp://10.0.0.2:53",
		}})
	})
	for variable, fix := range map[string]string{
		"GATEHOUSE_PORT=3002":                      "remove it; `gatehouse serve --help` lists all settings",
		"GATEHOUSE_SERVER_PORT=3002":               "remove it; `gatehouse serve --help` lists all settings",
		"GATEHOUSE_SERVER_LISTEN=:3002":            "did you mean GATEHOUSE_SERVER__LISTEN?",
		"GATEHOUSE_LISTEN=:3002":                   "did you mean GATEHOUSE_SERVER__LISTEN?",
		"GATEHOUSE_KIND=local":                     "did you mean GATEHOUSE_PROVIDER__KIND?",
		"GATEHOUSE_PROVIDER_CLIENT_SECRET=hunter2": "did you mean GATEHOUSE_PROVIDER__CLIENT_SECRET?",
		"GATEHOUSE_CLIENT_SECRET_FILE=x":           "did you mean GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE?",
		"GATEHOUSE_SERVER=:3002":                   "set what is in it, such as GATEHOUSE_SERVER__LISTEN",
		"GATEHOUSE_SERVER__LISTEN__PORT=3002": "give GATEHOUSE_SERVER__LISTEN one value " +
			"(host:port to listen on)",
		"GATEHOUSE_=x": "remove it; `gatehouse serve --help` lists all settings",
	} {
		t.Run("no setting: "+variable, func(t *testing.T) {
			p := mustRefuseOne(t, Sources{Environ: []string{variable}})
			name, _, _ := strings.Cut(variable, "=")
			if p.Fix != fix || p.Origin != "environment variable "+name || p.Value != "" {
				t.Errorf("%+v", p)
			}
		})
	}
	t.Run("a list is written without brackets", func(t *testing.T) {
		p := mustRefuseOne(t, Sources{Environ: []string{"GATEHOUSE_SCOPES__REQUIRED=[mcp:use]"}})
		if !strings.Contains(p.Fix, "a,b") {
			t.Errorf("%+v", p)
		}
	})
}

func TestDotEnv(t *testing.T) {
	t.Run("it is read only from Dir", func(t *testing.T) {
		dir := filepath.Dir(write(t, ".env", "GATEHOUSE_LOG__LEVEL=debug\n"))
		child := filepath.Join(dir, "child")
		if err := os.Mkdir(child, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir)
		for dir, want := range map[string]string{dir: "debug", child: "info", "": "info",
			filepath.Join(dir, "none"): "info"} {
			if got := mustLoad(t, Sources{Dir: dir}).Log.Level; got != want {
				t.Errorf("Dir %q: log.level is %s", dir, got)
			}
		}
	})
	t.Run("it may have variables of other programs", func(t *testing.T) {
		dir := filepath.Dir(write(t, ".env",
			"# a comment\nAWS_REGION=eu-central-1\n\nexport GATEHOUSE_LOG__LEVEL=\"debug\" # ours\n"))
		if got := mustLoad(t, Sources{Dir: dir}).Log.Level; got != "debug" {
			t.Error(got)
		}
	})
	t.Run("it does not change the environment of the process", func(t *testing.T) {
		dir := filepath.Dir(write(t, ".env", "GATEHOUSE_LOG__FORMAT=json\n"))
		mustLoad(t, Sources{Dir: dir})
		if _, set := os.LookupEnv("GATEHOUSE_LOG__FORMAT"); set {
			t.Error("the variable is in the environment")
		}
	})
	t.Run("a folder of that name is a problem", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, ".env"), 0o700); err != nil {
			t.Fatal(err)
		}
		if p := mustRefuseOne(t, Sources{Dir: dir}); p.Key != ".env" || !strings.Contains(p.Reason, "directory") {
			t.Errorf("%+v", p)
		}
	})
	t.Run("a file without permission is a problem", func(t *testing.T) {
		path := write(t, ".env", "GATEHOUSE_LOG__LEVEL=debug\n")
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(path); err == nil {
			t.Skip("this user may read every file")
		}
		if p := mustRefuseOne(t, Sources{Dir: filepath.Dir(path)}); p.Key != ".env" ||
			!strings.Contains(p.Reason, "permission denied") {
			t.Errorf("%+v", p)
		}
	})
	// The errors of the parser quote the rest of the file.
	for name, c := range map[string]struct{ content, line string }{
		"a line without a name": {"A=1\nhunter2 hunter2\nGATEHOUSE_PROVIDER__CLIENT_SECRET=hunter2\n",
			"line 2 "},
		"a quote that does not end": {"GATEHOUSE_PROVIDER__CLIENT_SECRET=\"hunter2\nB=2\n", "line 1 "},
		"a name alone at the end of the file": {"A=1\nB='two\nlines'\nGATEHOUSE_PROVIDER__CLIENT_SECRET",
			"line 4 "},
		"a value alone":  {"A=1\n=hunter2\n", "line 2 "},
		"a line of JSON": {"{\"secret\": \"hunter2\"}", "line 1 "},
	} {
		t.Run(name+" is a problem that names the line only", func(t *testing.T) {
			dir := filepath.Dir(write(t, ".env", c.content))
			p := mustRefuseOne(t, Sources{Dir: dir})
			if p.Key != ".env" || !strings.Contains(p.Reason, c.line) {
				t.Errorf("%+v", p)
			}
			if s := (Problems{p}).Error(); strings.Contains(s, canary) {
				t.Errorf("the report shows a secret:\n%s", s)
			}
		})
	}
}

func TestProfileIsNamedByFlagOrVariable(t *testing.T) {
	debug := write(t, "debug.yaml", localKind+"log:\n  level: debug\n")
	warn := write(t, "warn.yaml", localKind+"log:\n  level: warn\n")
	dir := filepath.Dir(write(t, ".env", "GATEHOUSE_CONFIG="+debug+"\n"))
	for name, c := range map[string]struct {
		s    Sources
		want string
	}{
		"the flag":                  {Sources{Profile: debug}, "debug"},
		"the environment":           {Sources{Environ: []string{"GATEHOUSE_CONFIG=" + debug}}, "debug"},
		".env":                      {Sources{Dir: dir}, "debug"},
		"the environment, not .env": {Sources{Dir: dir, Environ: []string{"GATEHOUSE_CONFIG=" + warn}}, "warn"},
		"the flag, not the environment": {Sources{Profile: warn, Environ: []string{"GATEHOUSE_CONFIG=" + debug}},
			"warn"},
		"nothing: the built-in profile": {Sources{}, "info"},
		"an empty variable is ignored":  {Sources{Environ: []string{"GATEHOUSE_CONFIG="}}, "info"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustLoad(t, c.s).Log.Level; got != c.want {
				t.Errorf("log.level is %s", got)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	dot := filepath.Dir(write(t, ".env", "GATEHOUSE_CONFIG="+missing+"\n"))
	for origin, s := range map[string]Sources{
		"flag --config":                         {Profile: missing},
		"environment variable GATEHOUSE_CONFIG": {Environ: []string{"GATEHOUSE_CONFIG=" + missing}},
		"GATEHOUSE_CONFIG in .env":              {Dir: dot},
	} {
		t.Run("a missing profile: "+origin, func(t *testing.T) {
			p := mustRefuseOne(t, s)
			want := Problem{Key: "config", Origin: origin, Value: fmt.Sprintf("%q", missing),
				Code:   providers.CodeUnreadableFile,
				Reason: "the profile cannot be read: no such file or directory",
				Fix:    "name a file that exists, or leave it out for the built-in profile"}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a folder is no profile", func(t *testing.T) {
		if p := mustRefuseOne(t, Sources{Profile: t.TempDir()}); !strings.Contains(p.Reason, "directory") {
			t.Errorf("%+v", p)
		}
	})
	t.Run("other problems are reported as well", func(t *testing.T) {
		problems := mustRefuse(t, Sources{Profile: missing, Flags: map[string]string{"log.level": "loud"}})
		if len(problems) != 2 || problems[1].Key != "log.level" || problems[1].Origin != "flag --log.level" {
			t.Errorf("%v", problems)
		}
	})
}

// A wrong value that a later layer overrides would be in force once that layer is removed.
func TestWrongTypeIsRefusedInAnOverriddenLayer(t *testing.T) {
	profile := write(t, "p.yaml", localKind+"mcp:\n  max_sessions: many\n")
	p := mustRefuseOne(t, Sources{Profile: profile, Flags: map[string]string{"mcp.max_sessions": "3"}})
	if !strings.HasPrefix(p.Origin, "profile ") {
		t.Errorf("%+v", p)
	}
}

func TestProblemNamesTheEffectiveLayer(t *testing.T) {
	profile := write(t, "p.yaml", localKind+"mcp:\n  max_sessions: 3\n")
	p := mustRefuseOne(t, Sources{Profile: profile, Environ: []string{"GATEHOUSE_MCP__MAX_SESSIONS=0"}})
	if p.Origin != "environment variable GATEHOUSE_MCP__MAX_SESSIONS" {
		t.Errorf("%+v", p)
	}
}

func TestEverySettingRefusesOtherTypes(t *testing.T) {
	values := map[string]string{
		"string": "some text", "int": "7", "float": "0.5", "bool": "true", "list": "[a, b]",
		"list of numbers": "[1, 2]", "section": "{a: b}",
		"empty": "", "empty section": "{}", "date": "2026-07-28",
	}
	// Which of the above each type accepts. Any text is accepted as text, though perhaps not as a value.
	takes := map[string][]string{
		"string": {"string", "date"}, "int": {"int"}, "bool": {"bool"}, "duration": {}, "list": {"list"},
		"float": {"float"},
		"JSON":  {"list"}, "file": {"string", "date"},
	}
	for _, key := range keysWithUpstream() {
		accepted, known := takes[key.typeName()]
		if !known {
			t.Errorf("%s has a type that is unknown to this test: %s", key.Name, key.typeName())
		}
		for name, value := range values {
			if slices.Contains(accepted, name) {
				continue
			}
			t.Run(key.Name+" is "+name, func(t *testing.T) {
				profile := key.Name + ": " + value + "\n"
				if key.Name != kindKey {
					profile += kindKey + ": " + orLocal(key.Kind) + "\n"
				}
				problems := mustRefuse(t, Sources{Profile: write(t, "p.yaml", profile)})
				if !slices.ContainsFunc(problems, func(p Problem) bool {
					return p.Key == key.Name ||
						strings.HasPrefix(p.Key, key.Name+".")
				}) {
					t.Errorf("no problem of %s: %v", key.Name, problems)
				}
			})
		}
	}
}

func orLocal(kind string) string {
	if kind == "" {
		return "local"
	}
	return kind
}

func TestSecretsAreReadFromSeveralPlaces(t *testing.T) {
	const variable = "GATEHOUSE_PROVIDER__CLIENT_SECRET"
	file := write(t, "secret", canary+"\r\n")
	other := write(t, "other", "another")
	inProfile := write(t, "p.yaml", localKind+"  client_secret: "+canary+"\n")
	fileInProfile := write(t, "p.yaml", localKind+"  client_secret_file: "+file+"\n")
	dotEnvOf := func(line string) string { return filepath.Dir(write(t, ".env", line+"\n")) }
	for name, c := range map[string]struct {
		s      Sources
		origin string
	}{
		"the environment": {Sources{Environ: []string{variable + "=" + canary}},
			"environment variable " + variable},
		"a file that it names": {Sources{Environ: []string{variable + "_FILE=" + file}},
			"environment variable " + variable + "_FILE (file " + file + ")"},
		".env": {Sources{Dir: dotEnvOf(variable + "=" + canary)}, variable + " in .env"},
		"a file that .env names": {Sources{Dir: dotEnvOf(variable + "_FILE=" + file)},
			variable + "_FILE in .env (file " + file + ")"},
		"a profile": {Sources{Profile: inProfile}, "profile " + inProfile + ":3"},
		"a file that a profile names": {Sources{Profile: fileInProfile},
			"profile " + fileInProfile + ":3 (file " + file + ")"},
		"a file, over the secret in an earlier layer": {
			Sources{Dir: dotEnvOf(variable + "=other"), Environ: []string{variable + "_FILE=" + file}},
			"environment variable " + variable + "_FILE (file " + file + ")"},
		"the secret, over a file in an earlier layer": {
			Sources{Dir: dotEnvOf(variable + "_FILE=" + other), Environ: []string{variable + "=" + canary}},
			"environment variable " + variable},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, c.s)
			if got := config.Provider.(*local.Settings).ClientSecret.Reveal(); got != canary {
				t.Errorf("the secret is %q", got)
			}
			if diff := cmp.Diff(Value{"provider.client_secret", redacted, c.origin},
				effective(t, config, "provider.client_secret")); diff != "" {
				t.Error(diff)
			}
			var files []SecretFile
			if strings.HasSuffix(c.origin, "(file "+file+")") {
				files = []SecretFile{{"provider.client_secret_file", file}}
			}
			if diff := cmp.Diff(files, config.SecretFiles()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreadableSecretIsAProblem(t *testing.T) {
	const variable = "GATEHOUSE_PROVIDER__CLIENT_SECRET"
	unreadable := write(t, "unreadable", canary)
	if err := os.Chmod(unreadable, 0); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, reason string }{
		"the file is not there": {filepath.Join(t.TempDir(), "none"),
			"the secret cannot be read: no such file or directory"},
		"it is a directory":                  {t.TempDir(), "the secret cannot be read: is a directory"},
		"the file is empty":                  {write(t, "empty", ""), "the file is empty"},
		"the file has nothing but a newline": {write(t, "newline", "\n"), "the file is empty"},
		"the file has nothing but blanks":    {write(t, "blanks", "  \n"), "the file is empty"},
		"the file belongs to another user":   {unreadable, "the secret cannot be read: permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.ReadFile(c.path); err == nil && c.path == unreadable {
				t.Skip("this user may read every file")
			}
			p := mustRefuseOne(t, Sources{Environ: []string{variable + "_FILE=" + c.path}})
			if p.Key != "provider.client_secret_file" || p.Reason != c.reason ||
				p.Origin != "environment variable "+variable+"_FILE" {
				t.Errorf("%+v", p)
			}
		})
	}
	t.Run("it is set twice in one layer", func(t *testing.T) {
		p := mustRefuseOne(t, Sources{Environ: []string{variable + "=" + canary,
			variable + "_FILE=" + write(t, "secret", canary)}})
		if p.Reason != variable+" is also set" {
			t.Errorf("%+v", p)
		}
	})
}

// No way to print a configuration or a report shows a secret.
func TestSecretsAreNeverShown(t *testing.T) {
	file := write(t, "secret", canary)
	var log bytes.Buffer
	shows := func(t *testing.T, name string, printed any) {
		t.Helper()
		if s := fmt.Sprint(printed); strings.Contains(s, canary) {
			t.Errorf("%s shows it: %s", name, s)
		}
	}
	for where, s := range map[string]Sources{
		"environment": {Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + canary}},
		"file":        {Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" + file}},
		"profile":     {Profile: write(t, "p.yaml", localKind+"  client_secret: "+canary+"\n")},
	} {
		t.Run(where, func(t *testing.T) {
			config := mustLoad(t, s)
			if config.Provider.(*local.Settings).ClientSecret.Reveal() != canary {
				t.Fatal("the secret is not set")
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				shows(t, verb, fmt.Sprintf(verb, config))
				shows(t, verb+" of the value", fmt.Sprintf(verb, *config))
				shows(t, verb+" of the provider", fmt.Sprintf(verb, config.Provider))
				shows(t, verb+" of the provider's value", fmt.Sprintf(verb, *config.Provider.(*local.Settings)))
			}
			encoded, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			shows(t, "JSON", string(encoded))
			shows(t, "Effective", config.Effective)
			shows(t, "Notes", config.Notes)
			log.Reset()
			for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
				slog.New(handler).Info("loaded", "config", config, "value", *config, "provider", config.Provider,
					"secret", config.Provider.(*local.Settings).ClientSecret)
			}
			shows(t, "the log", log.String())
			s.Flags = map[string]string{"provider.signing_algorithm": "none", "log.level": "loud",
				"resource":               "https://alice:" + canary + "@mcp.example.com/mcp?key=" + canary,
				"server.allowed_origins": "https://" + canary + "@inspector.example.com,https://a.example/?key=" + canary}
			problems := mustRefuse(t, s)
			shows(t, "the report", problems.Error())
			shows(t, "the problems", fmt.Sprintf("%+v", problems))
		})
	}
}

func TestSecretUnderAWrongKeyIsNotShown(t *testing.T) {
	for name, s := range map[string]Sources{
		"environment, one underscore": {Environ: []string{"GATEHOUSE_PROVIDER_CLIENT_SECRET=" + canary}},
		"environment, other name":     {Environ: []string{"GATEHOUSE_SECRET=" + canary}},
		".env": {Dir: filepath.Dir(write(t, ".env",
			"GATEHOUSE_PROVIDER__CLIENTSECRET="+canary+"\n"))},
		"profile": {Profile: write(t, "p.yaml", localKind+"  secret: "+canary+"\n")},
		"profile, a level too deep": {Profile: write(t, "p.yaml",
			localKind+"  client_secret: {value: "+canary+"}\n")},
		"profile, a section": {Profile: write(t, "p.yaml", localKind+"server: "+canary+"\n")},
		"profile, a list":    {Profile: write(t, "p.yaml", localKind+"  client_secret: ["+canary+"]\n")},
		"profile, an alias":  {Profile: write(t, "p.yaml", localKind+"  client_secret: *"+canary+"\n")},
		"profile, a tag": {Profile: write(t, "p.yaml",
			localKind+"  client_secret: !!float "+canary+"\n")},
		"the secret as profile": {Profile: write(t, "secret", canary+"\n")},
		"flag":                  {Flags: map[string]string{"provider.secret": canary}},
	} {
		t.Run(name, func(t *testing.T) {
			if report := mustRefuse(t, s).Error(); strings.Contains(report, canary) {
				t.Errorf("the report shows it:\n%s", report)
			}
		})
	}
}

func TestListenFollowsTheResource(t *testing.T) {
	for name, c := range map[string]struct {
		flags  map[string]string
		listen string
		origin string
		notes  int
	}{
		"the default resource needs nothing": {nil, "127.0.0.1:3002", "default", 0},
		"another port of this computer is followed": {map[string]string{"resource": "http://localhost:4000/mcp"},
			"127.0.0.1:4000", "derived from resource", 0},
		"an address of this computer is followed": {map[string]string{"resource": "http://127.0.0.2:4000/mcp"},
			"127.0.0.2:4000", "derived from resource", 0},
		"IPv6 is followed, with the default port, too": {map[string]string{"resource": "http://[::1]:3002/mcp"},
			"[::1]:3002", "derived from resource", 0},
		"an explicit value stays": {map[string]string{"resource": "http://localhost:4000/mcp",
			"server.listen": "127.0.0.1:5000"}, "127.0.0.1:5000", "flag --server.listen", 1},
		"the same port on all addresses stays": {map[string]string{"resource": "http://localhost:4000/mcp",
			"server.listen": ":4000", "provider.dangerously_allow_public_resource": "true"}, ":4000",
			"flag --server.listen", 0},
		"the default port of http is left to a proxy": {map[string]string{"resource": "http://localhost/mcp"},
			"127.0.0.1:3002", "default", 1},
		"https is left to a proxy": {map[string]string{"resource": "https://localhost:8443/mcp"},
			"127.0.0.1:3002", "default", 1},
		"a public resource is not followed": {map[string]string{"resource": "https://mcp.example.com/mcp",
			"provider.dangerously_allow_public_resource": "true"}, "127.0.0.1:3002", "default", 1},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, Sources{Flags: c.flags})
			if config.Server.Listen != c.listen {
				t.Errorf("it listens on %s", config.Server.Listen)
			}
			if diff := cmp.Diff(Value{"server.listen", c.listen, c.origin},
				effective(t, config, "server.listen")); diff != "" {
				t.Error(diff)
			}
			if len(config.Notes) != c.notes {
				t.Errorf("notes: %q", config.Notes)
			}
		})
	}
}

func TestNotesNameBothPorts(t *testing.T) {
	config := mustLoad(t, Sources{Flags: map[string]string{"server.listen": "127.0.0.1:5000"}})
	want := []string{"clients dial port 3002 (resource), but the server listens on port 5000 (server.listen): " +
		"this works only if something forwards one to the other"}
	if diff := cmp.Diff(want, config.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestNotesNameDemoValuesOfAPublicServer(t *testing.T) {
	public := map[string]string{"provider.dangerously_allow_public_resource": "true",
		"resource": "https://mcp.example.com/mcp"}
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(public)
		maps.Copy(all, more)
		return all
	}
	const (
		origins = "server.allowed_origins (http://localhost:*,http://127.0.0.1:*), "
		rest    = "tools.demo (true), tools.show_all (true), scopes.required (mcp:use), " +
			"scopes.initial (mcp:use,greet:read)"
	)
	for name, c := range map[string]struct {
		sources Sources
		want    []string
	}{
		"no profile": {Sources{Flags: public}, []string{origins + rest}},
		"one of them is set": {Sources{Flags: with(map[string]string{"server.allowed_origins": "https://a.example"})},
			[]string{rest}},
		"a profile": {Sources{Profile: "local.yaml", Flags: public}, nil},
		"a resource on this computer": {
			Sources{Flags: with(map[string]string{"resource": "http://localhost:3002/mcp"})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			notes := mustLoad(t, c.sources).Notes
			if len(notes) != len(c.want) || len(notes) > 0 &&
				!strings.HasPrefix(notes[0], "these values are meant for the demo: "+c.want[0]+"; ") {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}

// A real provider does not know the scopes of the demo.
func TestBuiltInProfileAppliesToTheLocalIssuerOnly(t *testing.T) {
	const origin = "built-in profile local.yaml"
	ofDemo := map[string]string{"tools.demo": "true", "tools.show_all": "true", "scopes.required": "mcp:use",
		"scopes.initial":         "mcp:use,greet:read",
		"server.allowed_origins": "http://localhost:*,http://127.0.0.1:*"}
	preset := map[string]string{presetKey: "keycloak", "provider.issuer": keycloakIssuer}
	for name, c := range map[string]struct {
		sources Sources
		applies bool
	}{
		"nothing":              {Sources{}, true},
		"kind local as a flag": {Sources{Flags: map[string]string{kindKey: "local"}}, true},
		"kind oidc as a flag": {Sources{Flags: map[string]string{kindKey: "oidc",
			"provider.issuer": keycloakIssuer}}, false},
		"kind oidc, by variable": {Sources{Environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc",
			"GATEHOUSE_PROVIDER__ISSUER=" + keycloakIssuer}}, false},
		"a preset": {Sources{Flags: preset}, false},
		"a variable that implies one": {Sources{Environ: []string{"SK_ENV_URL=https://acme.scalekit.com",
			"SCALEKIT_RESOURCE_ID=res_103100112351265282", "MCP_URL=https://mcp.example.com/mcp"}}, false},
		"a profile of another kind": {Sources{Profile: "oidc.yaml"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, c.sources)
			for _, v := range config.Effective {
				if value, of := ofDemo[v.Key]; of && (v.Origin == origin && v.Value == value) != c.applies {
					t.Errorf("%s is %s (%s)", v.Key, v.Value, v.Origin)
				}
				if !c.applies && v.Origin == origin {
					t.Errorf("%s is taken from the built-in profile", v.Key)
				}
			}
		})
	}
	// A profile with the same settings applies if it is named.
	text, err := os.ReadFile("local.yaml")
	if err != nil {
		t.Fatal(err)
	}
	general := filepath.Join(t.TempDir(), "general.yaml")
	if err := os.WriteFile(general, bytes.Replace(text, []byte("  client_documents: false\n"), nil, 1),
		0o600); err != nil {
		t.Fatal(err)
	}
	named := mustLoad(t, Sources{Profile: general, Flags: map[string]string{kindKey: "oidc",
		"provider.issuer": keycloakIssuer}})
	if !named.Tools.Demo || len(named.Server.AllowedOrigins) == 0 {
		t.Error("a profile that is named does not apply")
	}
}

func TestDemoToolsAreOffUnlessSet(t *testing.T) {
	for profile, want := range map[string]bool{"local.yaml": true, "compose/demo.yaml": true,
		"compose/keycloak.yaml": false, "oidc.yaml": false, "scalekit.yaml": false} {
		config := mustLoad(t, Sources{Profile: profile,
			Environ: []string{"GATEHOUSE_RESOURCE=http://localhost:3002/mcp"},
			Flags:   scalekitFlags(profile)})
		if config.Tools.Demo != want || config.Tools.ShowAll != want {
			t.Errorf("%s: tools.demo is %t, tools.show_all %t", profile, config.Tools.Demo, config.Tools.ShowAll)
		}
	}
}

// scalekitFlags are the required settings that scalekit.yaml does not have.
func scalekitFlags(profile string) map[string]string {
	if profile != "scalekit.yaml" {
		return nil
	}
	return map[string]string{"provider.environment_url": "https://acme.scalekit.com",
		"provider.resource_id": "res_103100112351265282"}
}

// A provider may refuse a sign-in that requests a scope that it does not know.
func TestOnlyTheDemoProfilesNameScopesOfTheDemo(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yaml") || strings.HasPrefix(path, "testdata") ||
			slices.Contains([]string{"local.yaml", "compose/demo.yaml", "compose/broker.yaml"}, path) {
			return err
		}
		content, err := os.ReadFile(path)
		for _, scope := range demo.Scopes() {
			if strings.Contains(string(content), scope) {
				t.Errorf("%s names %s", path, scope)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImplications(t *testing.T) {
	config := mustLoad(t, Sources{
		Flags: map[string]string{"scopes.implies": "admin > read write, admin > stats,all>admin"}})
	want := map[string][]string{"admin": {"read", "write", "stats"}, "all": {"admin"}}
	if diff := cmp.Diff(want, map[string][]string(config.Scopes.Implications())); diff != "" {
		t.Error(diff)
	}
}

func TestLogLevels(t *testing.T) {
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError} {
		if got := mustLoad(t, Sources{Flags: map[string]string{"log.level": text}}).Log.SlogLevel(); got != want {
			t.Errorf("%s is %s", text, got)
		}
	}
}

func TestProblemsHaveAStableOrder(t *testing.T) {
	s := Sources{
		Profile: "testdata/bad/many.yaml",
		Environ: []string{"GATEHOUSE_C=1", "GATEHOUSE_B=1", "GATEHOUSE_A=1"},
		Dir: filepath.Dir(write(t, ".env",
			"GATEHOUSE_Z=1\nGATEHOUSE_Y=1\nGATEHOUSE_LOG__LEVEL=a\ngatehouse_x=1\nGATEHOUSE_log__level=b\n")),
	}
	want := mustRefuse(t, s).Error()
	for range 50 {
		if diff := cmp.Diff(want, mustRefuse(t, s).Error()); diff != "" {
			t.Fatal(diff)
		}
	}
}

// The two variables differ by a few letters, and the report is in the log of the container.
func TestSecretUnderItsFileKeyIsNotShown(t *testing.T) {
	report := mustRefuse(t, Sources{Environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" +
		canary}}).Error()
	if strings.Contains(report, canary) ||
		!strings.Contains(report, "for the secret itself use GATEHOUSE_PROVIDER__CLIENT_SECRET") {
		t.Errorf("the report is\n%s", report)
	}
}
