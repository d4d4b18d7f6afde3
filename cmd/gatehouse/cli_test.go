package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/providers"
)

// result is what a user or a script sees of a command that has ended.
type result struct {
	code           int
	stdout, stderr string
}

// runCommand runs a command that ends on its own, with an empty environment and without .env.
func runCommand(t testing.TB, args ...string) result {
	t.Helper()
	return runCommandIn(t, console{}, args...)
}

func runCommandIn(t testing.TB, c console, args ...string) result {
	t.Helper()
	// A command that should have refused to start must not run forever.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var stdout, stderr syncBuffer
	c.stdout, c.stderr, c.catalog = &stdout, &stderr, testCatalog
	code := run(ctx, args, c)
	if ctx.Err() != nil {
		t.Errorf("gatehouse %q did not end on its own", args)
	}
	return result{code, stdout.String(), stderr.String()}
}

// service is a command that runs until it is stopped.
type service struct {
	stdout, stderr *syncBuffer
	stop           func() int // ends it and returns its exit code
}

// startService runs args, with ADDRESS replaced by the address of a free port, and waits until it listens. Another
// program may take the port first, so it tries more than once.
func startService(t testing.TB, args ...string) (*service, string) {
	t.Helper()
	return startServiceIn(t, nil, args...)
}

func startServiceIn(t testing.TB, environ []string, args ...string) (*service, string) {
	t.Helper()
	return startConsole(t, console{environ: environ}, args...)
}

func startConsole(t testing.TB, c console, args ...string) (*service, string) {
	t.Helper()
	for range 5 {
		address := freeAddress(t)
		if s := startAt(t, c, address, args...); s != nil {
			return s, address
		}
	}
	t.Fatal("no port stayed free")
	return nil, ""
}

// startAt is startConsole at an address. It returns nil if the port is in use by now.
func startAt(t testing.TB, c console, address string, args ...string) *service {
	t.Helper()
	filled := make([]string, len(args))
	for i, arg := range args {
		filled[i] = strings.ReplaceAll(arg, "ADDRESS", address)
	}
	s := &service{stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	c.stdout, c.stderr, c.catalog = s.stdout, s.stderr, testCatalog
	go func() { ended <- run(ctx, filled, c) }()
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
			// The port listens before the banner is written.
			if strings.Contains(s.stderr.String(), "listen") {
				return s
			}
		}
		if len(ended) > 0 {
			break
		}
	}
	if code := s.stop(); code != exitPort {
		t.Fatalf("gatehouse %q ended with %d:\n%s", filled, code, s.stderr)
	}
	return nil
}

// freeAddress returns a loopback address at which nothing listens for now.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func httpGet(t testing.TB, url string) (int, string) {
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

// settingNames returns the names of all flags that are settings.
func settingNames() []string {
	names := []string{"config"}
	configs.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func TestHelp_ListsCommandsAndFlagsOnStdout(t *testing.T) {
	t.Parallel()
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name+" ", cmd.summary)
	}
	for _, group := range commandGroups() {
		names = append(names, group.title+":")
	}
	issuerFlags := []string{
		"listen", "issuer", "resource", "scopes", "default-scopes", "signing-algorithm", "token-lifetime", "auto-approve",
		"client-secret-file", "refresh-grace", "client-documents", "allow-loopback-client-documents",
		"dangerously-allow-public-resource", "dangerously-listen-for-others", "log.level", "log.format",
	}
	flags := func(names []string, more ...string) []string {
		for _, name := range names {
			more = append(more, "--"+name+" ")
		}
		return more
	}
	serveWords := []string{"gatehouse serve [flags]", "GATEHOUSE_SERVER__LISTEN"}
	for command, want := range map[string][]string{
		"help":               names,
		"--help":             names,
		"-h":                 names,
		"serve --help":       flags(settingNames(), serveWords...),
		"serve -h":           flags(settingNames()),
		"config --help":      {"Secrets are redacted", "--config ", "serve --help"},
		"healthcheck --help": {"--url ", "--config ", "serve --help"},
		"issuer --help":      flags(issuerFlags, "Anyone can sign in as anyone"),
		"version --help":     {"gatehouse version [flags]"},
	} {
		t.Run(command, func(t *testing.T) {
			got := runCommand(t, strings.Fields(command)...)
			if got.code != exitOK || got.stderr != "" {
				t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
			}
			// A name ends with a blank, so that --log.level does not count as --log.
			help := strings.NewReplacer("\n", " \n", "[=", " [=").Replace(got.stdout)
			for _, want := range want {
				if !strings.Contains(help, want) {
					t.Errorf("the help lacks %q:\n%s", want, got.stdout)
				}
			}
		})
	}
}

// The list of all settings is long: only serve has it, after the flags that most servers need.
func TestHelp_ListsSettingsOfServeOnlyBySection(t *testing.T) {
	t.Parallel()
	help := runCommand(t, "serve", "--help").stdout
	at := 0
	for _, want := range []string{
		"\nCommon flags:\n", "      --config string", "      --resource string", "      --provider.preset string",
		"\nAll settings by section:\n", "\nwithout a section\n      --resource string",
		"\nserver\n      --server.listen string",
		"\nmcp\n", "\ntools\n", "\nscopes\n", "\nlog\n", "\nprovider\n      --provider.kind string",
		"\nprovider, kind local\n", "--provider.max_token_bytes int",
		"set GATEHOUSE_PROVIDER__CLIENT_SECRET, or name a file in",
		"\nprovider, kind oidc\n", "--provider.max_token_bytes int", "set GATEHOUSE_PROVIDER__CLIENT_KEY, or",
		"\nprovider, kind scalekit\n", "--provider.max_token_bytes int",
	} {
		i := strings.Index(help[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing, or not in this order:\n%s", want, help)
		}
		at += i + len(want)
	}
	for _, command := range []string{"config", "doctor", "healthcheck", "token inspect", "token get"} {
		got := runCommand(t, append(strings.Fields(command), "--help")...).stdout
		if strings.Contains(got, "--server.listen") || strings.Count(got, "\n") > 40 ||
			!strings.Contains(got, "`gatehouse serve --help` lists them") {
			t.Errorf("%s:\n%s", command, got)
		}
	}
}

func TestHelp_ExamplesAreValid(t *testing.T) {
	t.Parallel()
	if len(examples()) != 4 {
		t.Errorf("%d examples, want 4", len(examples()))
	}
	for _, e := range examples() {
		if !strings.Contains(runCommand(t, "--help").stdout, "# "+e.about+"\n") {
			t.Errorf("the help lacks %q", e.about)
		}
		gatehouseCommandIsValid(t, nil, strings.Fields(e.command)[1:])
	}
}

func TestCommands_HaveHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands() {
		usages := map[string]string{}
		addUsages(usages, cmd.name, cmd)
		for name, usage := range usages {
			got := runCommand(t, append(strings.Fields(name), "--help")...)
			if got.code != exitOK || got.stderr != "" || !strings.Contains(got.stdout, usage) ||
				!strings.Contains(got.stdout, " [flags]") || strings.HasSuffix(got.stdout, "Flags:\n") {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

// addUsages adds the usage lines of a command and its subcommands, by their names.
func addUsages(usages map[string]string, name string, cmd command) {
	usages[name] = strings.TrimSpace("gatehouse " + name + " " + cmd.arguments)
	for _, sub := range cmd.subcommands {
		addUsages(usages, name+" "+sub.name, sub)
		if cmd.run == nil {
			usages[name] = strings.TrimSpace("gatehouse " + name + " " + sub.name)
		}
	}
}

func TestCommandLine_InvalidIsRefusedOnStderr(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `there is no command "sevre"; did you mean serve?`},
		{[]string{"serv"}, "did you mean serve?"},
		{[]string{"help", "docter"}, "did you mean doctor?"},
		{[]string{"configs/oidc.yaml"}, "a profile is named by --config=configs/oidc.yaml"},
		{[]string{"start"}, "`gatehouse --help` lists the commands"},
		{[]string{"completion"}, "bash, zsh or fish"},
		{[]string{"completion", "powershell"}, "bash, zsh or fish"},
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
		{[]string{"serve", "--upstreams.files.comand=[]"}, "did you mean --upstreams.files.command?"},
		{[]string{"config", "--upstreams.files.authorization=hunter2"}, "GATEHOUSE_UPSTREAMS__FILES__AUTHORIZATION_FILE"},
		{[]string{"serve", "--upstreams.files.url"}, "flag needs an argument: --upstreams.files.url"},
		{[]string{"run"}, "name the command of a server, as in `gatehouse run -- npx -y some-server`, or --url"},
		{[]string{"run", "--"}, "name the command of a server"},
		{[]string{"run", "npx", "-y", "some-server", "--token=hunter2"},
			"the command follows --: gatehouse run -- npx -y some-server --token=[redacted]"},
		{[]string{"run", "--log.level=debug", "npx", "--", "x"}, "the command follows --"},
		{[]string{"run", "--url=https://notes.example.com/mcp", "--", "env"}, "name a command or --url, not both"},
		{[]string{"run", "--", "no-such-program-of-gatehouse"}, `there is no program "no-such-program-of-gatehouse" in PATH`},
		{[]string{"run", "--", "env echo"}, `write its arguments as words of their own, because no shell is used`},
		{[]string{"run", "--", "./no-such-program"}, `"./no-such-program" cannot be run: `},
		{[]string{"run", "--", "testdata"}, `there is no program "testdata" in PATH`},
		{[]string{"run", "--", "run.go"}, "to run the file in the current folder, write ./run.go"},
		{[]string{"run", "--provider.auto_approve", "--", "env"}, "provider.auto_approve = true"},
		{[]string{"run", "--server.listen=:0", "--", "env"}, "other computers can reach this address"},
		{[]string{"run", "--provider.dangerously_allow_public_resource", "--resource=https://mcp.example.com/mcp", "--",
			"env"}, "other computers could use the tools of this one, as anyone"},
		{[]string{"run", "--url=http://192.0.2.1/mcp"}, "upstreams.main.url"},
		{[]string{"run", "--url=localhost:8000/mcp"}, "it does not begin with https:// or http://"},
		{[]string{"run", "--url=https://alice:hunter2@notes.example.com/mcp"}, "it contains a user name"},
		{[]string{"run", "--upstreams.main.tols=a", "--", "env"}, "did you mean --upstreams.main.tools?"},
		{[]string{"upstream"}, "use list or pin"},
		{[]string{"upstream", "pin"}, "name one upstream: gatehouse upstream pin NAME"},
		{[]string{"upstream", "list", "x"}, `"x" is not a flag`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := runCommand(t, c.args...)
			if got.code != exitConfig || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			if !strings.Contains(got.stderr, c.want) || !strings.HasPrefix(got.stderr, "gatehouse") {
				t.Errorf("stderr: %q", got.stderr)
			}
			if strings.Contains(got.stderr, "hunter2") {
				t.Errorf("the output contains a secret: %q", got.stderr)
			}
		})
	}
}

func TestConfig_PrintsValuesAndOrigins(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(writeFile(t, ".env", "GATEHOUSE_MCP__MAX_SESSIONS=7\n"))
	secret := writeFile(t, "secret", "hunter2\n")
	profile := writeFile(t, "p.yaml", "provider:\n  kind: local\n  client_secret_file: "+secret+"\n")
	environ := []string{"GATEHOUSE_LOG__FORMAT=json", "GATEHOUSE_CONFIG=" + profile}
	got := runCommandIn(t, console{dir: dir, environ: environ},
		"config", "--log.level=debug", "--tools.show_all", "--server.listen", "127.0.0.1:5000")
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	if strings.Contains(got.stdout, "hunter2") {
		t.Errorf("the output contains the secret:\n%s", got.stdout)
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
		if _, ok := lines[key.Name]; !ok && !key.IsTemplate() && (key.Kind == "" || key.Kind == "local") {
			t.Errorf("%s is not listed", key.Name)
		}
	}
	if !strings.Contains(got.stdout, "Note: clients dial port 3002") {
		t.Errorf("no note about the different ports:\n%s", got.stdout)
	}
}

func TestServe_DoesNotListenWithInvalidConfiguration(t *testing.T) {
	t.Parallel()
	profile := writeFile(t, "p.yaml", "provider:\n  kind: locale\nserver:\n  listn: x\n")
	for _, command := range [][]string{{"serve"}, {}, {"config"}} {
		t.Run(strings.Join(command, ""), func(t *testing.T) {
			address := freeAddress(t)
			flags := []string{"--config=" + profile, "--server.listen=" + address, "--log.level=loud"}
			got := runCommand(t, append(command, flags...)...)
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
					t.Errorf("stderr lacks %q:\n%s", want, got.stderr)
				}
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Error("something listens")
			}
		})
	}
}

// The order is seen when both are wrong: the configuration is invalid and the port is in use.
func TestServe_ChecksConfigurationBeforePort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := runCommand(t, "--server.listen="+ln.Addr().String(), "--log.level=loud"); got.code != exitConfig {
		t.Errorf("%+v", got)
	}
	denied := newDenyFile(t, "- {}\n").path
	if got := runCommand(t, "--server.listen="+ln.Addr().String(), "--denials.file="+denied); got.code != exitConfig {
		t.Errorf("%+v", got)
	}
	if got := runCommand(t, "issuer", "--listen="+ln.Addr().String(), "--log.level=loud"); got.code != exitConfig {
		t.Errorf("%+v", got)
	}
}

func TestServe_CannotListen(t *testing.T) {
	t.Parallel()
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
		"serve, the port of resource and listen in use": {
			[]string{"serve", "--server.listen=" + taken, "--resource=http://" + taken + "/mcp"},
			[]string{
				taken + " is in use", "server.listen, flag --server.listen", "--resource=http://localhost:",
				"/mcp --server.listen=127.0.0.1:", "(that port is free)",
			},
		},
		"serve, the port of listen in use": {
			[]string{"serve", "--server.listen=" + taken, "--resource=http://localhost:4/mcp"},
			[]string{"such as --server.listen=127.0.0.1:"},
		},
		"serve, the port of resource in use": {
			[]string{"serve", "--resource=http://" + taken + "/mcp"},
			[]string{"server.listen, derived from resource", "/mcp (that port is free)"},
		},
		"serve, behind a proxy, a port in use": {
			[]string{
				"serve", "--config=../../configs/oidc.yaml", "--resource=https://mcp.example.com/mcp", "--server.listen=" + taken,
			},
			[]string{taken + " is in use", "--server.listen=127.0.0.1:", "(that port is free)"},
		},
		"serve, the port of operator.listen in use": {
			[]string{"serve", "--server.listen=127.0.0.1:0", "--operator.listen=" + taken},
			[]string{
				taken + " is in use", "operator.listen, flag --operator.listen", "such as --operator.listen=127.0.0.1:",
				"(that port is free)",
			},
		},
		"serve, an operator's address of another computer": {
			[]string{"serve", "--server.listen=127.0.0.1:0", "--operator.listen=192.0.2.1:9464"},
			[]string{"cannot listen on 192.0.2.1:9464", "operator.listen"},
		},
		"issuer, a port in use": {[]string{"issuer", "--listen=" + taken}, []string{taken + " is in use", "--listen"}},
		// 192.0.2.0/24 is for documentation (RFC 5737); no computer has it.
		"serve, an address of another computer": {
			[]string{"--server.listen=192.0.2.1:3002", "--provider.dangerously_allow_public_resource"},
			[]string{"cannot listen on 192.0.2.1:3002", "server.listen"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := runCommand(t, c.args...)
			if got.code != exitPort || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr lacks %q: %q", want, got.stderr)
				}
			}
		})
	}
}

func TestServe_PrintsBannerAndStopsGracefully(t *testing.T) {
	t.Parallel()
	s, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
	banner := s.stdout.String()
	resource := "http://" + address + "/mcp"
	want := []string{
		"Connect   " + resource + "\n",
		"Provider  local: ",
		"Issuer    http://" + address + "\n",
		"Metadata  http://" + address + "/.well-known/oauth-protected-resource/mcp\n",
		"npx @modelcontextprotocol/inspector@latest --transport http --server-url " + resource + "\n",
		"claude mcp add --transport http gatehouse " + resource + "\n",
		"demos only: anyone can sign in as anyone",
	}
	for _, line := range want {
		if !strings.Contains(banner, line) {
			t.Errorf("the banner lacks %q:\n%s", line, banner)
		}
	}
	for tool, shown := range map[string]string{
		"whoami": "mcp:use", "greet": "mcp:use greet:read", "wait": "mcp:use greet:read",
		"confirm": "mcp:use greet:write asks for more: greet:write",
		"stats":   "mcp:use gatehouse:admin asks for more: gatehouse:admin",
	} {
		if got := toolInBanner(banner, tool); got != shown {
			t.Errorf("the banner shows %s with %q, want %q:\n%s", tool, got, shown, banner)
		}
	}
	if status, body := httpGet(t, "http://"+address+"/health"); status != http.StatusOK {
		t.Errorf("/health: %d %s", status, body)
	}
	// The URLs in the banner work.
	status, body := httpGet(t, "http://"+address+"/.well-known/oauth-protected-resource/mcp")
	var metadata providers.Metadata
	err := json.Unmarshal([]byte(body), &metadata)
	if status != http.StatusOK || err != nil || metadata.Resource != resource {
		t.Errorf("metadata: %d %s", status, body)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the port is still open")
	}
	if !strings.Contains(s.stderr.String(), "msg=stopped") {
		t.Errorf("the log lacks the last line:\n%s", s.stderr)
	}
}

// Collectors of logs read the output of a container as JSON lines. What the banner would warn of is logged.
func TestBanner_IsNotMixedWithJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format   string
		terminal bool
		banner   bool
	}{
		"text":               {"text", false, true},
		"text on a terminal": {"text", true, true},
		"JSON":               {"json", false, false},
		"JSON on a terminal": {"json", true, true},
	} {
		for command, args := range map[string][]string{
			"serve":  {"serve", "--resource=http://localhost:4/mcp", "--server.listen=ADDRESS"},
			"issuer": {"issuer", "--listen=ADDRESS", "--signing-algorithm=ES256"},
		} {
			t.Run(command+", "+name, func(t *testing.T) {
				t.Parallel()
				s, _ := startConsole(t, console{terminal: c.terminal}, append(args, "--log.format="+c.format)...)
				s.stop()
				const warning = "anyone can sign in as anyone"
				if got := s.stdout.String(); strings.Contains(got, warning) != c.banner || !c.banner && got != "" {
					t.Errorf("standard output: %q", got)
				}
				log := s.stderr.String()
				if strings.Contains(log, warning) == c.banner {
					t.Errorf("the warning must be written once, to the banner or to the log:\n%s", log)
				}
				if command == "serve" && strings.Contains(log, "clients dial port 4") == c.banner {
					t.Errorf("the note must be written once, to the banner or to the log:\n%s", log)
				}
				for line := range strings.Lines(log) {
					if c.format == "json" && !json.Valid([]byte(line)) {
						t.Errorf("no JSON: %s", line)
					}
				}
			})
		}
	}
}

// On loopback a stop does not drain. Elsewhere a line says how to end the process at once.
func TestServe_SaysHowToStopAtOnceWhileDraining(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		drains bool
	}{
		"on loopback": {[]string{"--resource=http://ADDRESS/mcp"}, false},
		"for a public resource": {[]string{"--server.listen=ADDRESS", "--resource=https://mcp.example.com/mcp",
			"--provider.dangerously_allow_public_resource", "--server.drain_time=300ms"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := startService(t, append([]string{"serve", "--provider.signing_algorithm=ES256"}, c.args...)...)
			begin := time.Now()
			s.stop()
			if took := time.Since(begin); !c.drains && took > 2*time.Second {
				t.Errorf("the stop took %s", took)
			}
			const note = "a second signal (Ctrl-C) ends the process at once"
			if log := s.stderr.String(); strings.Contains(log, note) != c.drains {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}

// toolInBanner returns what the banner shows with a tool.
func toolInBanner(banner, tool string) string {
	for line := range strings.SplitSeq(banner, "\n") {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == tool {
			return strings.Join(fields[1:], " ")
		}
	}
	return ""
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, flags ...string) result {
		t.Helper()
		return runCommand(t, append([]string{"healthcheck"}, flags...)...)
	}
	t.Run("a running server", func(t *testing.T) {
		_, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
		_, port, _ := net.SplitHostPort(address)
		for _, flags := range [][]string{
			{"--resource=http://" + address + "/mcp"},
			{"--server.listen=" + address},
			{"--server.listen=:" + port, "--provider.dangerously_allow_public_resource"},
			{"--server.listen=0.0.0.0:" + port, "--provider.dangerously_allow_public_resource"},
			{"--url=http://" + address + "/health"},
		} {
			if got := check(t, flags...); got != (result{}) {
				t.Errorf("%q: %+v", flags, got)
			}
		}
		got := check(t, "--url=http://"+address+"/nowhere")
		if got.code != exitFailure || !strings.Contains(got.stderr, "404") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the address is in the environment", func(t *testing.T) {
		_, address := startService(t, "serve", "--resource=http://ADDRESS/mcp")
		c := console{environ: []string{"GATEHOUSE_SERVER__LISTEN=" + address}}
		if got := runCommandIn(t, c, "healthcheck"); got != (result{}) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		got := check(t, "--server.listen="+freeAddress(t))
		if got.code != exitFailure || got.stderr == "" || got.stdout != "" {
			t.Errorf("%+v", got)
		}
	})
	// Docker takes 1 for unhealthy and reserves 2.
	t.Run("an invalid configuration", func(t *testing.T) {
		if got := check(t, "--log.level=loud"); got.code != exitFailure || !strings.Contains(got.stderr, "log.level") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("an invalid URL", func(t *testing.T) {
		if got := check(t, "--url=http://%zz"); got.code != exitFailure || got.stderr == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := runCommand(t, "version")
	if got.code != exitOK || got.stderr != "" || strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	for _, flag := range []string{"-v", "--version"} {
		if same := runCommand(t, flag); same != got {
			t.Errorf("%s: %+v", flag, same)
		}
	}
	fields := strings.Fields(got.stdout)
	if len(fields) < 4 || fields[0] != "gatehouse" || !strings.Contains(got.stdout, "go1.") {
		t.Errorf("the version of gatehouse or of Go is missing: %s", got.stdout)
	}
}

// Scripts and orchestrators rely on the numbers.
func TestExitCodes_AreDocumented(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(exitOK, exitFailure, exitConfig, exitPort, exitProvider, exitHung)
	if want := "0 1 2 3 4 5"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	help := strings.Join(strings.Fields(runCommand(t, "help").stdout), " ")
	for _, text := range []string{
		"0 success", "1 failure", "2 invalid configuration or command line", "3 cannot listen on the address",
		"4 the provider cannot be set up", "5 the shutdown hung",
	} {
		if !strings.Contains(help, text) {
			t.Errorf("help lacks %q", text)
		}
	}
}
