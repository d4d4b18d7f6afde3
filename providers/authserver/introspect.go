package authserver

import (
	"context"
	"errors"

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
	if claims, ok := s.access.active(now, r.Data.Token); ok {
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
	g, err := s.currentGrant(ctx, r.Data.Token)
	switch {
	case errors.Is(err, errUnavailable):
		return nil, s.unavailable(ctx, err)
	case err == nil && g.ClientID == c.id:
		return op.NewResponse(introspection{
			Active:    true,
			TokenType: string(oidc.GrantTypeRefreshToken),
			Issuer:    s.config.Issuer,
			Subject:   g.Person.Subject,
			ClientID:  g.ClientID,
			Scope:     oidc.SpaceDelimitedArray(g.Scopes).String(),
			Expires:   g.Ends.Unix(),
			IssuedAt:  g.issued().Unix(),
			Username:  g.Person.Name,
		}), nil
	}
	return op.NewResponse(introspection{}), nil
}

// currentGrant returns the grant of a refresh token that is neither replaced, expired nor revoked. The error is
// errUnknownGrant, or wraps errUnavailable.
func (i *Issuer) currentGrant(ctx context.Context, token string) (*storedGrant, error) {
	id, generation, ok := readToken(i.config.Keys, refreshKind, token)
	if !ok {
		return nil, errUnknownGrant
	}
	g, err := i.grants.read(ctx, id)
	if err == nil && (!g.isLive(i.config.Now()) || g.Generation != generation) {
		err = errUnknownGrant
	}
	return g, err
}

var errForeignToken = errors.New("the token was issued to another client")

// Revocation implements [op.Server] (RFC 7009). Resources that verify tokens by their signature accept a
// revoked access token until it expires. An unknown token is not an error (section 2.2).
func (s *server) Revocation(ctx context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response,
	error) {
	err := s.revoke(ctx, r.Data.Token, r.Client.GetID())
	switch {
	case errors.Is(err, errForeignToken):
		return nil, oidc.ErrInvalidGrant().WithDescription("the token was issued to another client")
	case errors.Is(err, errUnavailable):
		return nil, s.unavailable(ctx, err) // RFC 7009, section 2.2.1
	case err != nil:
		return nil, internalError(err)
	}
	return op.NewResponse(nil), nil
}

// revoke revokes a token of the client; for a refresh token, current or not, everything from its grant.
func (i *Issuer) revoke(ctx context.Context, token, clientID string) error {
	if id, _, ok := readToken(i.config.Keys, refreshKind, token); ok {
		return i.revokeGrant(ctx, id.digest(), clientID)
	}
	return i.access.revoke(ctx, i.config.Now(), token, clientID)
}

func (i *Issuer) revokeGrant(ctx context.Context, digest, clientID string) error {
	g, err := i.grants.readDigest(ctx, digest)
	switch {
	case errors.Is(err, errUnknownGrant):
		return nil
	case err != nil:
		return err
	case g.ClientID != clientID:
		return errForeignToken
	}
	return i.endGrant(ctx, g, ReasonRevoked)
}
