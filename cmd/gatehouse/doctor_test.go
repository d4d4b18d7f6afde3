package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/scalekitenv"
)

// examined is what `gatehouse doctor --json` writes.
type examined struct {
	Version  string
	Resource string
	Provider string
	Counts   map[diagnostics.Verdict]int
	Checks   []doctor.Result
}

// doctorSays runs the command with --json and returns its exit code and what it found.
func doctorSays(t *testing.T, c console, args ...string) (int, examined) {
	t.Helper()
	got := gatehouseIn(t, c, append([]string{"doctor", "--json"}, args...)...)
	var e examined
	if err := json.Unmarshal([]byte(got.stdout), &e); err != nil || got.stderr != "" {
		t.Fatalf("exit code %d, %v\n%s\n%s", got.code, err, got.stdout, got.stderr)
	}
	return got.code, e
}

func (e examined) bad() []string {
	var names []string
	for _, r := range e.Checks {
		if r.Verdict == diagnostics.VerdictWarning || r.Verdict == diagnostics.VerdictFailed {
			names = append(names, r.Name+": "+r.Found)
		}
	}
	return names
}

func (e examined) verdict(name string) diagnostics.Verdict {
	for _, r := range e.Checks {
		if r.Name == name {
			return r.Verdict
		}
	}
	return ""
}

// The doctor and the server are two programs that know each other by the same configuration only.
func TestDoctorFindsNothingWrongWithAHealthyServer(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		h := startHouse(t, nil)
		token := write(t, "token", "Bearer "+h.token(t, "alice", "mcp:use", "greet:read")+"\n")
		code, e := doctorSays(t, console{}, "--resource="+h.url, "--token-file="+token)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		for _, name := range []string{"provider.keys", "provider.registration", "server.ready", "server.exposed", "server.tools"} {
			if e.verdict(name) != diagnostics.VerdictOK {
				t.Errorf("%s: %s", name, e.verdict(name))
			}
		}
		if e.Provider != "local" || e.Resource != h.url || e.Version == "" || e.Counts["ok"] < 20 || e.Counts["failed"] != 0 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("oidc, with the issuer as a program of its own", func(t *testing.T) {
		_, issuer := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS")
		settings := []string{"--provider.kind=oidc", "--provider.issuer=http://" + issuer, "--tools.demo", "--scopes.required=mcp:use", "--server.allowed_origins=http://localhost:*"}
		t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
		// Before the server runs everything else can be looked at.
		code, e := doctorSays(t, console{}, append(settings, "--resource=http://"+freeAddress(t)+"/mcp")...)
		if bad := e.bad(); code != exitOK || len(bad) != 1 || !strings.HasPrefix(bad[0], "server.tcp: ") {
			t.Errorf("exit code %d, %v", code, bad)
		}
		if e.verdict("provider.keys") != diagnostics.VerdictOK || e.verdict("server.health") != diagnostics.VerdictSkipped {
			t.Errorf("%+v", e)
		}
		_, address := startService(t, append([]string{"serve", "--server.drain_time=0s", "--resource=http://ADDRESS/mcp"}, settings...)...)
		waitUntilReady(t, "http://"+address)
		code, e = doctorSays(t, console{}, append(settings, "--resource=http://"+address+"/mcp")...)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
	})
	t.Run("scalekit, with a secret", func(t *testing.T) {
		h, env := startScalekit(t, nil)
		token := write(t, "token", env.Token(scalekitenv.Scopes("mcp:use")))
		waitUntilReady(t, h.origin())
		settings := []string{"--provider.kind=scalekit", "--provider.environment_url=" + env.URL(), "--provider.resource_id=" + env.ResourceID(),
			"--scopes.required=mcp:use", "--scopes.initial=mcp:use,greet:read", "--tools.demo", "--resource=" + h.url, "--token-file=" + token, "--provider.client_id=" + env.EnvironmentClient().ID}
		code, e := doctorSays(t, console{environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + env.EnvironmentClient().Secret}}, settings...)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		for _, name := range []string{"registration.server_url", "registration.scopes", "provider.keys", "server.tools"} {
			if e.verdict(name) != diagnostics.VerdictOK {
				t.Errorf("%s: %s", name, e.verdict(name))
			}
		}
	})
}

func waitUntilReady(t *testing.T, origin string) {
	t.Helper()
	for range 500 {
		if status, _ := get(t, origin+"/readyz"); status == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server did not become ready")
}

func TestDoctorsExitCodesAreTheDocumentedOnes(t *testing.T) {
	h := startHouse(t, nil)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing failed":      {[]string{"--resource=" + h.url}, exitOK, "0 failed"},
		"a warning":           {[]string{"--resource=http://" + freeAddress(t) + "/mcp"}, exitOK, "1 warning, 0 failed"},
		"something failed":    {[]string{"--resource=" + h.origin() + "/other"}, exitFailure, "nothing is served at /other"},
		"a bad configuration": {[]string{"--log.level=loud", "--resource=mcp.example.com"}, exitConfig, "did you mean https://mcp.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			got := gatehouse(t, append([]string{"doctor"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.stdout, c.want) || got.stderr != "" {
				t.Errorf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
			}
			if code, e := doctorSays(t, console{}, c.args...); code != c.code || (code == exitOK) != (e.Counts["failed"] == 0) {
				t.Errorf("as JSON: exit code %d, %v", code, e.Counts)
			}
		})
	}
}

func TestDoctorRefusesACommandLineThatCannotBeMeant(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"two forms":              {[]string{"--json", "--report"}, "choose one"},
		"no time":                {[]string{"--timeout=0s"}, "--timeout"},
		"too much time":          {[]string{"--timeout=1h"}, "--timeout"},
		"a token as a flag":      {[]string{"--token=canary-token"}, "unknown flag: --token\n"},
		"a token as an argument": {[]string{"--json", "canary-token"}, "nothing may stand behind the flags"},
		"no token file":          {[]string{"--token-file=" + filepath.Join(t.TempDir(), "none")}, "the token cannot be read"},
		"an empty token file":    {[]string{"--token-file=" + write(t, "empty", "\n")}, "there is no token"},
		"two tokens in a file":   {[]string{"--token-file=" + write(t, "two", "canary-token canary-token\n")}, "than one token"},
	} {
		t.Run(name, func(t *testing.T) {
			got := gatehouse(t, append([]string{"doctor"}, c.args...)...)
			if got.code != exitConfig || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("%+v", got)
			}
			if strings.Contains(got.stderr, "canary-token") {
				t.Errorf("it shows the token: %s", got.stderr)
			}
		})
	}
}

// What the id in doctor's answer leads to is the very reason.
func TestTheRequestThatDoctorNamesStandsInTheLogWithItsReason(t *testing.T) {
	h := startHouse(t, nil)
	authority := providertest.NewIssuer(t)
	stale := authority.Token(h.url, nil)
	code, e := doctorSays(t, console{}, "--resource="+h.url, "--token-file="+write(t, "token", stale))
	if code != exitFailure || e.verdict("server.tools") != diagnostics.VerdictFailed || len(e.bad()) != 1 {
		t.Fatalf("exit code %d, %v", code, e.bad())
	}
	var id string
	for _, r := range e.Checks {
		if r.Name == "server.tools" {
			_, id, _ = strings.Cut(r.Fix, "under ")
		}
	}
	h.stop()
	found := false
	for line := range strings.SplitSeq(h.log.String(), "\n") {
		found = found || id != "" && strings.Contains(line, "request_id="+id) && strings.Contains(line, "reason=issuer_mismatch")
	}
	if !found {
		t.Errorf("the log does not have %q:\n%s", id, h.log)
	}
}

// A report is for strangers: it has everything but what is nobody's business.
func TestAReportCanBeShownToStrangers(t *testing.T) {
	h := startHouse(t, nil)
	profile := write(t, "p.yaml", "provider:\n  kind: local\n  client_secret_file: "+write(t, "secret", "canary-secret\n")+"\n")
	token := h.token(t, "alice", "mcp:use")
	got := gatehouseIn(t, console{environ: []string{"HOME=" + filepath.Dir(filepath.Dir(profile)), "USER=canary-user"}},
		"doctor", "--report", "--config="+profile, "--resource="+h.url, "--scopes.initial=mcp:use,greet:read", "--scopes.required=mcp:use",
		"--server.allowed_origins=http://localhost:*", "--token-file="+write(t, "token", token))
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{
		"gatehouse ", runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, "resource ", h.url, "(flag --resource)",
		"[redacted]  (profile ~/", "server.tools ", " 0 failed, ",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, got.stdout)
		}
	}
	for _, key := range configs.Keys() {
		if (key.Kind == "" || key.Kind == "local") && !strings.Contains(got.stdout, "\n"+key.Name+" ") {
			t.Errorf("%s is not in it", key.Name)
		}
	}
	for _, word := range append(strings.Split(token, "."), "canary-secret", "canary-user", filepath.Dir(filepath.Dir(profile))) {
		if strings.Contains(got.stdout, word) {
			t.Errorf("it shows %q:\n%s", word, got.stdout)
		}
	}
}

func TestDoctorEndsWhenItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr syncBuffer
	if code := run(ctx, []string{"doctor"}, console{stdout: &stdout, stderr: &stderr}); code != exitFailure {
		t.Errorf("exit code %d\n%s\n%s", code, &stdout, &stderr)
	}
}

// The README shows what the command writes, and no idealized version of it.
func TestTheExcerptInTheREADMEIsRealOutput(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(raw), "<!-- doctor: a test compares these lines with the output -->\n```\n")
	excerpt, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatal("the README has no excerpt")
	}
	_, issuer := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS")
	resource := freeAddress(t)
	got := gatehouse(t, "doctor", "--config="+filepath.Join(root, "configs/oidc.yaml"), "--tools.demo", "--provider.issuer=http://"+issuer+"/", "--resource=http://"+resource+"/mcp")
	out := strings.NewReplacer(issuer, "localhost:9000", resource, "localhost:3002").Replace(got.stdout)
	for line := range strings.Lines(excerpt) {
		if !strings.Contains(out, line) {
			t.Errorf("the output does not have this line of the README:\n%s\n%s", line, out)
		}
	}
}
