package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
)

// One command, and the tools of a server that knows no sign-in are behind one.
func TestRun_PutsACommandBehindTheLocalIssuer(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	s, address := startService(t, "run", "--resource=http://ADDRESS/mcp", "--provider.signing_algorithm=ES256",
		"--upstreams.main.env="+runFixture+"=notes,FIXTURE_PID_FILE="+pidFile,
		"--", self(t), "an argument", "--token", "hunter2")
	endpoint := "http://" + address + "/mcp"

	resp, err := http.Post(endpoint, "application/json", strings.NewReader(rpc("tools/list", "{}")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(challenge, `scope="mcp:use"`) {
		t.Errorf("without a token: %d, %s", resp.StatusCode, challenge)
	}
	for _, protocol := range []string{modern, legacy} {
		alice := &user{name: "alice", decision: "approve"}
		session, err := connect(t, endpoint, protocol, alice, dynamicClient)
		if err != nil {
			t.Fatal(err)
		}
		if len(alice.pages) != 1 || !strings.Contains(alice.pages[0], "Use the tools of this server") {
			t.Errorf("%s: alice has seen %d pages", protocol, len(alice.pages))
		}
		list, err := session.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tool := range list.Tools {
			names = append(names, tool.Name)
		}
		slices.Sort(names)
		if want := []string{"environment", "read_note", "write_note"}; !slices.Equal(names, want) {
			t.Errorf("%s: the tools are %q, not %q", protocol, names, want)
		}
		result, err := call(t, session, "read_note", map[string]any{"id": 7})
		if err != nil || result.IsError || textOf(result) != `read {"id":7}` {
			t.Errorf("%s: %+v, %v", protocol, result, err)
		}
		result, err = call(t, session, "environment", nil)
		if err != nil || result.IsError {
			t.Errorf("%s: %+v, %v", protocol, result, err)
		}
		allowed := []string{"FIXTURE_PID_FILE", runFixture, "HOME", "LANG", "PATH", "TMPDIR"}
		for _, name := range strings.Fields(textOf(result)) {
			if !slices.Contains(allowed, name) {
				t.Errorf("the process has the variable %s", name)
			}
		}
		if _, err := call(t, session, "greet", map[string]any{"name": "Ada"}); err == nil {
			t.Errorf("%s: a tool of this server can be called", protocol)
		}
	}

	out := s.stdout.String()
	for _, want := range []string{
		"\n  Connect   " + endpoint + "\n",
		"\n  Sign-in   anyone who reaches this address, as any user, without a password\n",
		"\n  Upstreams\n    main  " + shorten(self(t)+` "an argument" --token [redacted]`),
		"3 tools, 3 offered  as found at start\n",
		"\n    read_note    mcp:use\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the banner lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out+s.stderr.String(), "hunter2") {
		t.Errorf("a secret is shown:\n%s%s", out, s.stderr)
	}

	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if isRunning(t, string(pid)) {
		t.Errorf("process %s is still there", pid)
	}
}

// Deaf children do not outlive the server, and do not delay its stop beyond its time.
func TestRun_EndsADeafCommandInTime(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	s, _ := startService(t, "run", "--resource=http://ADDRESS/mcp", "--provider.signing_algorithm=ES256",
		"--server.shutdown_timeout=100ms", "--upstreams.main.env="+runFixture+"=deaf,FIXTURE_PID_FILE="+pidFile,
		"--", self(t))
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if isRunning(t, string(pid)) {
		t.Errorf("process %s is still there", pid)
	}
}

func isRunning(t *testing.T, pid string) bool {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return !errors.Is(syscall.Kill(number, 0), syscall.ESRCH)
}

// A signal during the start of an upstream ends both.
func TestRun_StopsWhileTheCommandStarts(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr syncBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "--resource=http://" + freeAddress(t) + "/mcp", "--", "sh", "-c",
			"echo $$ > " + pidFile + "; exec sleep 60"}, console{stdout: &stdout, stderr: &stderr, catalog: testCatalog})
	}()
	var pid string
	for begin := time.Now(); pid == "" && time.Since(begin) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		content, _ := os.ReadFile(pidFile)
		pid = strings.TrimSpace(string(content))
	}
	cancel()
	if code := <-ended; code != exitOK || stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
	if isRunning(t, pid) {
		t.Errorf("process %s is still there", pid)
	}
}

// profileIn returns the profile at the end of the banner.
func profileIn(t *testing.T, out string) string {
	t.Helper()
	_, profile, found := strings.Cut(out, "\n# gatehouse.yaml\n")
	if !found {
		t.Fatalf("the banner has no profile:\n%s", out)
	}
	return profile
}

// The profile at the end of the banner serves the same without run.
func TestRun_PrintsTheProfileForWhatComesNext(t *testing.T) {
	t.Parallel()
	arguments := []string{"--resource=http://ADDRESS/mcp", "--provider.signing_algorithm=ES256", "--mcp.max_sessions=7",
		`--upstreams.main.tools=*_note > notes:use`, "--upstreams.main.env=" + runFixture + "=notes"}
	s, address := startService(t, append(append([]string{"run"}, arguments...), "--", self(t))...)
	profile := profileIn(t, s.stdout.String())
	if strings.Contains(profile, runFixture+"=notes") {
		t.Errorf("a value of a variable is shown:\n%s", profile)
	}
	again, err := configs.Load(configs.Sources{Profile: writeFile(t, "gatehouse.yaml", profile)})
	if err != nil {
		t.Fatalf("%v\n%s", err, profile)
	}
	flags := map[string]string{}
	for _, argument := range arguments {
		name, value, _ := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		flags[name] = strings.ReplaceAll(value, "ADDRESS", address)
	}
	cfg, err := configs.Load(configs.Sources{Flags: flags, Run: &configs.Run{Command: []string{self(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range configs.Compare(cfg, again) {
		if change.Key != "upstreams.main.env" { // redacted
			t.Errorf("%s differs:\n%s", change.Key, profile)
		}
	}
}

func TestRun_PutsAURLBehindTheLocalIssuer(t *testing.T) {
	t.Parallel()
	for name, stateless := range map[string]bool{"with sessions": false, "without sessions": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			notes := fixtureServer("notes")
			handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return notes },
				&mcp.StreamableHTTPOptions{Stateless: stateless})
			var authorized atomic.Int64
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer hunter2" {
					authorized.Add(1)
				}
				handler.ServeHTTP(w, r)
			}))
			t.Cleanup(upstream.Close)
			secret := writeFile(t, "secret", "hunter2")
			s, address := startServiceIn(t, []string{"GATEHOUSE_UPSTREAMS__MAIN__AUTHORIZATION_FILE=" + secret}, "run",
				"--resource=http://ADDRESS/mcp", "--provider.signing_algorithm=ES256", "--url="+upstream.URL+"/mcp?key=hunter2")
			alice := &user{name: "alice", decision: "approve"}
			session, err := connect(t, "http://"+address+"/mcp", modern, alice, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			result, err := call(t, session, "read_note", map[string]any{"id": 7})
			if err != nil || textOf(result) != `read {"id":7}` || authorized.Load() == 0 {
				t.Errorf("%+v, %v, %d authorized requests", result, err, authorized.Load())
			}
			out := s.stdout.String()
			if want := "\n    main  " + upstream.URL + "/mcp?[redacted]  "; !strings.Contains(out, want) {
				t.Errorf("the banner lacks %q:\n%s", want, out)
			}
			if want := "authorization_file: " + secret; !strings.Contains(profileIn(t, out), want) {
				t.Errorf("the profile lacks %q:\n%s", want, out)
			}
			if strings.Contains(out+s.stderr.String(), "hunter2") {
				t.Errorf("a secret is shown:\n%s%s", out, s.stderr)
			}
		})
	}
}

// Where no tool is offered, the banner says which setting to look at.
func TestRun_OffersNothing(t *testing.T) {
	t.Parallel()
	s, _ := startService(t, "run", "--resource=http://ADDRESS/mcp", "--provider.signing_algorithm=ES256",
		"--upstreams.main.env="+runFixture+"=notes", "--upstreams.main.tools=raed_* > notes:read", "--", self(t))
	const want = "no line of upstreams.main.tools names a tool that the upstream has"
	if out := s.stdout.String(); !strings.Contains(out, "    none: "+want) {
		t.Errorf("the banner:\n%s", out)
	}
}

// An upstream that does not answer stops the start, before anything listens.
func TestServe_UpstreamDoesNotAnswer(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"command that ends": {[]string{"run", "--", "sh", "-c", "echo no API_KEY >&2; exit 3"}, []string{
			"upstreams.main: the process ended: exit status 3 [upstream_", "    its output: no API_KEY\n",
			"    fix: it gets only PATH, HOME, LANG, TMPDIR and the variables in upstreams.main.env and env_file"}},
		"command that is no server": {[]string{"run", "--", "echo", "hello"}, []string{"must speak MCP on stdio"}},
		"address without a server": {[]string{"run", "--url=" + closed.URL}, []string{"connection refused",
			"fix: start it, or fix upstreams.main.url"}},
		"another server": {[]string{"run", "--url=" + other.URL}, []string{"it answered 404",
			"fix: check that upstreams.main.url is the MCP endpoint"}},
		"program that does not exist": {[]string{"serve", `--upstreams.a.command=["no-such-program-of-gatehouse"]`,
			"--upstreams.a.tools=*"}, []string{"executable file not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			flags := append([]string{c.args[0], "--resource=http://" + address + "/mcp"}, c.args[1:]...)
			begin := time.Now()
			got := runCommand(t, flags...)
			const want = "gatehouse: an upstream cannot be offered\nupstreams."
			if got.code != exitUpstream || got.stdout != "" || !strings.Contains(got.stderr, want) {
				t.Errorf("%+v", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("it does not say %q:\n%s", want, got.stderr)
				}
			}
			if strings.Contains(got.stderr, "cannot be reached") {
				t.Errorf("it is logged, too:\n%s", got.stderr)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
