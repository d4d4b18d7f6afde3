package broker

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// company is the identity provider of a company, at which people have signed in to the application already: gatehouse
// issuer. The application has a client of the same id there and at the broker.
type company struct {
	issuer string
	world  *world
	secret string // of the client at both
}

const agentID = "agent"

func startCompany(t *testing.T, w *world) *company {
	t.Helper()
	c := &company{world: w, secret: oauth2.GenerateVerifier()}
	w.seen.add("client secret of the application", c.secret)
	file := w.file(t, "agent-secret", c.secret)
	address := freeAddress(t)
	c.issuer = "http://" + address
	p := w.run([]string{"issuer", "--listen=" + address, "--issuer=" + c.issuer, "--auto-approve",
		"--client=" + agentID + ":" + file + ":" + redirectURI})
	p.waitFor(t, "the company's provider is ready", func() bool { return isReady(c.issuer + "/health") })
	w.settings = append(w.settings, "--provider.enterprise_issuers="+c.issuer,
		"--provider.enterprise_clients="+agentID+"="+file, "--provider.enterprise_scopes=mcp:use,greet:read")
	return c
}

func (c *company) credentials() *oauthex.ClientCredentials {
	return &oauthex.ClientCredentials{ClientID: agentID,
		ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: c.secret}}
}

// signIn signs a person in at the company's provider, and returns a token with an ID token.
func (c *company) signIn(ctx context.Context) (*oauth2.Token, error) {
	config := oauth2.Config{ClientID: agentID, ClientSecret: c.secret, RedirectURL: redirectURI,
		Scopes: []string{"openid"}, Endpoint: oauth2.Endpoint{AuthURL: c.issuer + "/authorize",
			TokenURL: c.issuer + "/token", AuthStyle: oauth2.AuthStyleInParams}}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.world.via(""))
	verifier := oauth2.GenerateVerifier()
	response, err := c.world.person("alice").signIn(ctx, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		return nil, err
	}
	token, err := config.Exchange(ctx, response.Get("code"), oauth2.VerifierOption(verifier))
	if err == nil {
		id, _ := token.Extra("id_token").(string)
		c.world.seen.add("ID token of the company", id)
	}
	return token, err
}

// TestEnterprise calls a tool with clients that get their tokens by an assertion of the company's provider.
func TestEnterprise(t *testing.T) {
	needPrograms(t, *scripts)
	t.Parallel()
	w := newWorld(t, inFile)
	c := startCompany(t, w)
	r := w.startReplica(t)
	t.Run("go-sdk", func(t *testing.T) {
		handler, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{
			IdPIssuerURL: c.issuer, IdPCredentials: c.credentials(), IDTokenFetcher: c.signIn,
			MCPAuthServerURL: strings.TrimSuffix(w.resource, "/mcp"), MCPResourceURI: w.resource,
			MCPCredentials: c.credentials(), MCPScopes: []string{"mcp:use", "greet:read", "gatehouse:admin"},
			HTTPClient: w.via(""),
		})
		if err != nil {
			t.Fatal(err)
		}
		session := w.open(t, "2026-07-28", handler)
		result, err := session.CallTool(t.Context(),
			&mcp.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "Ada"}})
		if err != nil || result.IsError {
			t.Fatalf("%+v, %v", result, err)
		}
		source, err := handler.TokenSource(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		token, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		w.seen.add("access token", token.AccessToken)
		got := claims(t, token.AccessToken)
		if subject, _ := got["sub"].(string); !strings.HasPrefix(subject, c.issuer) || !strings.HasSuffix(subject, "alice") ||
			got["scope"] != "mcp:use greet:read" || got["client_id"] != agentID || !isOnly(got["aud"], w.resource) {
			t.Errorf("the claims are %v", got)
		}
		if token.RefreshToken != "" {
			t.Error("there is a refresh token")
		}
	})
	t.Run("TypeScript", func(t *testing.T) {
		token, err := c.signIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id, _ := token.Extra("id_token").(string)
		cmd := exec.CommandContext(t.Context(), "node", filepath.Join(*scripts, "enterprise.mjs"), w.resource,
			c.issuer, agentID)
		cmd.Dir = *scripts
		cmd.Env = append(cmd.Environ(), "SECRET="+c.secret, "ID_TOKEN="+id)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if out := r.output.String(); strings.Count(out, "path=/token") < 2 || strings.Contains(out, "path=/authorize") {
		t.Error("there were not two token requests, or a browser was needed")
	}
	w.scanFiles(t)
}
