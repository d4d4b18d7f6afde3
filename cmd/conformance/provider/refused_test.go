package provider

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// introspectionCache is provider.introspection_cache, as provider.sh sets it.
const introspectionCache = 2 * time.Second

func TestTokensForOthersAreRefused(t *testing.T) {
	needProvider(t)
	if status, _ := callOnce(t, issueToken(t, *resource, "openid mcp:use").AccessToken); status != http.StatusOK {
		t.Fatalf("a token for this server gets %d, so the other cases prove nothing", status)
	}
	idToken, _ := issueToken(t, *resource, "openid mcp:use").Extra("id_token").(string)
	if idToken == "" {
		t.Fatal("the provider issued no ID token")
	}
	operator := connect(t, modern, preregistered)
	for _, c := range []struct {
		name, token string
		reasons     []string // depending on the form of the token
	}{
		{"for another resource", issueToken(t, *resource+"-of-others", "mcp:use").AccessToken,
			[]string{"audience_mismatch"}},
		{"without a resource, which is always opaque", issueToken(t, "", "openid").AccessToken,
			[]string{"token_opaque", "audience_mismatch"}},
		{"an ID token", idToken, []string{"type_refused", "token_inactive"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := operator.requestCounts(t)
			status, challenge := callOnce(t, c.token)
			if status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
				t.Errorf("it gets %d %s", status, challenge)
			}
			after := operator.requestCounts(t)
			if !slices.ContainsFunc(c.reasons, func(reason string) bool {
				return after[reason] == before[reason]+1
			}) {
				t.Errorf("none of %v was counted: before %v, after %v", c.reasons, before, after)
			}
		})
	}
}

func TestRevokedTokenIsRefusedWhenItsCacheEntryExpires(t *testing.T) {
	needProvider(t)
	if *tokens != opaque {
		t.Skip("the provider does not revoke JWTs")
	}
	token := issueToken(t, *resource, "mcp:use").AccessToken
	if status, _ := callOnce(t, token); status != http.StatusOK {
		t.Fatalf("before its revocation the token gets %d", status)
	}
	revoke(t, token)
	revoked := time.Now()
	for {
		status, _ := callOnce(t, token)
		took := time.Since(revoked)
		if status == http.StatusUnauthorized {
			break
		}
		if status != http.StatusOK || took > introspectionCache+time.Second {
			t.Fatalf("%v after its revocation the token gets %d", took, status)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// issueToken returns a token of the provider for its public client. resource may be empty.
func issueToken(t *testing.T, resource, scope string) *oauth2.Token {
	t.Helper()
	metadata := metadata(t)
	desktop := oauth2.Config{
		ClientID: "desktop", RedirectURL: redirectURI, Scopes: strings.Fields(scope),
		Endpoint: oauth2.Endpoint{AuthURL: metadata.AuthorizationEndpoint, TokenURL: metadata.TokenEndpoint,
			AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	var forResource []oauth2.AuthCodeOption
	if resource != "" {
		forResource = append(forResource, oauth2.SetAuthURLParam("resource", resource))
	}
	response, err := authorize(t.Context(), desktop.AuthCodeURL("state",
		append(forResource, oauth2.S256ChallengeOption(verifier))...))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: network})
	token, err := desktop.Exchange(ctx, response.Get("code"),
		append(forResource, oauth2.VerifierOption(verifier))...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func revoke(t *testing.T, token string) {
	t.Helper()
	resp, err := (&http.Client{Transport: network}).PostForm(metadata(t).RevocationEndpoint,
		url.Values{"token": {token}, "client_id": {"desktop"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the revocation endpoint answered %s", resp.Status)
	}
}

func metadata(t *testing.T) *oauthex.AuthServerMeta {
	t.Helper()
	found, err := auth.GetAuthServerMetadata(t.Context(), *issuer, &http.Client{Transport: network})
	if err != nil || found == nil {
		t.Fatalf("the provider's metadata: %v, %v", found, err)
	}
	return found
}

// callOnce calls whoami with a token, without a client that would sign in again.
func callOnce(t *testing.T, token string) (status int, challenge string) {
	t.Helper()
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{},` +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *resource, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json",
		"Accept":               "application/json, text/event-stream",
		"Mcp-Protocol-Version": modern, "Mcp-Method": "tools/call", "Mcp-Name": "whoami",
	} {
		req.Header.Set(name, value)
	}
	resp, err := network.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
}
