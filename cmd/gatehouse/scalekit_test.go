package main

import (
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/scalekit"
)

// startScalekit starts the server as an MCP server of a fake Scalekit environment, which knows its address.
func startScalekit(t *testing.T, settings map[string]string) (*testServer, *scalekitenv.Environment) {
	t.Helper()
	var env *scalekitenv.Environment
	all := map[string]string{
		"provider.kind": "scalekit", "provider.environment_url": "https://acme.scalekit.com",
		"provider.resource_id": "res_103100112351265282", "scopes.required": "mcp:use",
		"provider.key_refetch_interval": "1s",
	}
	maps.Copy(all, settings)
	srv := startServer(t, all, func(cfg *configs.Config) {
		scopes := providers.MergeScopes(cfg.Scopes.Required, testCatalog(cfg.Tools, mcptools.Stats{}).Scopes())
		env = scalekitenv.New(t, scalekitenv.Config{ServerURL: cfg.Resource.String(), Scopes: scopes})
		env.OmitResponseIssuer() // the metadata does not announce iss in authorization responses
		cfg.Provider.(*scalekit.Settings).EnvironmentURL = env.URL()
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return srv, env
}

// A client that only knows the URL finds the MCP server's own authorization server in the environment, registers,
// signs in, calls a tool, and steps up, with either issuer in the tokens.
func TestScalekit_ClientSignsIn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*scalekitenv.Environment){
		"tokens of the environment": func(env *scalekitenv.Environment) {},
		"tokens of the MCP server": func(env *scalekitenv.Environment) {
			env.ChangeTokens(scalekitenv.Changes{"iss": env.AuthorizationServer()})
		},
		"without a Server URL": func(env *scalekitenv.Environment) {
			env.ChangeTokens(scalekitenv.Changes{"aud": []string{env.ResourceID()}})
		},
	} {
		for _, protocol := range []string{modern, legacy} {
			t.Run(name+", "+protocol, func(t *testing.T) {
				srv, env := startScalekit(t, nil)
				change(env)
				session, err := connect(t, srv.url, protocol, &user{}, dynamicClient)
				if err != nil {
					t.Fatal(err)
				}
				me := whoamiOf(t, session)
				if me.Subject != scalekitenv.User || !strings.HasPrefix(me.Issuer, env.URL()) ||
					!strings.HasPrefix(me.Client, "m2m_") {
					t.Errorf("the caller is %+v", me)
				}
				if !slices.Contains(me.Scopes, "mcp:use") || slices.Contains(me.Scopes, "gatehouse:admin") {
					t.Errorf("the first sign-in got scopes %v", me.Scopes)
				}
				if r, err := call(t, session, "stats", nil); err != nil || r.IsError {
					t.Errorf("step-up: %+v, %v", r, err)
				}
			})
		}
	}
}

func TestScalekit_OutageIs503(t *testing.T) {
	if os.Getenv("GATEHOUSE_LONG") == "" {
		t.Skip("it waits for two key refetch intervals; set GATEHOUSE_LONG=1")
	}
	t.Parallel()
	srv, env := startScalekit(t, nil)
	good := env.Token()
	whoami := func(token string) response {
		body, header := callModern("whoami", "{}")
		return send(t, http.MethodPost, srv.url, token, body, header)
	}
	if r := whoami(good); r.status != http.StatusOK {
		t.Fatalf("before the outage: %d %s", r.status, r.body)
	}
	env.AnswerAll(scalekitenv.Status(http.StatusBadGateway))
	if r := whoami(good); r.status != http.StatusOK {
		t.Errorf("with a cached key: %d %s", r.status, r.body)
	}
	env.SignWith(env.AddKey("RS256"))
	rotated := env.Token()
	time.Sleep(time.Second) // provider.key_refetch_interval
	r := whoami(rotated)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" ||
		r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("with a key that cannot be fetched: %d %v %s", r.status, r.header, r.body)
	}
	env.AnswerAll(nil)
	for range 100 {
		if whoami(rotated).status == http.StatusOK {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the server did not recover")
}
