package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/scalekitenv"
)

// examination is the output of `gatehouse doctor --json`.
type examination struct {
	Version  string
	Resource string
	Provider string
	Counts   map[diagnostics.Verdict]int
	Checks   []doctor.Result
}

// doctorJSON runs the command with --json, and returns its exit code and its output.
func doctorJSON(t *testing.T, c console, args ...string) (int, examination) {
	t.Helper()
	got := runCommandIn(t, c, append([]string{"doctor", "--json"}, args...)...)
	var e examination
	if err := json.Unmarshal([]byte(got.stdout), &e); err != nil || got.stderr != "" {
		t.Fatalf("exit code %d, %v\n%s\n%s", got.code, err, got.stdout, got.stderr)
	}
	return got.code, e
}

// defaultAlgorithm makes [startServer] sign as the commands expect without further flags.
func defaultAlgorithm() map[string]string {
	return map[string]string{"provider.signing_algorithm": "RS256"}
}

// bad returns the checks that did not pass.
func (e examination) bad() []string {
	var names []string
	for _, r := range e.Checks {
		if r.Verdict == diagnostics.VerdictWarning || r.Verdict == diagnostics.VerdictFailed {
			names = append(names, r.Name+": "+r.Found)
		}
	}
	return names
}

func (e examination) verdict(name string) diagnostics.Verdict {
	for _, r := range e.Checks {
		if r.Name == name {
			return r.Verdict
		}
	}
	return ""
}

// Doctor and the server are two programs that share nothing but the configuration.
func TestDoctor_HealthyServer(t *testing.T) {
	t.Parallel()
	t.Run("local", func(t *testing.T) {
		srv := startServer(t, defaultAlgorithm())
		token := writeFile(t, "token", "Bearer "+srv.token(t, "alice", "mcp:use", "greet:read")+"\n")
		code, e := doctorJSON(t, console{}, "--resource="+srv.url, "--token-file="+token)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "provider.keys", "provider.registration", "server.ready", "server.exposed", "server.tools")
		if e.Provider != "local" || e.Resource != srv.url || e.Version == "" ||
			e.Counts["ok"] < 20 || e.Counts["failed"] != 0 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("oidc, with the issuer as a separate program", func(t *testing.T) {
		_, issuer := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS")
		settings := []string{
			"--provider.kind=oidc", "--provider.issuer=http://" + issuer, "--tools.demo", "--scopes.required=mcp:use",
			"--server.allowed_origins=http://localhost:*",
		}
		t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
		// Before the server runs, all other checks are possible.
		code, e := doctorJSON(t, console{}, append(settings, "--resource=http://"+freeAddress(t)+"/mcp")...)
		if bad := e.bad(); code != exitOK || len(bad) != 1 || !strings.HasPrefix(bad[0], "server.tcp: ") {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "provider.keys")
		if e.verdict("server.health") != diagnostics.VerdictSkipped {
			t.Errorf("%+v", e)
		}
		serve := []string{"serve", "--server.drain_time=0s", "--resource=http://ADDRESS/mcp"}
		_, address := startService(t, append(serve, settings...)...)
		waitUntilReady(t, "http://"+address)
		code, e = doctorJSON(t, console{}, append(settings, "--resource=http://"+address+"/mcp")...)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
	})
	t.Run("oidc, with an audit log, a status page and a collector", func(t *testing.T) {
		_, issuer := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS")
		key := filepath.Join(t.TempDir(), "audit.key")
		public := strings.TrimSpace(runCommand(t, "audit", "key", key).stdout)
		environ := []string{"GATEHOUSE_AUDIT__SIGNING_KEY_FILE=" + key,
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + newTestCollector(t).url, "OTEL_EXPORTER_OTLP_HEADERS=api-key=canary-secret"}
		settings := []string{
			"--provider.kind=oidc", "--provider.issuer=http://" + issuer, "--tools.demo", "--scopes.required=mcp:use",
			"--server.allowed_origins=http://localhost:*", "--server.drain_time=0s",
			"--audit.dir=" + filepath.Join(t.TempDir(), "audit"), "--operator.listen=" + freeAddress(t),
			"--telemetry.traces=otlp",
		}
		serve := append([]string{"serve", "--resource=http://ADDRESS/mcp"}, settings...)
		_, address := startServiceIn(t, environ, serve...)
		waitUntilReady(t, "http://"+address)
		c := console{environ: environ}
		code, e := doctorJSON(t, c, append(settings, "--resource=http://"+address+"/mcp")...)
		// The folder of temporary files may be in memory, or nearly full.
		isDisk := func(name string) bool { return strings.HasPrefix(name, "audit.disk: ") }
		if bad := slices.DeleteFunc(e.bad(), isDisk); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "config.secret_file", "audit.folder", "audit.access", "audit.checkpoint", "audit.key", "operator.status",
			"telemetry.traces")
		if out := runCommandIn(t, c, append([]string{"doctor"}, settings...)...).stdout; strings.Contains(out, "canary") ||
			!strings.Contains(out, "the public key is "+public+"\n") {
			t.Errorf("without %s, or with a secret:\n%s", public, out)
		}
	})
	t.Run("scalekit, with a secret", func(t *testing.T) {
		srv, env := startScalekit(t, nil)
		token := writeFile(t, "token", env.Token(scalekitenv.Scopes("mcp:use")))
		waitUntilReady(t, srv.origin())
		client := env.EnvironmentClient()
		secret := console{environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + client.Secret}}
		code, e := doctorJSON(t, secret, "--provider.kind=scalekit", "--provider.environment_url="+env.URL(),
			"--provider.resource_id="+env.ResourceID(), "--scopes.required=mcp:use", "--scopes.initial=mcp:use,greet:read",
			"--tools.demo", "--resource="+srv.url, "--token-file="+token, "--provider.client_id="+client.ID)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "registration.server_url", "registration.scopes", "provider.keys", "server.tools")
	})
}

func wantOK(t *testing.T, e examination, names ...string) {
	t.Helper()
	for _, name := range names {
		if e.verdict(name) != diagnostics.VerdictOK {
			t.Errorf("%s: %s", name, e.verdict(name))
		}
	}
}

func TestDoctor_ExitCodes(t *testing.T) {
	t.Parallel()
	srv := startServer(t, defaultAlgorithm())
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"success":   {[]string{"--resource=" + srv.url}, exitOK, "0 failed"},
		"a warning": {[]string{"--resource=http://" + freeAddress(t) + "/mcp"}, exitOK, "1 warning, 0 failed"},
		"a failure": {[]string{"--resource=" + srv.origin() + "/other"}, exitFailure, "nothing is served at /other"},
		"an invalid configuration": {
			[]string{"--log.level=loud", "--resource=mcp.example.com"}, exitConfig, "did you mean https://mcp.example.com",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := runCommand(t, append([]string{"doctor"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.stdout, c.want) || got.stderr != "" {
				t.Errorf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
			}
			code, e := doctorJSON(t, console{}, c.args...)
			if code != c.code || (code == exitOK) != (e.Counts["failed"] == 0) {
				t.Errorf("as JSON: exit code %d, %v", code, e.Counts)
			}
		})
	}
}

func TestDoctor_InvalidCommandLine(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"two formats":            {[]string{"--json", "--report"}, "choose one"},
		"no time":                {[]string{"--timeout=0s"}, "--timeout"},
		"too much time":          {[]string{"--timeout=1h"}, "--timeout"},
		"a token as a flag":      {[]string{"--token=canary-token"}, "unknown flag: --token\n"},
		"a token as an argument": {[]string{"--json", "canary-token"}, "takes no arguments"},
		"no token file":          {[]string{"--token-file=" + missing}, "the token cannot be read"},
		"an empty token file":    {[]string{"--token-file=" + writeFile(t, "empty", "\n")}, "there is no token"},
		"two tokens in a file": {
			[]string{"--token-file=" + writeFile(t, "two", "canary-token canary-token\n")}, "more than one token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := runCommand(t, append([]string{"doctor"}, c.args...)...)
			if got.code != exitConfig || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("%+v", got)
			}
			if strings.Contains(got.stderr, "canary-token") {
				t.Errorf("the output contains the token: %s", got.stderr)
			}
		})
	}
}

// The request ID in the output of doctor leads to the log line with the reason.
func TestDoctor_RequestIDLeadsToLogLine(t *testing.T) {
	t.Parallel()
	srv := startServer(t, defaultAlgorithm())
	waitUntilReady(t, srv.origin())
	foreign := providertest.NewIssuer(t).Token(srv.url, nil)
	code, e := doctorJSON(t, console{}, "--resource="+srv.url, "--token-file="+writeFile(t, "token", foreign))
	if code != exitFailure || e.verdict("server.tools") != diagnostics.VerdictFailed || len(e.bad()) != 1 {
		t.Fatalf("exit code %d, %v", code, e.bad())
	}
	srv.stop()
	for _, r := range e.Checks {
		if r.Name != "server.tools" {
			continue
		}
		for line := range strings.SplitSeq(srv.log.String(), "\n") {
			_, after, found := strings.Cut(line, "request_id=")
			id, _, _ := strings.Cut(after, " ")
			if found && strings.Contains(r.Fix, id) && strings.Contains(line, "reason=issuer_mismatch") {
				return
			}
		}
		t.Errorf("no request ID in %q leads to the reason:\n%s", r.Fix, srv.log)
	}
}

// A report is made for publication.
func TestDoctor_ReportContainsNoSecrets(t *testing.T) {
	t.Parallel()
	srv := startServer(t, defaultAlgorithm())
	secret := writeFile(t, "secret", "canary-secret\n")
	profile := writeFile(t, "p.yaml", "provider:\n  kind: local\n  client_secret_file: "+secret+"\n")
	home := filepath.Dir(filepath.Dir(profile))
	token := srv.token(t, "alice", "mcp:use")
	got := runCommandIn(t, console{environ: []string{"HOME=" + home, "USER=canary-user"}},
		"doctor", "--report", "--config="+profile, "--resource="+srv.url, "--scopes.initial=mcp:use,greet:read",
		"--scopes.required=mcp:use", "--server.allowed_origins=http://localhost:*", "--tools.demo",
		"--token-file="+writeFile(t, "token", token))
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{
		"gatehouse ", runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, "resource ", srv.url, "(flag --resource)",
		"[redacted]  (profile ~/", "server.tools ", " 0 failed, ",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the report lacks %q:\n%s", want, got.stdout)
		}
	}
	for _, key := range configs.Keys() {
		isOffered := (key.Kind == "" || key.Kind == "local") && !key.IsTemplate()
		if isOffered && !strings.Contains(got.stdout, "\n"+key.Name+" ") {
			t.Errorf("the report lacks %s", key.Name)
		}
	}
	for _, word := range append(strings.Split(token, "."), "canary-secret", "canary-user", home) {
		if strings.Contains(got.stdout, word) {
			t.Errorf("the report contains %q:\n%s", word, got.stdout)
		}
	}
}

func TestDoctor_EndsWhenInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr syncBuffer
	c := console{stdout: &stdout, stderr: &stderr, catalog: testCatalog}
	if code := run(ctx, []string{"doctor"}, c); code != exitFailure {
		t.Errorf("exit code %d\n%s\n%s", code, &stdout, &stderr)
	}
}

func TestDoctor_READMEExcerptIsRealOutput(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const marker = "<!-- doctor: a test compares these lines with the output -->\n```\n"
	_, after, found := strings.Cut(string(raw), marker)
	excerpt, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatal("README.md has no excerpt")
	}
	_, issuer := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS")
	resource := freeAddress(t)
	got := runCommand(t, "doctor", "--config="+filepath.Join(root, "configs/oidc.yaml"), "--tools.demo",
		"--provider.issuer=http://"+issuer+"/", "--resource=http://"+resource+"/mcp")
	out := strings.NewReplacer(issuer, "localhost:9000", resource, "localhost:3002").Replace(got.stdout)
	for line := range strings.Lines(excerpt) {
		if !strings.Contains(out, line) {
			t.Errorf("the output lacks this line of README.md:\n%s\n%s", line, out)
		}
	}
}
