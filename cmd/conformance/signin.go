package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// tokenSource gets tokens with all scopes from the local issuer, as its preregistered client. With
// provider.auto_approve the issuer redirects without a page, so the authorization response is read from the
// redirect.
type tokenSource struct {
	ctx      context.Context
	resource string
}

// redirectURI is never requested.
const redirectURI = "http://127.0.0.1/callback"

// Token implements [oauth2.TokenSource].
func (s *tokenSource) Token() (*oauth2.Token, error) {
	issuer, err := s.issuer()
	if err != nil {
		return nil, err
	}
	client := oauth2.Config{
		ClientID: "local-cli", RedirectURL: redirectURI, Scopes: issuer.ScopesSupported,
		Endpoint: oauth2.Endpoint{AuthURL: issuer.AuthorizationEndpoint, TokenURL: issuer.TokenEndpoint,
			AuthStyle: oauth2.AuthStyleInParams},
	}
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	resource := oauth2.SetAuthURLParam("resource", s.resource) // RFC 8707, in both requests
	code, err := s.authorize(client.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), resource), state)
	if err != nil {
		return nil, err
	}
	return client.Exchange(s.ctx, code, oauth2.VerifierOption(verifier), resource)
}

// issuer discovers the authorization server from the resource, as clients do.
func (s *tokenSource) issuer() (*oauthex.AuthServerMeta, error) {
	u, err := url.Parse(s.resource)
	if err != nil {
		return nil, err
	}
	u.Path = "/.well-known/oauth-protected-resource" + u.Path
	metadata, err := oauthex.GetProtectedResourceMetadata(s.ctx, u.String(), s.resource, http.DefaultClient)
	if err != nil {
		return nil, err
	}
	if len(metadata.AuthorizationServers) == 0 {
		return nil, fmt.Errorf("%s names no authorization server", u)
	}
	issuer, err := auth.GetAuthServerMetadata(s.ctx, metadata.AuthorizationServers[0], http.DefaultClient)
	if err == nil && issuer == nil {
		err = fmt.Errorf("%s has no metadata", metadata.AuthorizationServers[0])
	}
	return issuer, err
}

// authorize requests a code, and reads it from the redirect without following it.
func (s *tokenSource) authorize(address, state string) (code string, err error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close() // the body is not needed
	target, err := res.Location()
	if err != nil || !strings.HasPrefix(target.String(), redirectURI+"?") {
		return "", fmt.Errorf("the issuer answered %s without a code: provider.auto_approve must be set",
			res.Status)
	}
	response := target.Query()
	if response.Get("state") != state || response.Get("code") == "" {
		return "", fmt.Errorf("the issuer returned no code: %s %s", response.Get("error"),
			response.Get("error_description"))
	}
	return response.Get("code"), nil
}
