package authserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	assertionTokenType oidc.TokenType = "urn:ietf:params:oauth:token-type:id-jag"
	assertionType                     = "oauth-id-jag+jwt"
	assertionLifetime                 = 5 * time.Minute
)

// identityAssertion are the claims of an Identity Assertion JWT Authorization Grant
// (draft-ietf-oauth-identity-assertion-authz-grant, section 3).
type identityAssertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ClientID string `json:"client_id"`
	ID       string `json:"jti"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	Resource string `json:"resource"`
	Scope    string `json:"scope,omitempty"`
	AuthTime int64  `json:"auth_time,omitempty"`
}

// exchangedToken is the response of RFC 8693, section 2.2.1.
type exchangedToken struct {
	AccessToken     string         `json:"access_token"`
	IssuedTokenType oidc.TokenType `json:"issued_token_type"`
	TokenType       string         `json:"token_type"`
	ExpiresIn       int64          `json:"expires_in"`
	Scope           string         `json:"scope,omitempty"`
}

// exchangeIDToken is the token exchange of a company's provider, for tests of authorization servers that accept its
// identity assertions: the ID token that the demo has issued to a confidential client becomes an assertion for another
// authorization server. The client has the same client_id there: a provider has to know the one that it has, and the
// request does not name it (section 6 of the draft).
func (i *Issuer) exchangeIDToken(_ context.Context, form url.Values, c *client) (any, error) {
	if !c.mayUseGrant(oidc.GrantTypeTokenExchange) {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("token exchange is not allowed for the client")
	}
	audience, resource := form.Get("audience"), form["resource"]
	switch {
	case form.Get("requested_token_type") != string(assertionTokenType):
		return nil, oidc.ErrInvalidRequest().WithDescription("the only requested_token_type is %s", assertionTokenType)
	case form.Get("subject_token_type") != string(oidc.IDTokenType):
		return nil, oidc.ErrInvalidRequest().WithDescription("the only subject_token_type is %s", oidc.IDTokenType)
	case form.Has("actor_token") || form.Has("actor_token_type"):
		return nil, oidc.ErrInvalidRequest().WithDescription("actor_token is not supported")
	case checkIssuer(audience, isLoopback) != nil || audience == i.config.Issuer:
		return nil, oidc.ErrInvalidTarget().WithDescription("audience is not the issuer of another authorization server")
	case len(resource) != 1 || !isResource(resource[0]):
		return nil, oidc.ErrInvalidTarget().WithDescription("resource is not one absolute URL without a fragment")
	}
	who, err := i.readIDToken(form.Get("subject_token"), c)
	if err != nil {
		return nil, err
	}
	scopes := slices.DeleteFunc(strings.Fields(form.Get("scope")), func(s string) bool { return !isScopeToken(s) })
	now := i.config.Now()
	claims := identityAssertion{Issuer: i.config.Issuer, Subject: who.Subject, Audience: audience, ClientID: c.id,
		ID: rand.Text(), Expires: now.Add(assertionLifetime).Unix(), IssuedAt: now.Unix(), Resource: resource[0],
		Scope: strings.Join(scopes, " "), AuthTime: who.AuthTime}
	token, err := i.keys.sign(assertionType, claims)
	if err != nil {
		return nil, err
	}
	return exchangedToken{token, assertionTokenType, "N_A", int64(assertionLifetime / time.Second), claims.Scope}, nil
}

func isResource(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && u.Host != "" && !strings.Contains(s, "#")
}

// readIDToken returns the claims of an ID token that this issuer has issued to the client.
func (i *Issuer) readIDToken(text string, c *client) (claims idClaims, err error) {
	refused := oidc.ErrInvalidGrant().WithDescription("subject_token is no ID token that was issued to the client")
	token, err := parseJWT(text, []jose.SignatureAlgorithm{i.keys.algorithm})
	if err != nil {
		return claims, refused
	}
	set, err := i.keys.set()
	if err != nil {
		return claims, err
	}
	if typ, ok := token.typ(); !ok || typ != "jwt" || !token.verify(set.Keys) ||
		json.Unmarshal(token.payload, &claims) != nil {
		return claims, refused
	}
	if claims.Issuer != i.config.Issuer || claims.Audience != c.id || claims.Expires <= i.config.Now().Unix() {
		return claims, refused
	}
	return claims, nil
}
