package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
)

const pinsFile = `{"server":"notes 1.0","tools":[{"sha256":"` +
	"0000000000000000000000000000000000000000000000000000000000000000" + `","definition":{"name":"read"}}]}`

// signingKey is a file with a key for identity: jwt.
func signingKey(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func TestUpstreams_OfAProfile(t *testing.T) {
	pins, variables := write(t, "pins.json", pinsFile), write(t, "files.env", "TOKEN=hunter2\n")
	secret, key := write(t, "secret", "hunter2\n"), signingKey(t)
	profile := write(t, "p.yaml", localKind+`upstreams:
  key_file: `+key+`
  tickets:
    url: http://tickets.internal:8080/mcp?tenant=hunter2
    authorization_file: `+secret+`
    identity: jwt
    prefix: ""
    call_timeout: 30s
    tools: ["get_* > tickets:read", "create_ticket > tickets:read tickets:write", ping]
  files:
    command: [npx, -y, "@modelcontextprotocol/server-filesystem@2026.8.31", "/srv/docs, old/{user}", --token, hunter2]
    env: ["LOG_LEVEL=warn", "A=b,c"]
    env_file: `+variables+`
    processes: per_user
    max_processes: 7
    idle: 1m
    max_message_bytes: 5000
    identity: meta
    pins: `+pins+`
    tools: ["*"]
`)
	c := mustLoad(t, Sources{Profile: profile})
	files := upstream.DefaultSettings("files")
	files.Command = upstream.Command{"npx", "-y", "@modelcontextprotocol/server-filesystem@2026.8.31",
		"/srv/docs, old/{user}", "--token", "hunter2"}
	files.Env = upstream.Environment{"LOG_LEVEL=warn", "A=b,c"}
	files.EnvFile = "TOKEN=hunter2"
	files.Processes, files.MaxProcesses, files.Idle = "per_user", 7, time.Minute
	files.MaxMessageBytes, files.Identity, files.Pins, files.Tools = 5000, "meta", pins, []string{"*"}
	files.Pinned, _ = upstream.ParsePins([]byte(pinsFile))
	tickets := upstream.DefaultSettings("tickets")
	tickets.URL, tickets.Authorization = "http://tickets.internal:8080/mcp?tenant=hunter2", "hunter2"
	tickets.Identity, tickets.Prefix, tickets.CallTimeout = "jwt", "", 30*time.Second
	tickets.Tools = []string{"get_* > tickets:read", "create_ticket > tickets:read tickets:write", "ping"}
	reveal := cmp.Comparer(func(a, b upstream.Command) bool { return slices.Equal(a, b) })
	if diff := cmp.Diff([]upstream.Settings{files, tickets}, c.Upstreams, reveal); diff != "" {
		t.Error(diff)
	}
	if signing, err := c.UpstreamKey.Key(); signing == nil || err != nil {
		t.Errorf("the key is not read: %v", err)
	}

	wantFiles := []SecretFile{{"upstreams.key_file", key}, {"upstreams.files.env_file", variables},
		{"upstreams.tickets.authorization_file", secret}}
	if diff := cmp.Diff(wantFiles, c.SecretFiles()); diff != "" {
		t.Error(diff)
	}

	for key, want := range map[string]string{
		"upstreams.key_file": "[redacted] (profile " + profile + ":4 (file " + key + "))",
		"upstreams.files.command": `["npx","-y","@modelcontextprotocol/server-filesystem@2026.8.31",` +
			`"/srv/docs, old/{user}","--token","[redacted]"] (profile ` + profile + ":13)",
		"upstreams.files.env":             "LOG_LEVEL=[redacted],A=[redacted] (profile " + profile + ":14)",
		"upstreams.files.env_file":        "[redacted] (profile " + profile + ":15 (file " + variables + "))",
		"upstreams.files.prefix":          "files_ (default)",
		"upstreams.files.idle":            "1m (profile " + profile + ":18)",
		"upstreams.tickets.prefix":        " (profile " + profile + ":9)",
		"upstreams.tickets.url":           "http://tickets.internal:8080/mcp?[redacted] (profile " + profile + ":6)",
		"upstreams.tickets.authorization": "[redacted] (profile " + profile + ":7 (file " + secret + "))",
		"upstreams.tickets.command":       " (default)",
		"upstreams.tickets.processes":     "shared (default)",
	} {
		v := effective(t, c, key)
		if got := v.Text() + " (" + v.Origin + ")"; got != want {
			t.Errorf("%s is\n%s, not\n%s", key, got, want)
		}
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v", c, *c), fmt.Sprint(c.Effective)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
}

// Each layer sets the URL; the others add sections of their own.
func TestUpstreams_OfEveryLayer(t *testing.T) {
	profile := write(t, "p.yaml", localKind+`
upstreams:
  notes: {url: "https://profile.example.com/mcp", tools: ["*"]}
  a: {command: [a], tools: ["*"]}
`)
	dir := filepath.Dir(write(t, ".env", `GATEHOUSE_UPSTREAMS__NOTES__URL=https://dotenv.example.com/mcp
GATEHOUSE_UPSTREAMS__B__COMMAND='["b", "x y", ""]'
GATEHOUSE_UPSTREAMS__B__TOOLS=read_* list > files:read files:list, write > files:write
`))
	environ := []string{"GATEHOUSE_UPSTREAMS__NOTES__URL=https://environment.example.com/mcp",
		`GATEHOUSE_UPSTREAMS__C__COMMAND=["c"]`, "GATEHOUSE_UPSTREAMS__C__TOOLS=*",
		"GATEHOUSE_UPSTREAMS__C__ENV=A=b,C=d"}
	flags := map[string]string{"upstreams.notes.url": "https://flag.example.com/mcp",
		"upstreams.d2.command": `["d", "1"]`, "upstreams.d2.tools": "*", "upstreams.d2.env": `["A=b,c"]`}
	for origin, s := range map[string]Sources{
		"https://profile.example.com/mcp (profile " + profile + ":5)": {Profile: profile},
		"https://dotenv.example.com/mcp (GATEHOUSE_UPSTREAMS__NOTES__URL in .env)": {
			Profile: profile, Dir: dir},
		"https://environment.example.com/mcp (environment variable GATEHOUSE_UPSTREAMS__NOTES__URL)": {
			Profile: profile, Dir: dir, Environ: environ},
		"https://flag.example.com/mcp (flag --upstreams.notes.url)": {
			Profile: profile, Dir: dir, Environ: environ, Flags: flags},
	} {
		v := effective(t, mustLoad(t, s), "upstreams.notes.url")
		if got := v.Text() + " (" + v.Origin + ")"; got != origin {
			t.Errorf("%s, not %s", got, origin)
		}
	}
	var got []string
	c := mustLoad(t, Sources{Profile: profile, Dir: dir, Environ: environ, Flags: flags})
	for _, u := range c.Upstreams {
		got = append(got, fmt.Sprintf("%s %q %q %q %s", u.Name, []string(u.Command), []string(u.Env), u.Tools, u.URL))
	}
	want := []string{
		`a ["a"] [] ["*"] `,
		`b ["b" "x y" ""] [] ["read_* list > files:read files:list" "write > files:write"] `,
		`c ["c"] ["A=b" "C=d"] ["*"] `,
		`d2 ["d" "1"] ["A=b,c"] ["*"] `,
		`notes [] [] ["*"] https://flag.example.com/mcp`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpstreams_ProblemsOfTextualLayers(t *testing.T) {
	for name, c := range map[string]struct {
		s    Sources
		want Problem // the reason is not compared
	}{
		"command without brackets": {
			Sources{Flags: map[string]string{"upstreams.files.command": "npx --api-key hunter2", "upstreams.files.tools": "*"}},
			Problem{Key: "upstreams.files.command", Origin: "flag --upstreams.files.command", Value: "[redacted]",
				Code: providers.CodeInvalidType, Fix: `write it like this: ["npx", "-y", "some-server"] (program and ` +
					`arguments of a server on stdio: a list; a JSON array in the environment and in flags)`},
		},
		"unknown key": {
			Sources{Environ: []string{"GATEHOUSE_UPSTREAMS__FILES__COMAND=[\"npx\"]", "GATEHOUSE_UPSTREAMS__FILES__TOOLS=*"}},
			Problem{Key: "upstreams.files.comand", Origin: "environment variable GATEHOUSE_UPSTREAMS__FILES__COMAND",
				Code: providers.CodeUnknownKey, Fix: "did you mean GATEHOUSE_UPSTREAMS__FILES__COMMAND?"},
		},
		"unknown section": {
			Sources{Environ: []string{"GATEHOUSE_UPSTREAM__FILES__COMMAND=[\"npx\"]"}},
			Problem{Key: "upstream.files.command", Origin: "environment variable GATEHOUSE_UPSTREAM__FILES__COMMAND",
				Code: providers.CodeUnknownKey, Fix: "did you mean GATEHOUSE_UPSTREAMS__FILES__COMMAND?"},
		},
		"misspelled prefix": {
			Sources{Environ: []string{"GATEHOSE_UPSTREAMS__FILES__COMMAND=[\"npx\"]"}},
			Problem{Key: "GATEHOSE_UPSTREAMS__FILES__COMMAND",
				Origin: "environment variable GATEHOSE_UPSTREAMS__FILES__COMMAND",
				Code:   providers.CodeUnknownKey, Fix: "did you mean GATEHOUSE_UPSTREAMS__FILES__COMMAND?"},
		},
		"bad name": {
			Sources{Flags: map[string]string{"upstreams.my-files.url": "https://a.example.com",
				"upstreams.my-files.tools": "*"}},
			Problem{Key: "upstreams.my-files", Origin: "flag --upstreams.my-files.tools",
				Code: providers.CodeInvalidValue, Fix: "did you mean upstreams.myfiles?"},
		},
		"file that does not exist": {
			Sources{Environ: []string{"GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION_FILE=testdata/missing/secret"},
				Flags: map[string]string{"upstreams.files.url": "https://a.example.com", "upstreams.files.tools": "*"}},
			Problem{Key: "upstreams.files.authorization_file", Value: `"testdata/missing/secret"`,
				Origin: "environment variable GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION_FILE",
				Code:   providers.CodeUnreadableFile, Fix: "name a file that the user who runs gatehouse can read, with the " +
					"secret in it; for the secret itself use GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION"},
		},
		"file without variables": {
			Sources{Flags: map[string]string{"upstreams.files.command": `["npx"]`, "upstreams.files.tools": "*",
				"upstreams.files.env_file": write(t, "env", "hunter2")}},
			Problem{Key: "upstreams.files.env_file", Value: "[redacted]", Code: providers.CodeInvalidSyntax,
				Fix: "write NAME=VALUE on each line, without quotes around the value"},
		},
		"pins that are none": {
			Sources{Flags: map[string]string{"upstreams.files.command": `["npx"]`, "upstreams.files.tools": "*",
				"upstreams.files.pins": write(t, "pins", "hunter2")}},
			Problem{Key: "upstreams.files.pins", Code: providers.CodeInvalidSyntax,
				Fix: "write it with `gatehouse upstream pin files`, and review it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustRefuseOne(t, c.s)
			if report := (Problems{got}).Error(); strings.Contains(report, "hunter2") {
				t.Errorf("a secret is shown: %s", report)
			}
			got.Reason = ""
			if c.want.Origin == "" {
				got.Origin = ""
			}
			if c.want.Code == providers.CodeInvalidSyntax && c.want.Value == "" {
				got.Value = "" // the path of the test
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A flag of an upstream is known only by the command line.
func TestAddUpstreamFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string // the flags that are set, or the error with its fix
	}{
		"with =": {[]string{`--upstreams.files.command=["a"]`}, `upstreams.files.command=["a"]`},
		"as two words": {[]string{"--upstreams.files.url", "https://a.example.com"},
			"upstreams.files.url=https://a.example.com"},
		"two upstreams": {[]string{"--upstreams.a.url=x", "--upstreams.b.idle=1m", "--tools.demo"},
			"tools.demo=true upstreams.a.url=x upstreams.b.idle=1m"},
		"a name that Load refuses": {[]string{"--upstreams.My_Files.url=x"}, "upstreams.My_Files.url=x"},
		"file": {[]string{"--upstreams.a.env_file=/x", "--upstreams.key_file=/y"},
			"upstreams.a.env_file=/x upstreams.key_file=/y"},
		"after the end": {[]string{"--", "--upstreams.a.url=x"}, ""},
		"misspelled key": {[]string{"--upstreams.files.comand=x"},
			"unknown flag: --upstreams.files.comand; did you mean --upstreams.files.command?"},
		"misspelled section": {[]string{"--upstream.files.command=x"},
			"unknown flag: --upstream.files.command; did you mean --upstreams.files.command?"},
		"unknown key": {[]string{"--upstreams.files.sandbox=x"}, "unknown flag: --upstreams.files.sandbox; "},
		"secret": {[]string{"--upstreams.files.authorization=hunter2"},
			"unknown flag: --upstreams.files.authorization; a command line is visible to every user of the computer: set " +
				"GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION, or name a file in GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION_FILE"},
		"template": {[]string{"--upstreams.NAME.url=x"}, "unknown flag: --upstreams.NAME.url; "},
		"no value": {[]string{"--upstreams.files.url"}, "flag needs an argument: --upstreams.files.url; "},
	} {
		t.Run(name, func(t *testing.T) {
			flags := Flags()
			AddUpstreamFlags(flags, c.args)
			var names, set []string
			err := flags.Parse(c.args)
			flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
			flags.Visit(func(f *pflag.Flag) { set = append(set, f.Name+"="+f.Value.String()) })
			slices.Sort(set)
			got := strings.Join(set, " ")
			if err != nil {
				flag, _, _ := strings.Cut(strings.TrimPrefix(c.args[0], "--"), "=")
				got = err.Error() + "; " + FlagFix(flag, names)
				if _, isKnown := err.(*pflag.NotExistError); !isKnown {
					got = err.Error() + "; "
				}
			}
			if got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

func TestFlagValues_OfAnUpstream(t *testing.T) {
	if got := FlagValues("upstreams.files.processes"); !slices.Equal(got, []string{"shared", "per_user"}) {
		t.Errorf("%q", got)
	}
}

// A reload must not leave an upstream as it was before: every change needs a restart, also one of a file.
func TestCompare_ChangesOfUpstreamsNeedARestart(t *testing.T) {
	pins, variables := write(t, "pins.json", pinsFile), write(t, "files.env", "TOKEN=hunter2\n")
	key, secret := signingKey(t), write(t, "secret", "hunter2")
	load := func(flags map[string]string) *Config {
		t.Helper()
		all := map[string]string{"upstreams.files.command": `["a"]`, "upstreams.files.tools": "*",
			"upstreams.files.processes": "per_user", "upstreams.files.env_file": variables, "upstreams.files.pins": pins,
			"upstreams.tickets.url": "https://a.example.com/mcp", "upstreams.tickets.tools": "*",
			"upstreams.tickets.identity": "jwt", "upstreams.key_file": key}
		maps.Copy(all, flags)
		maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
		environ := []string{"GATEHOUSE_UPSTREAMS__TICKETS__AUTHORIZATION_FILE=" + secret}
		return mustLoad(t, Sources{Flags: all, Environ: environ})
	}
	before := load(nil)
	if changes := Compare(before, load(nil)); len(changes) > 0 {
		t.Fatalf("the same is different: %v", changes)
	}
	check := func(name string, after *Config, want ...string) {
		t.Helper()
		var changed, refused []string
		for _, change := range Compare(before, after) {
			changed = append(changed, change.Key)
		}
		for _, p := range CheckReload(before, after) {
			if p.Code == providers.CodeNeedsRestart {
				refused = append(refused, p.Key)
			}
		}
		if !slices.Equal(changed, want) || !slices.Equal(refused, want) {
			t.Errorf("%s: %q changed, and %q need a restart; not %q", name, changed, refused, want)
		}
	}
	for key, value := range map[string]string{"command": `["b"]`, "env": "A=b", "tools": "a", "prefix": "x",
		"processes": "shared", "max_processes": "3", "idle": "1m", "call_timeout": "1s", "max_message_bytes": "5000",
		"identity": "meta"} {
		check(key, load(map[string]string{"upstreams.files." + key: value}), "upstreams.files."+key)
	}
	check("url", load(map[string]string{"upstreams.tickets.url": "https://b.example.com"}), "upstreams.tickets.url")
	check("another upstream", load(map[string]string{"upstreams.new.command": `["a"]`, "upstreams.new.tools": "*"}),
		"upstreams.new.command", "upstreams.new.tools")

	rewrite := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ path, was, is, want string }{
		"env_file": {variables, "TOKEN=hunter2\n", "TOKEN=hunter3\n", "upstreams.files.env_file"},
		"pins": {pins, pinsFile, strings.Replace(pinsFile, `"name"`, `"description":"x","name"`, 1),
			"upstreams.files.pins"},
		"authorization_file": {secret, "hunter2", "hunter3", "upstreams.tickets.authorization"},
	} {
		rewrite(c.path, c.is)
		check(name, load(nil), c.want)
		rewrite(c.path, c.was)
	}
	check("key_file", load(map[string]string{"upstreams.key_file": signingKey(t)}), "upstreams.key_file")
}

// A reload notices a change of every file that an upstream names.
func TestUpstreams_FilesAreReadByReadFile(t *testing.T) {
	pins, variables := write(t, "pins.json", pinsFile), write(t, "files.env", "TOKEN=hunter2\n")
	s := Sources{Flags: map[string]string{"upstreams.files.command": `["a"]`, "upstreams.files.tools": "*",
		"upstreams.files.env_file": variables, "upstreams.files.pins": pins}}
	files := NewSnapshot()
	s.ReadFile = files.ReadFile
	mustLoad(t, s)
	for _, path := range []string{pins, variables} {
		if !files.IsCurrent() {
			t.Fatal("it is not current")
		}
		content, _ := os.ReadFile(path)
		if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		if files.IsCurrent() {
			t.Errorf("a change of %s is not noticed", path)
		}
		files = NewSnapshot()
		s.ReadFile = files.ReadFile
		mustLoad(t, s)
	}

	s.ReadFile, s.IgnorePins = nil, true
	s.Flags["upstreams.files.pins"] = "testdata/missing/pins.json"
	if c := mustLoad(t, s); c.Upstreams[0].Pinned != nil || c.Upstreams[0].Pins == "" {
		t.Error("pins that are ignored must keep their path")
	}
}

func TestUpstreams_KeyIsRequiredForAPublicResource(t *testing.T) {
	flags := map[string]string{"upstreams.files.url": "https://a.example.com", "upstreams.files.tools": "*",
		"upstreams.files.identity": "jwt", "provider.kind": "oidc", "provider.issuer": "https://login.example.com"}
	mustLoad(t, Sources{Flags: flags})
	flags["resource"], flags["scopes.required"] = "https://mcp.example.com/mcp", "mcp:use"
	if p := mustRefuseOne(t, Sources{Flags: flags}); p.Key != "upstreams.key_file" || p.Code != providers.CodeMissing {
		t.Errorf("%+v", p)
	}
	flags["upstreams.key_file"] = signingKey(t)
	mustLoad(t, Sources{Flags: flags})
}
