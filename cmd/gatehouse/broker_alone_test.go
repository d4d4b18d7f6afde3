package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// One authorization server, several MCP servers: each accepts the tokens that are for it, and no others.
func TestBrokerAlone_ManyServers(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	// The server needs to know the issuer, and the issuer the resource of the server.
	issuer := freeAddress(t)
	srv := startServer(t, map[string]string{"provider.kind": "oidc", "provider.issuer": "http://" + issuer,
		"provider.key_refetch_interval": "1s", "server.failed_auth_per_minute": "1000"})
	environ, flags := brokerFlags(t, company, map[string]string{"provider.resources": srv.url,
		"upstreams.notes.url": "http://127.0.0.1:1/mcp", "upstreams.notes.tools": "*", "tools.show_all": "true",
		"operator.listen": "127.0.0.1:0", "telemetry.metrics": "prometheus"})
	s := startAt(t, console{environ: environ}, issuer, append([]string{"broker"}, flags...)...)
	if s == nil {
		t.Skip("another program has taken the port")
	}
	origin, own := "http://"+issuer, "http://"+issuer+"/mcp"
	banner := s.stdout.String()
	for _, want := range []string{"Issuer     " + origin + "\n", "with the redirect URI " + origin + "/callback\n",
		own + ", " + srv.url, "Store      memory"} {
		if !strings.Contains(banner, want) {
			t.Errorf("the banner lacks %q:\n%s", want, banner)
		}
	}
	waitUntilReady(t, srv.origin())

	t.Run("the SDK's client finds it", func(t *testing.T) {
		alice := &user{name: "alice", decision: "approve"}
		session, err := connect(t, srv.url, modern, alice, dynamicClient)
		if err != nil {
			t.Fatal(err)
		}
		if me := whoamiOf(t, session); me.Subject != "alice" || me.Issuer != origin ||
			!slices.Equal(me.Audience, []string{srv.url}) {
			t.Errorf("the caller is %+v", me)
		}
		if result, err := call(t, session, "stats", nil); err != nil || result.IsError {
			t.Errorf("the step-up: %+v, %v", result, err)
		}
	})
	t.Run("a token is for one resource", func(t *testing.T) {
		here, there := register(t, origin, srv.url), register(t, origin, own)
		if r := whoami(t, srv.url, here.signIn(t, "alice", "mcp:use").Access); r.status != http.StatusOK {
			t.Errorf("its own token: %d %s", r.status, r.body)
		}
		other := there.signIn(t, "alice", "mcp:use").Access
		if r := whoami(t, srv.url, other); r.status != http.StatusUnauthorized ||
			!strings.Contains(r.header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("a token for %s: %d %s", own, r.status, r.body)
		}
		both := here
		both.resource = "http://127.0.0.1:1/mcp"
		if q, err := both.authorize(t, &user{name: "alice", decision: "approve"}, "mcp:use"); err == nil &&
			q.Get("error") != "invalid_target" {
			t.Errorf("an unknown resource: %v", q)
		}
	})
	t.Run("it has no tools", func(t *testing.T) {
		for path, want := range map[string]int{"/mcp": 404, "/.well-known/oauth-protected-resource/mcp": 404, "/health": 200,
			"/readyz": 200, "/": 200, "/keys": 200, "/introspect": 404} {
			if r := send(t, http.MethodGet, origin+path, "", "", nil); r.status != want {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		if _, body := httpGet(t, origin+"/"); !strings.Contains(body, "This is a sign-in service") ||
			!strings.Contains(body, srv.url) {
			t.Errorf("the page at the origin is %s", body)
		}
		_, body := httpGet(t, origin+asMetadata)
		var metadata struct {
			Scopes []string `json:"scopes_supported"`
		}
		if err := json.Unmarshal([]byte(body), &metadata); err != nil ||
			!slices.Contains(metadata.Scopes, "gatehouse:admin") {
			t.Errorf("the metadata is %s", body)
		}
	})
	t.Run("operators see it", func(t *testing.T) {
		found := regexp.MustCompile(`msg="serving operators" listen=(\S+)`).FindStringSubmatch(s.stderr.String())
		if found == nil {
			t.Fatalf("no listener for operators in\n%s", s.stderr)
		}
		status := statusOf(t, "http://"+found[1])
		if !status.Ready || status.SignIns == nil || status.SignIns.Events["signin.complete"]["ok"] < 4 ||
			status.SignIns.Store != "memory" {
			t.Errorf("the status is %+v", status)
		}
		_, page := httpGet(t, "http://"+found[1]+"/")
		_, metrics := httpGet(t, "http://"+found[1]+"/metrics")
		const series = `gatehouse_signins_events_total{gatehouse_event="signin.complete",gatehouse_outcome="ok"}`
		if !strings.Contains(page, "signin.complete") || !strings.Contains(metrics, series) {
			t.Errorf("%s\n%s", page, metrics)
		}
		company.wantNoSecrets(t, "the listener for operators", page+metrics)
	})
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	company.wantNoSecrets(t, "the output", s.stdout.String()+s.stderr.String())
}

// A change that applies at once needs no second authorization server, and one of the provider needs a restart.
func TestBrokerAlone_Reloads(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	environ, flags := brokerFlags(t, company, map[string]string{"provider.store": fileStore(t), "reload.poll": "100ms",
		"upstreams.notes.url": "http://127.0.0.1:1/mcp", "upstreams.notes.tools": "*"})
	profile := writeFile(t, "p.yaml", "log:\n  level: info\n")
	s, address := startServiceIn(t, environ, append([]string{"broker", "--config=" + profile}, flags...)...)
	client := register(t, "http://"+address, "http://"+address+"/mcp")
	tokens := client.signIn(t, "alice", allScopes()...)
	rewrite := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(profile+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(profile+".new", profile); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); !strings.Contains(s.stderr.String(), want); time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("the log lacks %q:\n%s", want, s.stderr)
			}
		}
	}
	rewrite("log:\n  level: debug\n", "changed=[log.level]")
	r, pair := client.refresh(t, tokens.Refresh)
	if r.status != http.StatusOK {
		t.Errorf("a refresh after the reload: %d %s", r.status, r.body)
	}
	rewrite("log:\n  level: debug\nprovider:\n  refresh_grace: 30s\n", "provider.refresh_grace (needs_restart")
	if r, _ = client.refresh(t, pair.Refresh); r.status != http.StatusOK {
		t.Errorf("a refresh after the refused reload: %d %s", r.status, r.body)
	}
}
