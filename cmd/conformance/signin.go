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

// signIn gets tokens with all scopes from the local issuer, as its preregistered client. With provider.auto_approve the
// issuer asks nobody, so the redirect that a browser would follow can be read right off its answer.
type signIn struct {
	ctx      context.Context
	resource string
}

// redirectURI is never dialled.
const redirectURI = "http://127.0.0.1/callback"

// Token implements [oauth2.TokenSource].
func (s *signIn) Token() (*oauth2.Token, error) {
	issuer, err := s.issuer()
	if err != nil {
		return nil, err
	}
	client := oauth2.Config{
		ClientID: "local-cli", RedirectURL: redirectURI, Scopes: issuer.ScopesSupported,
		Endpoint: oauth2.Endpoint{AuthURL: issuer.AuthorizationEndpoint, TokenURL: issuer.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams},
	}
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	resource := oauth2.SetAuthURLParam("resource", s.resource) // RFC 8707, in both requests
	code, err := s.authorize(client.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), resource), state)
	if err != nil {
		return nil, err
	}
	return client.Exchange(s.ctx, code, oauth2.VerifierOption(verifier), resource)
}

// issuer finds the authorization server as every client does, starting from the resource.
func (s *signIn) issuer() (*oauthex.AuthServerMeta, error) {
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

// authorize asks for a code without following the redirect that brings it.
func (s *signIn) authorize(address, state string) (code string, err error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := stay.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close() // nothing in it matters
	target, err := res.Location()
	if err != nil || !strings.HasPrefix(target.String(), redirectURI+"?") {
		return "", fmt.Errorf("the issuer answered %s and no code: is provider.auto_approve set?", res.Status)
	}
	answer := target.Query()
	if answer.Get("state") != state || answer.Get("code") == "" {
		return "", fmt.Errorf("the issuer gave no code: %s %s", answer.Get("error"), answer.Get("error_description"))
	}
	return answer.Get("code"), nil
}
