package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/scalekit"
)

// startScalekit is the house as an MCP server of a fake Scalekit environment, which knows its address.
func startScalekit(t *testing.T, settings map[string]string) (*running, *scalekitenv.Environment) {
	t.Helper()
	var env *scalekitenv.Environment
	all := map[string]string{
		"provider.kind": "scalekit", "provider.environment_url": "https://acme.scalekit.com", "provider.resource_id": "res_103100112351265282",
		"scopes.required": "mcp:use", "provider.key_refetch_interval": "1s",
	}
	for k, v := range settings {
		all[k] = v
	}
	h := startHouse(t, all, func(cfg *configs.Config) {
		scopes := house.Distinct(cfg.Scopes.Required, house.Tools(cfg.Tools, mcptools.Stats{}).Scopes())
		env = scalekitenv.New(t, scalekitenv.Config{ServerURL: cfg.Resource.String(), Scopes: scopes})
		env.OmitResponseIssuer() // what the metadata announces and what the answer has must agree
		cfg.Provider.(*scalekit.Settings).EnvironmentURL = env.URL()
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return h, env
}

// A client that knows nothing but the URL finds the MCP server's own authorization server in the environment, registers,
// signs in, calls, and steps up; with either issuer in the tokens.
func TestAClientSignsInAtScalekit(t *testing.T) {
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
				h, env := startScalekit(t, nil)
				change(env)
				session, err := connect(t, h.url, protocol, &person{}, dynamic)
				if err != nil {
					t.Fatal(err)
				}
				me := whoamiOf(t, session)
				if me.Subject != scalekitenv.User || !strings.HasPrefix(me.Issuer, env.URL()) || !strings.HasPrefix(me.Client, "m2m_") {
					t.Errorf("the server takes the caller for %+v", me)
				}
				if !slices.Contains(me.Scopes, "mcp:use") || slices.Contains(me.Scopes, "gatehouse:admin") {
					t.Errorf("first sign-in got scopes %v", me.Scopes)
				}
				if r, err := call(t, session, "server_stats", nil); err != nil || r.IsError {
					t.Errorf("stepping up: %+v, %v", r, err)
				}
			})
		}
	}
}

func TestAnOutageAtScalekitIsToldAsOne(t *testing.T) {
	h, env := startScalekit(t, nil)
	good := env.Token()
	whoami := func(token string) answer {
		body, header := callModern("whoami", "{}")
		return send(t, http.MethodPost, h.url, token, body, header)
	}
	if a := whoami(good); a.status != http.StatusOK {
		t.Fatalf("before the outage: %d %s", a.status, a.body)
	}
	env.AnswerAll(scalekitenv.Status(http.StatusBadGateway))
	if a := whoami(good); a.status != http.StatusOK {
		t.Errorf("a key that was known before: %d %s", a.status, a.body)
	}
	env.SignWith(env.AddKey("RS256"))
	rotated := env.Token()
	time.Sleep(time.Second) // the refetch interval
	if a := whoami(rotated); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a key that nobody could see: %d %v %s", a.status, a.header, a.body)
	}
	env.AnswerAll(nil)
	for range 100 {
		if whoami(rotated).status == http.StatusOK {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("it never recovered")
}
