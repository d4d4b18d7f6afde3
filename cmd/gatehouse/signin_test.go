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
	"gatehouse/providers/local"
)

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

// The whole way of a client that knows nothing but the URL: 401, metadata, registration, sign-in, token, tools.
func TestAClientThatKnowsOnlyTheURLSignsInAndCallsATool(t *testing.T) {
	preregistered := func(c *auth.AuthorizationCodeHandlerConfig) {
		c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "local-cli"}
	}
	documentURL, trustDocuments := clientDocument(t)
	document := func(c *auth.AuthorizationCodeHandlerConfig) {
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: documentURL}
	}
	for _, protocol := range []string{modern, legacy} {
		for name, registration := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
			"registered by itself":      dynamic,
			"registered before":         preregistered,
			"described by its own page": document,
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				h := startHouse(t, map[string]string{"provider.client_documents": "true", "provider.allow_loopback_client_documents": "true"}, trustDocuments)
				alice := &person{name: "alice", decision: "approve"}
				session, err := connect(t, h.url, protocol, alice, registration)
				if err != nil {
					t.Fatal(err)
				}
				tools, err := session.ListTools(context.Background(), nil)
				if err != nil || len(tools.Tools) == 0 {
					t.Fatalf("tools/list: %v, %v", tools, err)
				}
				greeting, err := call(t, session, "greet", map[string]any{"name": "Ada"})
				if err != nil || textOf(greeting) != "Hello, Ada!" {
					t.Fatalf("greet answered %+v, %v", greeting, err)
				}
				me := whoamiOf(t, session)
				if me.Subject != "alice" || me.Issuer != h.origin() || strings.Join(me.Audience, " ") != h.url {
					t.Errorf("the server takes the caller for %+v", me)
				}
				slices.Sort(me.Scopes)
				if got := strings.Join(me.Scopes, " "); got != "greet:read mcp:use offline_access" {
					t.Errorf("first sign-in got scopes %s", got)
				}
			})
		}
	}
}

// Claude Code and Codex name a document on the internet wherever an issuer announces that it reads one, and
// register otherwise: the built-in profile must work without internet.
func TestAClientWithADocumentRegistersAtTheBuiltInProfile(t *testing.T) {
	h := startHouse(t, nil)
	documentOrRegistration := func(c *auth.AuthorizationCodeHandlerConfig) {
		dynamic(c)
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: "https://client.invalid/client.json"}
	}
	alice := &person{name: "alice", decision: "approve"}
	session, err := connect(t, h.url, legacy, alice, documentOrRegistration)
	if err != nil {
		t.Fatal(err)
	}
	if id := alice.asked[0].Get("client_id"); !strings.HasPrefix(id, "reg1.") || whoamiOf(t, session).Client != id {
		t.Errorf("the client is %q", id)
	}
}

// clientDocument serves a client ID metadata document over TLS, and makes a house trust its certificate.
func clientDocument(t *testing.T) (address string, trust func(*configs.Config)) {
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": server.URL + "/client.json", "client_name": "A client with a page",
			"redirect_uris": []string{redirectURI}, "grant_types": []string{"authorization_code", "refresh_token"},
			"token_endpoint_auth_method": "none",
		})
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL + "/client.json", func(c *configs.Config) { c.Provider.(*local.Settings).ClientDocumentRootCAs = roots }
}

func TestBobIsAnotherCallerThanAlice(t *testing.T) {
	h := startHouse(t, nil)
	session, err := connect(t, h.url, modern, &person{name: "bob", decision: "approve"}, dynamic)
	if err != nil {
		t.Fatal(err)
	}
	if me := whoamiOf(t, session); me.Subject != "bob" {
		t.Errorf("the server takes bob for %q", me.Subject)
	}
}

func TestAPersonWhoDeniesIsNotSignedIn(t *testing.T) {
	h := startHouse(t, nil)
	_, err := connect(t, h.url, modern, &person{name: "alice", decision: "deny"}, dynamic)
	if err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("connecting gave %v, want access_denied", err)
	}
}

func TestAutoApproveNeedsNobody(t *testing.T) {
	h := startHouse(t, map[string]string{"provider.auto_approve": "true"})
	nobody := &person{}
	session, err := connect(t, h.url, modern, nobody, dynamic)
	if err != nil {
		t.Fatal(err)
	}
	if len(nobody.pages) != 0 {
		t.Error("a page was shown")
	}
	if me := whoamiOf(t, session); me.Subject != "alice" {
		t.Errorf("the server takes the caller for %q, want alice", me.Subject)
	}
}

// The client lives longer than its access token, and never asks the person again.
func TestAClientRefreshesItsToken(t *testing.T) {
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			// The client refreshes ten seconds early, so with this lifetime at every call.
			h := startHouse(t, map[string]string{"provider.token_lifetime": "8s"})
			alice := &person{name: "alice", decision: "approve"}
			session, err := connect(t, h.url, protocol, alice, dynamic)
			if err != nil {
				t.Fatal(err)
			}
			first := whoamiOf(t, session)
			time.Sleep(1100 * time.Millisecond) // exp counts in seconds
			second := whoamiOf(t, session)
			if !second.ExpiresAt.After(first.ExpiresAt) {
				t.Errorf("the token was not refreshed: %v, then %v", first.ExpiresAt, second.ExpiresAt)
			}
			if strings.Join(second.Audience, " ") != h.url {
				t.Errorf("the refreshed token is for %v, want %s", second.Audience, h.url)
			}
			if len(alice.asked) != 1 {
				t.Errorf("the person was asked %d times, want once", len(alice.asked))
			}
		})
	}
}

// A tool that needs more than first sign-in gave: 403 with all scopes, one more consent, and the call succeeds.
func TestAClientStepsUpForAToolThatNeedsMore(t *testing.T) {
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			h := startHouse(t, nil)
			alice := &person{name: "alice", decision: "approve"}
			session, err := connect(t, h.url, protocol, alice, dynamic)
			if err != nil {
				t.Fatal(err)
			}
			stats, err := call(t, session, "server_stats", nil)
			if err != nil || stats.IsError {
				t.Fatalf("server_stats answered %+v, %v", stats, err)
			}
			if len(alice.asked) != 2 {
				t.Fatalf("the person was asked %d times, want twice", len(alice.asked))
			}
			if got := alice.asked[1].Get("scope"); !strings.Contains(got, "mcp:use") || !strings.Contains(got, "gatehouse:admin") {
				t.Errorf("the second request asks for %q, want the base and the operation's scope", got)
			}
			if me := whoamiOf(t, session); !slices.Contains(me.Scopes, "greet:read") {
				t.Errorf("stepping up took away what first sign-in gave: %v", me.Scopes)
			}
			var out struct {
				Requests map[string]int64
				Keys     struct{ Usable bool }
			}
			decodeStructured(t, stats, &out)
			if !out.Keys.Usable || out.Requests["no_credentials"] == 0 || out.Requests["insufficient_scope"] == 0 {
				t.Errorf("the statistics do not tell what happened: %+v", out)
			}
		})
	}
}

func TestSendGreetingAsksThePersonWhenTheClientCan(t *testing.T) {
	for _, protocol := range []string{modern, legacy} {
		for _, c := range []struct {
			name   string
			answer *mcp.ElicitResult
			want   string
		}{
			{"who agrees", &mcp.ElicitResult{Action: "accept", Content: map[string]any{"send": true}}, "Sent: Hello, Ada!"},
			{"who unticks the box", &mcp.ElicitResult{Action: "accept", Content: map[string]any{"send": false}}, "Nothing was sent"},
			{"who declines", &mcp.ElicitResult{Action: "decline"}, "Nothing was sent"},
			{"who cannot be asked", nil, "Sent without asking, because your client cannot ask"},
		} {
			t.Run(protocol+", "+c.name, func(t *testing.T) {
				h := startHouse(t, nil)
				var options *mcp.ClientOptions
				if c.answer != nil {
					options = &mcp.ClientOptions{ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
						if !strings.Contains(req.Params.Message, "Hello, Ada!") {
							t.Errorf("the person is asked %q, which does not say what will be sent", req.Params.Message)
						}
						return c.answer, nil
					}}
				}
				session, err := connectWith(t, h.url, protocol, &person{name: "alice", decision: "approve"}, options, dynamic)
				if err != nil {
					t.Fatal(err)
				}
				result, err := call(t, session, "send_greeting", map[string]any{"name": "Ada"})
				if err != nil || !strings.HasPrefix(textOf(result), c.want) {
					t.Errorf("send_greeting said %+v, %v; want %q", result, err, c.want)
				}
			})
		}
	}
}

func TestCountdownReportsProgressEverySecondAndStopsWhenCancelled(t *testing.T) {
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			h := startHouse(t, nil)
			progress := make(chan float64, 100)
			session, err := connectWith(t, h.url, protocol, &person{name: "alice", decision: "approve"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { progress <- r.Params.Progress },
			}, dynamic)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			params := &mcp.CallToolParams{Name: "countdown", Arguments: map[string]any{"seconds": 60}}
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
					t.Fatal("no progress in five seconds")
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
			// The client sends its notification beside the return. Closing a session waits for the calls in it, so it is
			// quick only if the tool really stopped.
			time.Sleep(500 * time.Millisecond)
			begin := time.Now()
			_ = session.Close()
			h.stop()
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("the tool went on for %v after it was cancelled", took)
			}
		})
	}
}

func TestToolsRefuseArgumentsThatTheirSchemaDoesNotAllow(t *testing.T) {
	h := startHouse(t, nil)
	session, err := connect(t, h.url, modern, &person{name: "alice", decision: "approve"}, dynamic)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tool      string
		arguments map[string]any
	}{
		"an empty name":      {"greet", map[string]any{"name": ""}},
		"no name":            {"greet", map[string]any{}},
		"a very long name":   {"greet", map[string]any{"name": strings.Repeat("x", 101)}},
		"an unknown field":   {"greet", map[string]any{"name": "Ada", "admin": true}},
		"no seconds":         {"countdown", map[string]any{"seconds": 0}},
		"too many seconds":   {"countdown", map[string]any{"seconds": 61}},
		"seconds as a text":  {"countdown", map[string]any{"seconds": "3"}},
		"half of one second": {"countdown", map[string]any{"seconds": 0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := call(t, session, c.tool, c.arguments)
			if err == nil && !result.IsError {
				t.Errorf("%s accepted %v: %+v", c.tool, c.arguments, result)
			}
		})
	}
}

type whoamiResult struct {
	Issuer, Subject, Client string
	Audience, Scopes        []string
	ExpiresAt               time.Time `json:"expires_at"`
}

func whoamiOf(t testing.TB, s *mcp.ClientSession) whoamiResult {
	t.Helper()
	result, err := call(t, s, "whoami", nil)
	if err != nil || result.IsError {
		t.Fatalf("whoami answered %+v, %v", result, err)
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
