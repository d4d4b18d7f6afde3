package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers/providertest"
)

// An orchestrator's log should not send anybody looking for keys where none are used.
func TestReadinessNamesWhatIsMissing(t *testing.T) {
	issuer := "http://" + freeAddress(t)
	for name, c := range map[string]struct {
		introspection string
		want          string
	}{
		"keys":                     {"off", "keys_unavailable"},
		"keys, and where to ask":   {"opaque", "keys_unavailable"},
		"the address where to ask": {"always", "introspection_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := map[string]string{"provider.kind": "oidc", "provider.issuer": issuer, "provider.introspection": c.introspection}
			if c.introspection != "off" {
				settings["provider.introspection_auth"] = "none"
			}
			h := startHouse(t, settings)
			a := send(t, http.MethodGet, h.origin()+"/readyz", "", "", nil)
			if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"reason":"`+c.want+`"`) {
				t.Errorf("while the issuer is down /readyz answered %d %s, want %s", a.status, a.body, c.want)
			}
		})
	}
}

// Two programs, as in production: the issuer by itself, and a server that knows nothing of it but its identifier.
func TestTheProviderIsSwitchedByConfiguration(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + free.Addr().String()
	free.Close()

	h := startHouse(t, map[string]string{"provider.kind": "oidc", "provider.issuer": issuer, "provider.key_refetch_interval": "1s"})
	if a := send(t, http.MethodGet, h.origin()+"/readyz", "", "", nil); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "keys_unavailable") {
		t.Errorf("while the issuer is down /readyz answered %d %s", a.status, a.body)
	}

	ctx, stop := context.WithCancel(context.Background())
	var stdout, stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"issuer", "--listen", strings.TrimPrefix(issuer, "http://"), "--issuer", issuer, "--resource", h.url}, console{stdout: &stdout, stderr: &stderr})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != exitOK {
			t.Errorf("the issuer ended with %d: %s", code, &stderr)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	ready := false
	for range 100 {
		if ready = send(t, http.MethodGet, h.origin()+"/readyz", "", "", nil).status == http.StatusOK; ready {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if !ready {
		t.Fatal("the server did not become ready when the issuer came up")
	}
	for _, protocol := range []string{modern, legacy} {
		session, err := connect(t, h.url, protocol, &person{name: "bob", decision: "approve"}, dynamic)
		if err != nil {
			t.Fatal(err)
		}
		if me := whoamiOf(t, session); me.Issuer != issuer || me.Subject != "bob" {
			t.Errorf("%s: the server takes the caller for %+v", protocol, me)
		}
	}
	if a := send(t, http.MethodGet, h.origin()+"/authorize", "", "", nil); a.status != http.StatusNotFound {
		t.Errorf("the server has routes of an issuer: /authorize answered %d", a.status)
	}
}

// A client can only get the scopes that the provider knows, so that is what every challenge and the metadata name.
func TestChallengesNameScopesAsTheProviderCallsThem(t *testing.T) {
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	h := startHouse(t, map[string]string{
		"provider.kind": "oidc", "provider.issuer": authority.URL(), "provider.jwks_url": authority.KeysURL(),
		"provider.scope_map": "api://demo/mcp.use=mcp:use,mcp.use=mcp:use,api://demo/greet.write=greet:write",
	})
	if a := send(t, http.MethodPost, h.url, "", "{}", nil); !strings.Contains(a.header.Get("WWW-Authenticate"), `scope="api://demo/mcp.use greet:read"`) {
		t.Errorf("the first challenge is %s", a.header.Get("WWW-Authenticate"))
	}
	if a := send(t, http.MethodGet, h.origin()+"/.well-known/oauth-protected-resource/mcp", "", "", nil); !strings.Contains(a.body, `"scopes_supported":["api://demo/mcp.use","greet:read"]`) {
		t.Errorf("the metadata is %s", a.body)
	}
	token := authority.Token(h.url, map[string]any{"scope": "mcp.use"})
	body, header := callModern("send_greeting", `{"name":"Bob"}`)
	a := send(t, http.MethodPost, h.url, token, body, header)
	if a.status != http.StatusForbidden || !strings.Contains(a.header.Get("WWW-Authenticate"), `scope="api://demo/mcp.use api://demo/greet.write"`) {
		t.Errorf("stepping up: %d %s", a.status, a.header.Get("WWW-Authenticate"))
	}
	body, header = callModern("whoami", `{}`)
	if content := structured(t, send(t, http.MethodPost, h.url, token, body, header)); content["subject"] != "alice" {
		t.Errorf("the tool sees %v", content)
	}
}

// With the product's own tools: a client that asks for exactly what the challenge names loses nothing, and is
// asked for nothing that no call needs.
func TestAClientThatAsksForWhatTheChallengeNamesLosesNothing(t *testing.T) {
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	h := startHouse(t, map[string]string{
		"provider.kind": "oidc", "provider.issuer": authority.URL(), "provider.jwks_url": authority.KeysURL(),
		"provider.scopes_advertised": "openid,mcp:use,greet:read,gatehouse:admin", "provider.default_scopes": "mcp:use",
	})
	asked := func(scope any, tool string) (status int, challenge string) {
		body, header := callModern(tool, `{"name":"Bob"}`)
		a := send(t, http.MethodPost, h.url, authority.Token(h.url, map[string]any{"scope": scope}), body, header)
		_, after, _ := strings.Cut(a.header.Get("WWW-Authenticate"), `scope="`)
		challenge, _, _ = strings.Cut(after, `"`)
		return a.status, challenge
	}
	held := "openid mcp:use greet:read offline_access"
	for tool, want := range map[string]string{
		"send_greeting": "mcp:use greet:write greet:read openid",
		"server_stats":  "mcp:use gatehouse:admin greet:read openid",
	} {
		if status, got := asked(held, tool); status != http.StatusForbidden || got != want {
			t.Errorf("%s: %d, a challenge for %q, want %q", tool, status, got, want)
		}
	}
	if status, got := asked("mcp:use greet:write greet:read openid", "send_greeting"); status != http.StatusOK {
		t.Errorf("with what was named it is %d, %q", status, got)
	}
	if status, got := asked(nil, "send_greeting"); status != http.StatusForbidden || got != "" {
		t.Errorf("with default scopes it is %d, a challenge for %q", status, got)
	}
}

// noSignIn is a client's OAuth handler with a token, which counts how often its person would be asked to sign
// in.
type noSignIn struct {
	token  string
	asked  atomic.Int64
	signIn *auth.AuthorizationCodeHandler
}

func (h *noSignIn) TokenSource(context.Context) (oauth2.TokenSource, error) {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: h.token}), nil
}

func (h *noSignIn) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	return h.signIn.Authorize(ctx, req, resp)
}

// The SDK's client believes a 403 without a challenge: it does not open a browser.
func TestAClientDoesNotSignInWhereNoSignInCanHelp(t *testing.T) {
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			h := startHouse(t, map[string]string{
				"provider.kind": "oidc", "provider.issuer": authority.URL(), "provider.jwks_url": authority.KeysURL(),
				"provider.default_scopes": "mcp:use,greet:read", "tools.show_all": "true",
			})
			handler := &noSignIn{token: authority.Token(h.url, map[string]any{"scope": nil})}
			var err error
			if handler.signIn, err = auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
				RedirectURL: redirectURI, PreregisteredClient: &oauthex.ClientCredentials{ClientID: "web"},
				AuthorizationCodeFetcher: func(context.Context, *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
					handler.asked.Add(1)
					return nil, errors.New("the person closed the window")
				},
				Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
			}); err != nil {
				t.Fatal(err)
			}
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{
				Endpoint: h.url, OAuthHandler: handler, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
			}, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = session.Close() })
			if result, err := call(t, session, "greet", map[string]any{"name": "Ada"}); err != nil || result.IsError {
				t.Errorf("greet: %+v, %v", result, err)
			}
			if _, err := call(t, session, "server_stats", nil); err == nil || handler.asked.Load() != 0 {
				t.Errorf("server_stats: %v; the person was asked %d times", err, handler.asked.Load())
			}
			if !strings.Contains(h.log.String(), "reason=scope_unobtainable") {
				t.Error("the log does not name the reason")
			}
		})
	}
}
