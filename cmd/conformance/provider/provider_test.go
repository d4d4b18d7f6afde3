// Package provider contains tests only. They sign in at a real identity provider, and call the demo tools of
// a server that is connected to it by configuration. ../provider.sh starts both, once for each form of token.
package provider

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"go.uber.org/goleak"
)

var (
	resource = flag.String("resource", "", "the MCP endpoint of the server")
	issuer   = flag.String("issuer", "", "the provider's issuer identifier")
	control  = flag.String("control", "", "where the provider accepts requests to rotate its keys")
	tokens   = flag.String("tokens", "", "the signature algorithm of access tokens, or opaque")
)

const (
	opaque = "opaque"
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

func TestMain(m *testing.M) {
	// Connections that are kept for reuse do not count: those of the SDK's discovery cannot be closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func needProvider(t *testing.T) {
	if *resource == "" {
		t.Skip("no real provider is running: cmd/conformance/provider.sh starts one, and runs this test")
	}
}

func TestClientSignsInAndCallsTools(t *testing.T) {
	needProvider(t)
	for _, protocol := range []string{modern, legacy} {
		for name, registration := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
			"preregistered": preregistered, "dynamic": dynamic,
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				c := connect(t, protocol, registration)
				if listed, err := c.session.ListTools(t.Context(), nil); err != nil || len(listed.Tools) == 0 {
					t.Fatalf("tools/list: %+v, %v", listed, err)
				}
				if got := c.call(t, "greet", map[string]any{"name": "Ada"})["greeting"]; got != "Hello, Ada!" {
					t.Errorf("greet answered %v", got)
				}
				me := c.call(t, "whoami", nil)
				audience, _ := me["audience"].([]any)
				if me["issuer"] != *issuer || me["subject"] != "alice" || !slices.Equal(audience, []any{*resource}) ||
					me["client"] == "" {
					t.Errorf("the server identifies the caller as %v", me)
				}
				expectForm(t, c.token(t))
				if got := c.call(t, "send_greeting", map[string]any{"name": "Ada"})["sent"]; got != true {
					t.Errorf("send_greeting, which needs one more scope, answered %v", got)
				}
				if c.signIns != 2 {
					t.Errorf("there were %d sign-ins, want one at first and one for the scope", c.signIns)
				}
			})
		}
	}
}

// expectForm fails the test unless token has the form that this run tests.
func expectForm(t *testing.T, token string) {
	t.Helper()
	want := header{Algorithm: *tokens, Type: "at+jwt"}
	if *tokens == opaque {
		want = header{}
	}
	got := headerOf(token)
	if got.Algorithm != want.Algorithm || got.Type != want.Type {
		t.Errorf("the provider issues tokens with the header %+v, want %q", got, *tokens)
	}
}

type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`
}

// headerOf returns the header of a JWT, and an empty one for an opaque token.
func headerOf(token string) header {
	var h header
	first, _, _ := strings.Cut(token, ".")
	if raw, err := base64.RawURLEncoding.DecodeString(first); err == nil {
		_ = json.Unmarshal(raw, &h)
	}
	return h
}

// network is the transport of all requests. It ignores the proxy of the environment.
var network = &http.Transport{MaxIdleConnsPerHost: 100}
