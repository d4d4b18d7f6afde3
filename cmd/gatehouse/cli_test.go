package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
	"gatehouse/providers"
)

// outcome is what a person or a script sees of a command that has ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// gatehouse runs a command that ends by itself, with nothing in its environment and no .env.
func gatehouse(t testing.TB, args ...string) outcome {
	t.Helper()
	return gatehouseIn(t, console{}, args...)
}

func gatehouseIn(t testing.TB, c console, args ...string) outcome {
	t.Helper()
	keepDefaultLogger(t)
	// A command that should have refused to start must not serve for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stdout, stderr syncBuffer
	c.stdout, c.stderr = &stdout, &stderr
	code := run(ctx, args, c)
	if ctx.Err() != nil {
		t.Errorf("gatehouse %q did not end by itself", args)
	}
	return outcome{code, stdout.String(), stderr.String()}
}

// keepDefaultLogger undoes what a command does to the process's logger.
func keepDefaultLogger(t testing.TB) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
}

// service is a command that runs until it is stopped.
type service struct {
	stdout, stderr *syncBuffer
	stop           func() int // ends it and returns its exit code
}

// startService runs args with the address of a free port in place of ADDRESS, and waits until it listens. Another
// program may take the port before the command does, so it tries more than once.
func startService(t testing.TB, args ...string) (*service, string) {
	t.Helper()
	return startServiceIn(t, nil, args...)
}

func startServiceIn(t testing.TB, environ []string, args ...string) (*service, string) {
	t.Helper()
	keepDefaultLogger(t)
	for range 5 {
		address := freeAddress(t)
		filled := make([]string, len(args))
		for i, arg := range args {
			filled[i] = strings.ReplaceAll(arg, "ADDRESS", address)
		}
		s := &service{stdout: &syncBuffer{}, stderr: &syncBuffer{}}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, filled, console{stdout: s.stdout, stderr: s.stderr, environ: environ}) }()
		s.stop = func() int {
			cancel()
			code := <-ended
			ended <- code
			return code
		}
		t.Cleanup(func() {
			s.stop()
			if t.Failed() {
				t.Logf("gatehouse %q\nstdout:\n%s\nstderr:\n%s", filled, s.stdout, s.stderr)
			}
		})
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				// The port listens before the banner is there.
				if strings.Contains(s.stderr.String(), "listen=") {
					return s, address
				}
			}
			if len(ended) > 0 {
				break
			}
		}
		if code := s.stop(); code != exitPort {
			t.Fatalf("gatehouse %q ended with %d:\n%s", filled, code, s.stderr)
		}
	}
	t.Fatal("no port stayed free")
	return nil, ""
}

// freeAddress is an address of this computer at which nothing listens, for now.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// settingNames are the names of all flags that are settings.
func settingNames() []string {
	names := []string{"config"}
	configs.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func TestHelpGoesToStdoutAndListsEverything(t *testing.T) {
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name+" ", cmd.summary)
	}
	issuerFlags := []string{"listen", "issuer", "resource", "scopes", "default-scopes", "signing-algorithm", "token-lifetime",
		"auto-approve", "client-secret-file", "refresh-grace", "client-documents", "allow-loopback-client-documents", "dangerously-allow-public-resource", "dangerously-listen-for-others", "log.level", "log.format"}
	flags := func(names ...string) []string {
		for i, name := range names {
			names[i] = "--" + name + " "
		}
		return names
	}
	for command, c := range map[string]struct {
		args []string
		want []string
	}{
		"help":               {[]string{"help"}, names},
		"--help":             {[]string{"--help"}, names},
		"-h":                 {[]string{"-h"}, names},
		"serve --help":       {[]string{"serve", "--help"}, append(flags(settingNames()...), "gatehouse serve [flags]", "GATEHOUSE_SERVER__LISTEN")},
		"serve -h":           {[]string{"serve", "-h"}, flags(settingNames()...)},
		"config --help":      {[]string{"config", "--help"}, append(flags(settingNames()...), "Secrets are redacted")},
		"healthcheck --help": {[]string{"healthcheck", "--help"}, append(flags(settingNames()...), "--url ")},
		"issuer --help":      {[]string{"issuer", "--help"}, append(flags(issuerFlags...), "Anyone can sign in as anyone")},
		"version --help":     {[]string{"version", "--help"}, []string{"gatehouse version [flags]"}},
	} {
		t.Run(command, func(t *testing.T) {
			got := gatehouse(t, c.args...)
			if got.code != exitOK || got.stderr != "" {
				t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
			}
			// A name ends with a blank, so that --log does not pass for --log.level.
			help := strings.NewReplacer("\n", " \n", "[=", " [=").Replace(got.stdout)
			for _, want := range c.want {
				if !strings.Contains(help, want) {
					t.Errorf("it does not say %q:\n%s", want, got.stdout)
				}
			}
		})
	}
}

func TestEveryCommandHasAHelpText(t *testing.T) {
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
	}
	for _, name := range append(names, "token inspect", "token get") {
		usage := "gatehouse " + name + " [flags]"
		if name == "token" {
			usage = "gatehouse token get [flags]"
		}
		if got := gatehouse(t, append(strings.Fields(name), "--help")...); got.code != exitOK || !strings.Contains(got.stdout, usage) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAWrongCommandLineIsRefusedOnStderr(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `there is no command "sevre"`},
		{[]string{""}, `there is no command ""`},
		{[]string{"serve", "--no.such.flag"}, "no.such.flag"},
		{[]string{"--server.listn=:1"}, "did you mean --server.listen?"},
		{[]string{"issuer", "--listn=:1"}, "did you mean --listen?"},
		{[]string{"serve", "--provider.client_secret=hunter2"}, "GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE"},
		{[]string{"serve", "--provider.client_secret_file=secret"}, "GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE"},
		{[]string{"config", "--url=x"}, "url"},
		{[]string{"issuer", "--provider.kind=local"}, "provider.kind"},
		{[]string{"version", "--verbose"}, "verbose"},
		{[]string{"healthcheck", "--timeout=3s"}, "timeout"},
		{[]string{"serve", "configs/local.yaml"}, `"configs/local.yaml" is not a flag`},
		{[]string{"config", "serve"}, `"serve" is not a flag`},
		{[]string{"issuer", "now"}, `"now" is not a flag`},
		{[]string{"healthcheck", "localhost"}, `"localhost" is not a flag`},
		{[]string{"version", "1"}, `"1" is not a flag`},
		{[]string{"serve", "--server.listen"}, "server.listen"},
		{[]string{"issuer", "--token-lifetime=soon"}, "token-lifetime"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := gatehouse(t, c.args...)
			if got.code != exitConfig || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			if !strings.Contains(got.stderr, c.want) || !strings.HasPrefix(got.stderr, "gatehouse") {
				t.Errorf("stderr: %q", got.stderr)
			}
			if strings.Contains(got.stderr, "hunter2") {
				t.Errorf("it shows a secret: %q", got.stderr)
			}
		})
	}
}

func TestConfigPrintsWhatIsInForceAndWhy(t *testing.T) {
	dir := filepath.Dir(write(t, ".env", "GATEHOUSE_MCP__MAX_SESSIONS=7\n"))
	profile := write(t, "p.yaml", "provider:\n  kind: local\n  client_secret_file: "+write(t, "secret", "hunter2\n")+"\n")
	got := gatehouseIn(t, console{dir: dir, environ: []string{"GATEHOUSE_LOG__FORMAT=json", "GATEHOUSE_CONFIG=" + profile}},
		"config", "--log.level=debug", "--tools.show_all", "--server.listen", "127.0.0.1:5000")
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	if strings.Contains(got.stdout, "hunter2") {
		t.Errorf("it shows the secret:\n%s", got.stdout)
	}
	lines := map[string]string{}
	for line := range strings.SplitSeq(got.stdout, "\n") {
		key, rest, _ := strings.Cut(line, " ")
		lines[key] = strings.Join(strings.Fields(rest), " ")
	}
	for key, want := range map[string]string{
		"resource":               "http://localhost:3002/mcp (default)",
		"server.listen":          "127.0.0.1:5000 (flag --server.listen)",
		"mcp.max_sessions":       "7 (GATEHOUSE_MCP__MAX_SESSIONS in .env)",
		"log.format":             "json (environment variable GATEHOUSE_LOG__FORMAT)",
		"log.level":              "debug (flag --log.level)",
		"tools.show_all":         "true (flag --tools.show_all)",
		"provider.kind":          "local (profile " + profile + ":2)",
		"provider.client_secret": "[redacted] (profile " + profile + ":3 (file ",
	} {
		if !strings.HasPrefix(lines[key], want) {
			t.Errorf("%s: %q, not %q", key, lines[key], want)
		}
	}
	for _, key := range configs.Keys() {
		if _, ok := lines[key.Name]; !ok && (key.Kind == "" || key.Kind == "local") {
			t.Errorf("%s is not listed", key.Name)
		}
	}
	if !strings.Contains(got.stdout, "Note: clients dial port 3002") {
		t.Errorf("it does not note that the ports differ:\n%s", got.stdout)
	}
}

func TestABadConfigurationIsRefusedBeforeAnythingListens(t *testing.T) {
	profile := write(t, "p.yaml", "provider:\n  kind: locale\nserver:\n  listn: x\n")
	for _, command := range [][]string{{"serve"}, {}, {"config"}} {
		t.Run(strings.Join(command, ""), func(t *testing.T) {
			address := freeAddress(t)
			got := gatehouse(t, append(command, "--config="+profile, "--server.listen="+address, "--log.level=loud")...)
			if got.code != exitConfig || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			for _, want := range []string{
				"gatehouse: the configuration has 3 problems\n",
				"provider.kind = \"locale\"\n    from     profile " + profile + ":2\n", "did you mean local?",
				"server.listn\n    from     profile " + profile + ":4\n", "did you mean server.listen?",
				"log.level = \"loud\"\n    from     flag --log.level\n",
			} {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr does not say %q:\n%s", want, got.stderr)
				}
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Error("something listens")
			}
		})
	}
}

// The refusal must come first, and not only be printed first: here the port is taken, and nobody hears of it.
func TestABadConfigurationIsRefusedBeforeThePortIsTried(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := gatehouse(t, "--server.listen="+ln.Addr().String(), "--log.level=loud"); got.code != exitConfig {
		t.Errorf("%+v", got)
	}
	if got := gatehouse(t, "issuer", "--listen="+ln.Addr().String(), "--log.level=loud"); got.code != exitConfig {
		t.Errorf("%+v", got)
	}
}

func TestAnAddressThatCannotBeHad(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"serve, a port in use":                            {[]string{"serve", "--server.listen=" + taken, "--resource=http://" + taken + "/mcp"}, []string{taken + " is in use", "server.listen, flag --server.listen", "--resource=http://localhost:", "/mcp --server.listen=127.0.0.1:", "(that port is free)"}},
		"serve, a port in use that is not the resource's": {[]string{"serve", "--server.listen=" + taken, "--resource=http://localhost:4/mcp"}, []string{"such as --server.listen=127.0.0.1:"}},
		"serve, the port of the resource in use":          {[]string{"serve", "--resource=http://" + taken + "/mcp"}, []string{"server.listen, derived from resource", "/mcp (that port is free)"}},
		"serve, behind a proxy, a port in use": {[]string{"serve", "--config=../../configs/oidc.yaml", "--resource=https://mcp.example.com/mcp", "--server.listen=" + taken},
			[]string{taken + " is in use", "--server.listen=127.0.0.1:", "(that port is free)"}},
		"issuer, a port in use": {[]string{"issuer", "--listen=" + taken}, []string{taken + " is in use", "--listen"}},
		// 192.0.2.0/24 is for documentation (RFC 5737); no computer has it.
		"serve, an address of another computer": {[]string{"--server.listen=192.0.2.1:3002", "--provider.dangerously_allow_public_resource"}, []string{"cannot listen on 192.0.2.1:3002", "server.listen"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := gatehouse(t, c.args...)
			if got.code != exitPort || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr does not say %q: %q", want, got.stderr)
				}
			}
		})
	}
}

func TestServeTellsWhatToDoNextAndStopsInOrder(t *testing.T) {
	s, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
	banner := s.stdout.String()
	resource := "http://" + address + "/mcp"
	want := []string{
		"Connect   " + resource + "\n",
		"Provider  local: ",
		"Issuer    http://" + address + "\n",
		"Metadata  http://" + address + "/.well-known/oauth-protected-resource/mcp\n",
		"npx @modelcontextprotocol/inspector --transport http --server-url " + resource + "\n",
		"claude mcp add --transport http gatehouse " + resource + "\n",
		"demos only: anyone can sign in as anyone",
	}
	for _, line := range want {
		if !strings.Contains(banner, line) {
			t.Errorf("the banner does not say %q:\n%s", line, banner)
		}
	}
	for tool, shown := range map[string]string{
		"whoami": "mcp:use", "greet": "mcp:use greet:read", "countdown": "mcp:use greet:read",
		"send_greeting": "mcp:use greet:write asks for more: greet:write", "server_stats": "mcp:use gatehouse:admin asks for more: gatehouse:admin",
	} {
		if got := toolInBanner(banner, tool); got != shown {
			t.Errorf("the banner says %q of %s, not %q:\n%s", got, tool, shown, banner)
		}
	}
	if status, body := get(t, "http://"+address+"/health"); status != http.StatusOK {
		t.Errorf("/health: %d %s", status, body)
	}
	// What the banner says is so.
	status, body := get(t, "http://"+address+"/.well-known/oauth-protected-resource/mcp")
	var metadata providers.Metadata
	if err := json.Unmarshal([]byte(body), &metadata); status != http.StatusOK || err != nil || metadata.Resource != resource {
		t.Errorf("metadata: %d %s", status, body)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
	if !strings.Contains(s.stderr.String(), "msg=stopped") {
		t.Errorf("the log does not say that it stopped:\n%s", s.stderr)
	}
}

// toolInBanner returns what the banner says of a tool.
func toolInBanner(banner, tool string) string {
	for line := range strings.SplitSeq(banner, "\n") {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == tool {
			return strings.Join(fields[1:], " ")
		}
	}
	return ""
}

func TestTheBannerMarksToolsThatFirstSignInDoesNotCover(t *testing.T) {
	for name, c := range map[string]struct {
		flags       map[string]string
		greet, send string
		line        string
	}{
		"all are listed":       {nil, "mcp:use greet:read", "mcp:use greet:write asks for more: greet:write", "a call of one starts another sign-in"},
		"three of them":        {map[string]string{"tools.show_all": "false"}, "mcp:use greet:read", "mcp:use greet:write asks for more: greet:write", "shows 3 of the 5 tools"},
		"one of them":          {map[string]string{"tools.show_all": "false", "scopes.initial": "mcp:use"}, "mcp:use greet:read asks for more: greet:read", "mcp:use greet:write asks for more: greet:write", "shows 1 of the 5 tools"},
		"no scope is required": {map[string]string{"scopes.required": "", "scopes.initial": ""}, "greet:read asks for more: greet:read", "greet:write asks for more: greet:write", "a call of one"},
		"a scope implies them": {map[string]string{"scopes.initial": "mcp:use,all", "scopes.implies": "all > more,more > greet:read greet:write gatehouse:admin"}, "mcp:use greet:read", "mcp:use greet:write", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := configs.Load(configs.Sources{Flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			var banner strings.Builder
			listTools(&banner, cfg, demo.Tools(mcptools.Stats{}))
			if greet, send := toolInBanner(banner.String(), "greet"), toolInBanner(banner.String(), "send_greeting"); greet != c.greet || send != c.send {
				t.Errorf("greet %q, send_greeting %q", greet, send)
			}
			if !strings.Contains(banner.String(), c.line) || c.line == "" && strings.Contains(banner.String(), "First sign-in") {
				t.Errorf("it does not say %q:\n%s", c.line, &banner)
			}
		})
	}
}

func TestAServerWithoutToolsSaysHowToAddOne(t *testing.T) {
	if len(mcptools.All(mcptools.Stats{})) > 0 {
		t.Skip("this server has tools")
	}
	s, address := startService(t, "serve", "--resource=http://ADDRESS/mcp", "--tools.demo=false", "--scopes.initial=", "--provider.auto_approve")
	if want := "none: add one in mcptools/tools.go"; !strings.Contains(s.stdout.String(), want) {
		t.Errorf("the banner does not say %q", want)
	}
	log := s.stderr.String()
	if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "the server offers no tools: add one in mcptools/tools.go") {
		t.Errorf("the log:\n%s", log)
	}
	for _, protocol := range []string{modern, legacy} {
		session, err := connect(t, "http://"+address+"/mcp", protocol, &person{}, dynamic)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := session.ListTools(t.Context(), nil); err != nil || list.Tools == nil || len(list.Tools) > 0 {
			t.Errorf("%s: %v, %v", protocol, list, err)
		}
		if _, err := call(t, session, "greet", map[string]any{"name": "Ada"}); err == nil {
			t.Errorf("%s: greet answers", protocol)
		}
	}
}

func TestScopesOfTheDemoAreWarnedOfWhileTheDemoIsOff(t *testing.T) {
	profile := func(settings string) string {
		return write(t, "p.yaml", "provider:\n  kind: oidc\n  issuer: http://localhost:9\n"+settings)
	}
	const required = "scopes:\n  required: [mcp:use]\n"
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"none is named":            {[]string{"--config=" + profile(required)}, nil},
		"the demo is on":           {[]string{"--config=" + profile(required+"  initial: [mcp:use, greet:read]\n"), "--tools.demo"}, nil},
		"the built-in profile":     {[]string{"--resource=http://localhost:3002/mcp"}, nil},
		"it without its tools":     {[]string{"--tools.demo=false"}, []string{"greet:read (scopes.initial, built-in profile local.yaml)"}},
		"in scopes.required alone": {[]string{"--scopes.required=mcp:use,greet:write", "--scopes.initial=", "--tools.demo=false"}, []string{"greet:write (scopes.required, flag --scopes.required)"}},
		"in a setting of the kind": {[]string{"--config=" + profile("  scope_map: [\"api://demo/greet.read=greet:read\"]\n"+required)}, []string{"greet:read (provider.scope_map, profile "}},
		"in several":               {[]string{"--config=" + profile(required+"  initial: [mcp:use, greet:read]\n  implies: [\"gatehouse:admin > greet:write x\"]\n")}, []string{"greet:read (scopes.initial, profile ", "greet:write (scopes.implies, profile ", "gatehouse:admin (scopes.implies, profile "}},
		"a longer name is another": {[]string{"--config=" + profile("scopes:\n  required: [\"greet:read:all\"]\n")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := gatehouse(t, append([]string{"config"}, c.args...)...)
			const note = "Note: scopes of the demo tools are set, but tools.demo is off"
			if want := min(1, len(c.want)); got.code != exitOK || strings.Count(got.stdout, note) != want {
				t.Fatalf("exit code %d:\n%s", got.code, got.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("it does not say %q:\n%s", want, got.stdout)
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

func TestAServerThatRequiresNoScopeSaysSo(t *testing.T) {
	const note = "Note: scopes.required is empty"
	provider := []string{"config", "--provider.kind=oidc", "--provider.issuer=http://localhost:9", "--resource=http://localhost:3002/mcp"}
	if got := gatehouse(t, provider...); got.code != exitOK || !strings.Contains(got.stdout, note) {
		t.Errorf("exit code %d:\n%s", got.code, got.stdout)
	}
	if got := gatehouse(t, append(provider, "--scopes.required=mcp:use")...); strings.Contains(got.stdout, note) {
		t.Errorf("with a required scope:\n%s", got.stdout)
	}
}

func TestServeIsTheCommandThatNeedsNoName(t *testing.T) {
	s, address := startService(t, "--resource=http://ADDRESS/")
	if status, _ := get(t, "http://"+address+"/health"); status != http.StatusOK {
		t.Errorf("/health: %d", status)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Run("a running server", func(t *testing.T) {
		_, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
		_, port, _ := net.SplitHostPort(address)
		for _, args := range [][]string{
			{"--resource=http://" + address + "/mcp"},
			{"--server.listen=" + address},
			{"--server.listen=:" + port, "--provider.dangerously_allow_public_resource"},
			{"--server.listen=0.0.0.0:" + port, "--provider.dangerously_allow_public_resource"},
			{"--url=http://" + address + "/health"},
		} {
			if got := gatehouse(t, append([]string{"healthcheck"}, args...)...); got != (outcome{}) {
				t.Errorf("%q: %+v", args, got)
			}
		}
		if got := gatehouse(t, "healthcheck", "--url=http://"+address+"/nowhere"); got.code != exitFailure || !strings.Contains(got.stderr, "404") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the environment decides as it does for the server", func(t *testing.T) {
		_, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
		if got := gatehouseIn(t, console{environ: []string{"GATEHOUSE_SERVER__LISTEN=" + address}}, "healthcheck"); got != (outcome{}) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		if got := gatehouse(t, "healthcheck", "--server.listen="+freeAddress(t)); got.code != exitFailure || got.stderr == "" || got.stdout != "" {
			t.Errorf("%+v", got)
		}
	})
	// Docker takes 1 for unhealthy and reserves 2.
	t.Run("a bad configuration", func(t *testing.T) {
		if got := gatehouse(t, "healthcheck", "--log.level=loud"); got.code != exitFailure || !strings.Contains(got.stderr, "log.level") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a URL that is none", func(t *testing.T) {
		if got := gatehouse(t, "healthcheck", "--url=http://%zz"); got.code != exitFailure || got.stderr == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheIssuerRunsAlone(t *testing.T) {
	secret := write(t, "secret", "hunter2\n")
	s, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS", "--resource=http://localhost:3002/mcp",
		"--signing-algorithm=ES256", "--client-secret-file="+secret)
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		status, body := get(t, "http://"+address+path)
		var metadata struct {
			Issuer        string `json:"issuer"`
			TokenEndpoint string `json:"token_endpoint"`
			Documents     bool   `json:"client_id_metadata_document_supported"`
		}
		if err := json.Unmarshal([]byte(body), &metadata); status != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		if want := "http://" + address; metadata.Issuer != want || metadata.TokenEndpoint != want+"/token" || !metadata.Documents {
			t.Errorf("%s: %+v", path, metadata)
		}
	}
	for _, line := range []string{"anyone can sign in as anyone", "Issuer    http://" + address + "\n",
		"Metadata  http://" + address + "/.well-known/oauth-authorization-server\n", "http://localhost:3002/mcp"} {
		if !strings.Contains(s.stdout.String(), line) {
			t.Errorf("the banner does not say %q:\n%s", line, s.stdout)
		}
	}
	if got := gatehouse(t, "healthcheck", "--url=http://"+address+"/health"); got.code != exitOK {
		t.Errorf("healthcheck: %+v", got)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if out := s.stdout.String() + s.stderr.String(); strings.Contains(out, "hunter2") {
		t.Errorf("it shows the secret:\n%s", out)
	}
}

func TestTheIssuerRefusesWhatCannotBeRight(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a resource that others can reach": {[]string{"--resource=https://mcp.example.com/mcp"}, "other computers can reach it"},
		"one among several":                {[]string{"--resource=http://localhost:3002/mcp,https://mcp.example.com/mcp"}, "mcp.example.com"},
		"a resource that is no URL":        {[]string{"--resource=localhost"}, `"localhost"`},
		"an algorithm it cannot use":       {[]string{"--signing-algorithm=HS256"}, "use RS256, ES256 or EdDSA"},
		"no algorithm at all":              {[]string{"--signing-algorithm=none"}, "use RS256, ES256 or EdDSA"},
		"a lifetime of nothing":            {[]string{"--token-lifetime=1ms"}, "lifetime"},
		"a secret that is not there":       {[]string{"--client-secret-file=" + filepath.Join(t.TempDir(), "none")}, "no such file"},
		"an empty secret":                  {[]string{"--client-secret-file=" + write(t, "empty", "\n")}, "the file is empty"},
		"local documents, but none":        {[]string{"--client-documents=false", "--allow-loopback-client-documents"}, "client documents are off"},
		"a negative refresh grace":         {[]string{"--refresh-grace=-1s"}, "refresh grace"},
		"an issuer with a path":            {[]string{"--issuer=http://localhost:9000/issuer"}, "issuer"},
		"an issuer in plain http outside":  {[]string{"--issuer=http://id.example.com"}, "plain http"},
		"a default scope it does not know": {[]string{"--default-scopes=nothing"}, `"nothing"`},
		"a log level that does not exist":  {[]string{"--log.level=loud"}, "use debug, info, warn, error"},
		"a log format that does not exist": {[]string{"--log.format=xml"}, "use text or json"},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			got := gatehouse(t, append([]string{"issuer", "--listen=" + address}, c.args...)...)
			if got.code != exitConfig || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			if !strings.Contains(got.stderr, c.want) {
				t.Errorf("stderr does not say %q: %q", c.want, got.stderr)
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Error("something listens")
			}
		})
	}
}

// Who signs in here is whoever comes, so it must be this computer that comes, unless somebody says what keeps others out.
func TestTheIssuerListensOnThisComputerOnlyUnlessToldOtherwise(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		got := gatehouse(t, "issuer", "--listen="+address, "--issuer=http://localhost:9000")
		if got.code != exitConfig || !strings.Contains(got.stderr, "--dangerously-listen-for-others") {
			t.Errorf("--listen=%s: %+v", address, got)
		}
	}
	// With the flag it gets as far as the port.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	if got := gatehouse(t, "issuer", "--listen=:"+port, "--dangerously-listen-for-others"); got.code != exitPort {
		t.Errorf("with the flag: %+v", got)
	}
}

func TestTheIssuerNamesAllProblemsAtOnce(t *testing.T) {
	got := gatehouse(t, "issuer", "--log.level=loud", "--log.format=xml", "--issuer=ftp://localhost", "--client-secret-file=none")
	for _, flag := range []string{"--log.level", "--log.format", "--issuer", "--client-secret-file"} {
		if !strings.Contains(got.stderr, flag) {
			t.Errorf("nothing about %s:\n%s", flag, got.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	got := gatehouse(t, "version")
	if got.code != exitOK || got.stderr != "" || !strings.HasPrefix(got.stdout, "gatehouse ") || strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	if fields := strings.Fields(got.stdout); len(fields) < 4 || !strings.Contains(got.stdout, "go1.") {
		t.Errorf("it does not say which Go built it: %s", got.stdout)
	}
}

func TestTheIssuerAnnouncesNoClientDocumentsIfToldSo(t *testing.T) {
	_, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS", "--client-documents=false")
	if _, body := get(t, "http://"+address+"/.well-known/oauth-authorization-server"); strings.Contains(body, "client_id_metadata_document_supported") {
		t.Errorf("it does: %s", body)
	}
}

// Scripts and orchestrators rely on the numbers.
func TestExitCodesAreTheDocumentedOnes(t *testing.T) {
	if got, want := fmt.Sprint(exitOK, exitFailure, exitConfig, exitPort, exitProvider, exitHung), "0 1 2 3 4 5"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	for code, words := range map[int]string{exitOK: "0 done", exitFailure: "1 failed", exitConfig: "2 configuration", exitPort: "3 address", exitProvider: "4 provider", exitHung: "5 something hung"} {
		if help := strings.Join(strings.Fields(gatehouse(t, "help").stdout), " "); !strings.Contains(help, words) {
			t.Errorf("help does not say what %d means", code)
		}
	}
}

func TestTheIssuerFollowsThePortThatItListensOn(t *testing.T) {
	s, address := startService(t, "issuer", "--listen=ADDRESS")
	_, port, _ := net.SplitHostPort(address)
	if _, body := get(t, "http://"+address+"/.well-known/openid-configuration"); !strings.Contains(body, `"issuer":"http://localhost:`+port+`"`) {
		t.Errorf("the metadata is %s", body)
	}
	if status, body := get(t, "http://"+address+"/mcp"); status != http.StatusNotFound || strings.Contains(body, "MCP") {
		t.Errorf("it speaks of an endpoint that it has not: %d %s", status, body)
	}
	s.stop()
	if !strings.Contains(s.stderr.String(), "msg=stopped") {
		t.Errorf("the log is\n%s", s.stderr)
	}
}
