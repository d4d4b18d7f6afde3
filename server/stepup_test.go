package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/server"
)

// stepUpCase is a call that needs more than its token holds.
type stepUpCase struct {
	provider func(*oidc.Settings)
	implies  server.ScopeHierarchy
	needs    string // the operation's scopes; every call needs mcp:use
	scope    any    // of the token; nil for a token without a scope claim
	want     string // the challenge's scopes
}

// startStepUp starts a server with tools (greet:read, greet:write, admin) and a provider of kind oidc.
func startStepUp(t *testing.T, change func(*oidc.Settings), implies server.ScopeHierarchy) (*testServer,
	*providertest.Issuer) {
	t.Helper()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	settings := oidc.Defaults()
	settings.Issuer, settings.JWKSURL = authority.URL(), authority.KeysURL()
	if change != nil {
		change(settings)
	}
	tools := []string{"greet:read", "greet:write", "admin"}
	return start(t, options{provider: settings, implies: implies,
		known: append([]string{"mcp:use"}, tools...), tools: append(tools, "demo:read")}), authority
}

// Clients request exactly the scopes of the challenge, so it must name those that they would otherwise lose, and no
// others.
func TestStepUpChallengeRepeatsHeldScopes(t *testing.T) {
	advertised := func(scopes ...string) func(*oidc.Settings) {
		return func(s *oidc.Settings) { s.ScopesAdvertised = scopes }
	}
	mapped := func(entries ...string) func(*oidc.Settings) {
		return func(s *oidc.Settings) { s.ScopeMap = entries }
	}
	entra := mapped("api://demo/mcp.use=mcp:use", "api://demo/greet.read=greet:read",
		"api://demo/admin=admin", "mcp.use=mcp:use", "greet.read=greet:read", "admin=admin")
	for name, c := range map[string]stepUpCase{
		"required, the operation's, the token's": {nil, nil, "admin", "greet:read mcp:use",
			"mcp:use admin greet:read"},
		"in the order of the token": {nil, nil, "admin", "greet:write greet:read",
			"mcp:use admin greet:write greet:read"},
		"each once": {nil, nil, "admin mcp:use",
			"greet:read greet:read mcp:use", "mcp:use admin greet:read"},
		"nothing that no rule mentions": {nil, nil, "admin",
			"mcp:use openid profile email demo:read", "mcp:use admin"},
		"never offline_access": {advertised("offline_access", "openid"), nil, "admin",
			"mcp:use offline_access", "mcp:use admin openid"},
		"never offline_access, whatever a rule says": {nil,
			server.ScopeHierarchy{"offline_access": {"greet:read"}}, "admin offline_access",
			"mcp:use offline_access", "mcp:use admin"},
		"the token's own, not what they imply": {nil, server.ScopeHierarchy{"greet:write": {"greet:read"}},
			"admin", "mcp:use greet:write", "mcp:use admin greet:write"},
		"a broad scope that the token holds": {nil, server.ScopeHierarchy{"staff": {"mcp:use", "greet:read"}},
			"admin", "staff", "mcp:use admin staff"},
		"advertised, and of no tool": {advertised("openid", "audience:server:client_id:x"), nil, "admin",
			"mcp:use greet:read", "mcp:use admin greet:read openid audience:server:client_id:x"},
		"advertised, but of a tool": {advertised("openid", "greet:write", "admin", "demo:read"), nil,
			"greet:read", "mcp:use", "mcp:use greet:read openid"},
		"advertised, but broad or narrow": {advertised("openid", "staff", "note:read"),
			server.ScopeHierarchy{"staff": {"note:read"}}, "admin", "mcp:use", "mcp:use admin openid"},
		"advertised and held": {advertised("greet:read", "openid"), nil, "admin", "openid greet:read",
			"mcp:use admin greet:read openid"},
		"advertised and required": {advertised("mcp:use", "openid"), nil, "admin", "openid",
			"mcp:use admin openid"},
		"advertised under the provider's name": {func(s *oidc.Settings) {
			advertised("openid", "x/use", "x/write")(s)
			mapped("x/use=mcp:use", "x/write=greet:write")(s)
		}, nil, "admin", "x/use", "x/use admin openid"},
		"under the provider's names": {mapped("x/use=mcp:use", "x/read=greet:read"), nil,
			"admin", "x/read", "x/use admin x/read"},
		"as the token spells a scope with many parts": {mapped("x/reader=greet:read", "x/all=greet:read",
			"x/all=greet:write"), nil, "admin", "x/all mcp:use", "mcp:use admin x/all"},
		"two of ours that are one of theirs": {mapped("x/all=greet:read", "x/all=greet:write"), nil,
			"greet:read greet:write", "mcp:use", "mcp:use x/all"},
		"the name to ask for, not that of the token": {entra, nil, "admin", "greet.read mcp.use",
			"api://demo/mcp.use api://demo/admin api://demo/greet.read"},
		"without a scope claim, without defaults": {advertised("openid"), nil, "admin", nil,
			"mcp:use admin openid"},
		"an empty scope claim, with defaults": {
			func(s *oidc.Settings) { s.DefaultScopes = []string{"mcp:use", "greet:read"} },
			nil, "admin", "", "mcp:use admin"},
	} {
		t.Run(name, func(t *testing.T) {
			f, authority := startStepUp(t, c.provider, c.implies)
			token := authority.Token(f.resource.String(), map[string]any{"scope": c.scope})
			for _, when := range []string{"verified", "remembered"} {
				header := bearer(token)
				header["X-Needs"] = c.needs
				r := f.do(t, http.MethodPost, "/mcp", header, nil)
				if got := parameters(t, r)["scope"]; r.status != 403 || got != c.want {
					t.Errorf("%s: %d with scope %q, want %q", when, r.status, got, c.want)
				}
			}
		})
	}
}

// The scopes of a token may be as long as the token. A challenge must fit through every proxy.
func TestStepUpChallengeIsBounded(t *testing.T) {
	const limit = 2 << 10
	known, held := []string{}, []string{}
	for i := range 100 {
		known = append(known, fmt.Sprintf("%s:%d", strings.Repeat("x", 30), i))
	}
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	settings := oidc.Defaults()
	settings.Issuer, settings.JWKSURL = authority.URL(), authority.KeysURL()
	f := start(t, options{provider: settings, known: known})
	longest, short := 0, 0
	for _, scope := range known {
		held = append(held, scope)
		header := bearer(authority.Token(f.resource.String(), map[string]any{"scope": strings.Join(held, " ")}))
		header["X-Needs"] = "admin"
		r := f.do(t, http.MethodPost, "/mcp", header, nil)
		challenge := r.header.Get("WWW-Authenticate")
		switch got := parameters(t, r)["scope"]; got {
		case "mcp:use admin " + strings.Join(held, " "):
			longest = len(challenge)
			if short > 0 {
				t.Errorf("%d scopes are named, although fewer were too many", len(held))
			}
		case "mcp:use admin":
			short++
		default:
			t.Fatalf("the challenge for %d scopes is %q", len(held), got)
		}
		if len(challenge) > limit {
			t.Errorf("a challenge of %d bytes", len(challenge))
		}
	}
	if longest < limit-64 || short == 0 {
		t.Errorf("the longest challenge has %d bytes, and %d were without the token's scopes", longest, short)
	}
	// What the operation itself needs is always named.
	header := bearer(authority.Token(f.resource.String(), map[string]any{"scope": held[0]}))
	header["X-Needs"] = strings.Join(known, " ")
	if got := parameters(t, f.do(t, http.MethodPost, "/mcp", header,
		nil))["scope"]; got != "mcp:use "+header["X-Needs"] {
		t.Errorf("the challenge names %q", got)
	}
}

// A token that is not verified proves nothing about the scopes of its sender.
func TestChallengeIgnoresUnverifiedTokens(t *testing.T) {
	f, authority := startStepUp(t, func(s *oidc.Settings) { s.ScopesAdvertised = []string{"openid"} }, nil)
	for name, token := range map[string]string{
		"expired": authority.Token(f.resource.String(),
			map[string]any{"scope": "greet:write", "exp": 1}),
		"for another resource": authority.Token("https://other.example/mcp",
			map[string]any{"scope": "greet:write"}),
	} {
		r := f.do(t, http.MethodPost, "/mcp", bearer(token), nil)
		if got := parameters(t, r)["scope"]; r.status != 401 || got != "openid" {
			t.Errorf("%s: %d with scope %q", name, r.status, got)
		}
	}
}

// A provider without scopes cannot grant more of them: signing in again would have no effect.
func TestUnobtainableScopeHasNoChallenge(t *testing.T) {
	f, authority := startStepUp(t, func(s *oidc.Settings) { s.DefaultScopes = []string{"mcp:use", "greet:read"} },
		server.ScopeHierarchy{"greet:read": {"greet:list"}})
	token := authority.Token(f.resource.String(), map[string]any{"scope": nil})
	for _, scope := range []string{"", "greet:read", "greet:list"} {
		header := bearer(token)
		header["X-Needs"] = scope
		if r := f.do(t, http.MethodPost, "/mcp", header, nil); r.status != 200 {
			t.Errorf("a call that needs %q answered %d", scope, r.status)
		}
	}
	for range 3 { // verified, then remembered
		header := bearer(token)
		header["X-Needs"] = "admin"
		r := f.do(t, http.MethodPost, "/mcp", header, nil)
		if r.status != 403 || len(r.header.Values("WWW-Authenticate")) != 0 ||
			!strings.Contains(r.body, `"error":"insufficient_scope"`) {
			t.Errorf("%d %v %s", r.status, r.header.Values("WWW-Authenticate"), r.body)
		}
		if strings.Contains(r.body, "admin") {
			t.Errorf("the body is not fixed: %s", r.body)
		}
	}
	log := f.log.String()
	if n := strings.Count(log, "level=WARN"); n != 1 || !strings.Contains(log, "setting=provider.default_scopes") {
		t.Errorf("%d lines at WARN for three refusals within a minute, want one", n)
	}
	if n := strings.Count(log, "status=403"); n != 3 || strings.Count(log, "reason=scope_unobtainable") != 4 {
		t.Errorf("the request lines do not have the reason")
	}
	// A token with a scope claim gets a challenge at the same server.
	header := bearer(authority.Token(f.resource.String(), map[string]any{"scope": "mcp:use"}))
	header["X-Needs"] = "admin"
	if got := parameters(t, f.do(t, http.MethodPost, "/mcp", header, nil))["scope"]; got != "mcp:use admin" {
		t.Errorf("a token with scopes is challenged for %q", got)
	}
}
