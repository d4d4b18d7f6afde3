package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/configs"
	brokers "gatehouse/providers/broker"
	"gatehouse/providers/local"
)

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

// 401, metadata, registration, sign-in, token, tools.
func TestSignIn_ClientKnowsOnlyTheURL(t *testing.T) {
	t.Parallel()
	preregistered := func(c *auth.AuthorizationCodeHandlerConfig) {
		c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "local-cli"}
	}
	documentURL, trustDocuments := clientDocument(t)
	document := func(c *auth.AuthorizationCodeHandlerConfig) {
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: documentURL}
	}
	srv := startServer(t, map[string]string{
		"provider.client_documents": "true", "provider.allow_loopback_client_documents": "true",
	}, trustDocuments)
	for _, protocol := range []string{modern, legacy} {
		for name, registration := range map[string]clientOption{
			"dynamic registration":        dynamicClient,
			"pre-registered":              preregistered,
			"client ID metadata document": document,
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				alice := &user{name: "alice", decision: "approve"}
				session, err := connect(t, srv.url, protocol, alice, registration)
				if err != nil {
					t.Fatal(err)
				}
				tools, err := session.ListTools(context.Background(), nil)
				if err != nil || len(tools.Tools) == 0 {
					t.Fatalf("tools/list: %v, %v", tools, err)
				}
				greeting, err := call(t, session, "greet", map[string]any{"name": "Ada"})
				if err != nil || textOf(greeting) != "Hello, Ada!" {
					t.Fatalf("greet returned %+v, %v", greeting, err)
				}
				me := whoamiOf(t, session)
				if me.Subject != "alice" || me.Issuer != srv.origin() || strings.Join(me.Audience, " ") != srv.url {
					t.Errorf("the caller is %+v", me)
				}
				slices.Sort(me.Scopes)
				if got := strings.Join(me.Scopes, " "); got != "greet:read mcp:use offline_access" {
					t.Errorf("the first sign-in got scopes %s", got)
				}
			})
		}
	}
}

// Claude Code and Codex use a document on the internet with every issuer that supports them, and register otherwise:
// the built-in profile must work without internet access.
func TestSignIn_BuiltInProfileWorksWithoutInternet(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	documentOrRegistration := func(c *auth.AuthorizationCodeHandlerConfig) {
		dynamicClient(c)
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: "https://client.invalid/client.json"}
	}
	alice := &user{name: "alice", decision: "approve"}
	session, err := connect(t, srv.url, legacy, alice, documentOrRegistration)
	if err != nil {
		t.Fatal(err)
	}
	if id := alice.requests[0].Get("client_id"); !strings.HasPrefix(id, "reg1.") || whoamiOf(t, session).Client != id {
		t.Errorf("the client is %q", id)
	}
}

// clientDocument serves a client ID metadata document over TLS. trust makes the issuer trust its certificate.
func clientDocument(t *testing.T) (address string, trust func(*configs.Config)) {
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": server.URL + "/client.json", "client_name": "A client with a document",
			"redirect_uris": []string{redirectURI}, "grant_types": []string{"authorization_code", "refresh_token"},
			"token_endpoint_auth_method": "none",
		})
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	trust = func(c *configs.Config) {
		switch s := c.Provider.(type) {
		case *local.Settings:
			s.ClientDocumentRootCAs = roots
		case *brokers.Settings:
			s.ClientDocumentRootCAs = roots
		}
	}
	return server.URL + "/client.json", trust
}

func TestSignIn_UsersAreDistinct(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	session, err := connect(t, srv.url, modern, &user{name: "bob", decision: "approve"}, dynamicClient)
	if err != nil {
		t.Fatal(err)
	}
	if me := whoamiOf(t, session); me.Subject != "bob" {
		t.Errorf("the caller is %q, want bob", me.Subject)
	}
}

func TestSignIn_Denied(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	_, err := connect(t, srv.url, modern, &user{name: "alice", decision: "deny"}, dynamicClient)
	if err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("connecting gave %v, want access_denied", err)
	}
}

func TestSignIn_AutoApprove(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"provider.auto_approve": "true"})
	u := &user{}
	session, err := connect(t, srv.url, modern, u, dynamicClient)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.pages) != 0 {
		t.Error("a page was shown")
	}
	if me := whoamiOf(t, session); me.Subject != "alice" {
		t.Errorf("the caller is %q, want alice", me.Subject)
	}
}

// The client lives longer than its access token, and does not sign in again.
func TestSignIn_ClientRefreshesToken(t *testing.T) {
	t.Parallel()
	// The client refreshes ten seconds early: with this lifetime at every call.
	srv := startServer(t, map[string]string{"provider.token_lifetime": "8s"})
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			alice := &user{name: "alice", decision: "approve"}
			session, err := connect(t, srv.url, protocol, alice, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			first := whoamiOf(t, session)
			time.Sleep(1100 * time.Millisecond) // exp counts in seconds
			second := whoamiOf(t, session)
			if !second.ExpiresAt.After(first.ExpiresAt) {
				t.Errorf("the token was not refreshed: %v, then %v", first.ExpiresAt, second.ExpiresAt)
			}
			if strings.Join(second.Audience, " ") != srv.url {
				t.Errorf("the refreshed token is for %v, want %s", second.Audience, srv.url)
			}
			if len(alice.requests) != 1 {
				t.Errorf("%d sign-ins, want 1", len(alice.requests))
			}
		})
	}
}

// A tool that needs more than the first sign-in covers: 403 with all scopes, a second consent, and the call succeeds.
func TestSignIn_ClientStepsUp(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			srv := startServer(t, nil)
			alice := &user{name: "alice", decision: "approve"}
			session, err := connect(t, srv.url, protocol, alice, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			result, err := call(t, session, "stats", nil)
			if err != nil || result.IsError {
				t.Fatalf("stats returned %+v, %v", result, err)
			}
			if len(alice.requests) != 2 {
				t.Fatalf("%d sign-ins, want 2", len(alice.requests))
			}
			got := alice.requests[1].Get("scope")
			if !strings.Contains(got, "mcp:use") || !strings.Contains(got, "gatehouse:admin") {
				t.Errorf("the second sign-in requests %q, want the required and the tool's scope", got)
			}
			if me := whoamiOf(t, session); !slices.Contains(me.Scopes, "greet:read") {
				t.Errorf("the step-up lost a scope of the first sign-in: %v", me.Scopes)
			}
			var stats statsResult
			decodeStructured(t, result, &stats)
			if !stats.KeysUsable || stats.Requests["no_credentials"] == 0 || stats.Requests["insufficient_scope"] == 0 {
				t.Errorf("the statistics do not count the requests: %+v", stats)
			}
		})
	}
}

func TestElicitation_AsksIfClientSupportsIt(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	for _, protocol := range []string{modern, legacy} {
		for _, c := range []struct {
			name   string
			answer *mcp.ElicitResult
			want   string
		}{
			{"accepted", &mcp.ElicitResult{Action: "accept", Content: map[string]any{"yes": true}}, "confirmed"},
			{"answered no", &mcp.ElicitResult{Action: "accept", Content: map[string]any{"yes": false}}, "declined"},
			{"declined", &mcp.ElicitResult{Action: "decline"}, "declined"},
			{"not supported", nil, "not asked"},
		} {
			t.Run(protocol+", "+c.name, func(t *testing.T) {
				var options *mcp.ClientOptions
				if c.answer != nil {
					ask := func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
						if req.Params.Message != "Confirm Ada?" {
							t.Errorf("the question is %q", req.Params.Message)
						}
						return c.answer, nil
					}
					options = &mcp.ClientOptions{ElicitationHandler: ask}
				}
				alice := &user{name: "alice", decision: "approve"}
				session, err := connectWith(t, srv.url, protocol, alice, options, dynamicClient)
				if err != nil {
					t.Fatal(err)
				}
				result, err := call(t, session, "confirm", map[string]any{"name": "Ada"})
				if err != nil || !strings.HasPrefix(textOf(result), c.want) {
					t.Errorf("confirm returned %+v, %v; want %q", result, err, c.want)
				}
			})
		}
	}
}

func TestProgress_ArrivesAndCallIsCancelled(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			srv := startServer(t, nil)
			progress := make(chan float64, 100)
			onProgress := func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
				progress <- r.Params.Progress
			}
			alice := &user{name: "alice", decision: "approve"}
			options := &mcp.ClientOptions{ProgressNotificationHandler: onProgress}
			session, err := connectWith(t, srv.url, protocol, alice, options, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			params := &mcp.CallToolParams{Name: "wait", Arguments: map[string]any{"steps": 2}}
			params.SetProgressToken("p1")
			done := make(chan error, 1)
			go func() { _, err := session.CallTool(ctx, params); done <- err }()
			for _, want := range []float64{1, 2} {
				select {
				case got := <-progress:
					if got != want {
						t.Errorf("progress %v, want %v", got, want)
					}
				case err := <-done:
					t.Fatalf("the call ended early: %v", err)
				case <-time.After(5 * time.Second):
					t.Fatal("no progress within 5 s")
				}
			}
			cancel()
			select {
			case err := <-done:
				if err == nil {
					t.Error("a cancelled call succeeded")
				}
			case <-time.After(5 * time.Second):
				t.Error("the call did not end when it was cancelled")
			}
			// Before the session is closed, which would end the call too.
			select {
			case <-srv.cancelled:
			case <-time.After(5 * time.Second):
				t.Error("the cancellation did not reach the tool")
			}
		})
	}
}

func TestTools_RefuseInvalidArguments(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	session, err := connect(t, srv.url, modern, &user{name: "alice", decision: "approve"}, dynamicClient)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tool      string
		arguments map[string]any
	}{
		"an empty name":    {"greet", map[string]any{"name": ""}},
		"no name":          {"greet", map[string]any{}},
		"a very long name": {"greet", map[string]any{"name": strings.Repeat("x", 101)}},
		"an unknown field": {"greet", map[string]any{"name": "Ada", "admin": true}},
		"too small":        {"wait", map[string]any{"steps": 0}},
		"too large":        {"wait", map[string]any{"steps": 61}},
		"a string":         {"wait", map[string]any{"steps": "3"}},
		"no integer":       {"wait", map[string]any{"steps": 0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := call(t, session, c.tool, c.arguments)
			if err == nil && !result.IsError {
				t.Errorf("%s accepted %v: %+v", c.tool, c.arguments, result)
			}
		})
	}
}

func whoamiOf(t testing.TB, s *mcp.ClientSession) whoamiResult {
	t.Helper()
	result, err := call(t, s, "whoami", nil)
	if err != nil || result.IsError {
		t.Fatalf("whoami returned %+v, %v", result, err)
	}
	var me whoamiResult
	decodeStructured(t, result, &me)
	return me
}

func decodeStructured(t testing.TB, r *mcp.CallToolResult, into any) {
	t.Helper()
	raw, err := json.Marshal(r.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}
