package authserver

import (
	"context"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// introspection is the response of RFC 7662, section 2.2. aud is a string, as in the token.
type introspection struct {
	Active    bool   `json:"active"`
	TokenType string `json:"token_type,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  string `json:"aud,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	ID        string `json:"jti,omitempty"`
	Username  string `json:"username,omitempty"`
}

// Introspect implements [op.Server]. Any confidential client may introspect any access token. A refresh token
// is active only for the client that it was issued to, and has no audience, so that a resource does not take
// it for an access token. The library refuses requests without a secret, so public clients cannot introspect.
func (s *server) Introspect(ctx context.Context, r *op.Request[op.IntrospectionRequest]) (*op.Response, error) {
	c, err := s.authenticate(ctx, r.Data.ClientID, r.Data.ClientSecret)
	if err != nil {
		return nil, err
	}
	now := s.config.Now()
	if claims, ok := s.store.activeAccessToken(now, r.Data.Token); ok {
		return op.NewResponse(introspection{
			Active:    true,
			TokenType: oidc.BearerToken,
			Issuer:    claims.Issuer,
			Subject:   claims.Subject,
			Audience:  claims.Audience,
			ClientID:  claims.ClientID,
			Scope:     claims.Scope,
			Expires:   claims.Expires,
			IssuedAt:  claims.IssuedAt,
			ID:        claims.ID,
			Username:  claims.Name,
		}), nil
	}
	if g, issued, ok := s.store.activeRefreshToken(now, r.Data.Token); ok && g.clientID == c.id {
		return op.NewResponse(introspection{
			Active:    true,
			TokenType: string(oidc.GrantTypeRefreshToken),
			Issuer:    s.config.Issuer,
			Subject:   g.subject,
			ClientID:  g.clientID,
			Scope:     oidc.SpaceDelimitedArray(g.scopes).String(),
			Expires:   issued.Add(s.config.RefreshTokenLifetime).Unix(),
			IssuedAt:  issued.Unix(),
			Username:  g.name,
		}), nil
	}
	return op.NewResponse(introspection{}), nil
}

// Revocation implements [op.Server] (RFC 7009). Resources that verify tokens by their signature accept a
// revoked access token until it expires.
func (s *server) Revocation(_ context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response,
	error) {
	if err := s.store.revoke(s.config.Now(), r.Data.Token, r.Client.GetID()); err != nil {
		return nil, oidc.ErrInvalidGrant().WithDescription("the token was issued to another client")
	}
	return op.NewResponse(nil), nil
}
