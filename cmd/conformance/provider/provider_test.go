// Package provider has tests only: they sign in at a real identity provider, and call the tools of a server that was pointed
// at it by configuration. provider.sh in the folder above starts both, once for each way of making tokens.
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
	control  = flag.String("control", "", "where the provider takes orders to rotate its keys")
	tokens   = flag.String("tokens", "", "the algorithm that signs access tokens, or opaque")
)

const (
	opaque = "opaque"
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { network.CloseIdleConnections() }))
}

func needProvider(t *testing.T) {
	if *resource == "" {
		t.Skip("no real provider is running: cmd/conformance/provider.sh starts one, and runs this test")
	}
}

func TestAClientSignsInAndCallsTools(t *testing.T) {
	needProvider(t)
	for _, protocol := range []string{modern, legacy} {
		for name, registration := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
			"registered before": preregistered, "registered by itself": dynamic,
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
				if me["issuer"] != *issuer || me["subject"] != "alice" || !slices.Equal(audience, []any{*resource}) || me["client"] == "" {
					t.Errorf("the server takes the caller for %v", me)
				}
				expectForm(t, c.token(t))
				if got := c.call(t, "send_greeting", map[string]any{"name": "Ada"})["sent"]; got != true {
					t.Errorf("send_greeting, which needs one more scope, answered %v", got)
				}
				if c.signIns != 2 {
					t.Errorf("the person was asked %d times, want once at first and once for the scope", c.signIns)
				}
			})
		}
	}
}

// expectForm fails unless token is of the form that this run is about.
func expectForm(t *testing.T, token string) {
	t.Helper()
	want := header{Algorithm: *tokens, Type: "at+jwt"}
	if *tokens == opaque {
		want = header{}
	}
	got := headerOf(token)
	if got.Algorithm != want.Algorithm || got.Type != want.Type {
		t.Errorf("the provider issues tokens with the header %+v, this run is about %q", got, *tokens)
	}
}

type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`
}

// headerOf is that of a JWT, and empty for an opaque token.
func headerOf(token string) header {
	var h header
	first, _, _ := strings.Cut(token, ".")
	if raw, err := base64.RawURLEncoding.DecodeString(first); err == nil {
		_ = json.Unmarshal(raw, &h)
	}
	return h
}

// network is what everything here goes through. The proxy of a developer's environment has no part in it.
var network = &http.Transport{MaxIdleConnsPerHost: 100}
