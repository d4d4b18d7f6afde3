package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// accessClaims are the claims of an access token (RFC 9068, section 2.2).
type accessClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope,omitempty"`
	Name     string `json:"name,omitempty"`
}

// idClaims are the claims of an ID token. Its audience is the client and never the resource, which could
// mistake it for an access token.
type idClaims struct {
	Issuer          string `json:"iss"`
	Subject         string `json:"sub"`
	Audience        string `json:"aud"`
	Expires         int64  `json:"exp"`
	IssuedAt        int64  `json:"iat"`
	AuthTime        int64  `json:"auth_time"`
	Nonce           string `json:"nonce,omitempty"`
	AccessTokenHash string `json:"at_hash"`
	Name            string `json:"name"`
}

// CodeExchange implements [op.Server]: the authorization code grant. The library has authenticated the
// client, so a failed authentication does not use up the code.
func (s *server) CodeExchange(ctx context.Context,
	r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	now := s.config.Now()
	code, err := s.store.spendCode(now, r.Data.Code, r.Client.GetID(), func(c *code) error {
		// OAuth 2.1, section 10.2 removes redirect_uri from this request; r.Form may contain the value that
		// redirectURIOptional added.
		if sent := r.PostForm.Get("redirect_uri"); sent != "" && sent != c.authorization.redirectURI {
			return oidc.ErrInvalidGrant().WithDescription("redirect_uri differs from the authorization request")
		}
		if !matchesChallenge(r.Data.CodeVerifier, c.authorization.challenge) {
			return oidc.ErrInvalidGrant().WithDescription("code_verifier is missing or wrong")
		}
		return s.checkGrantedResource(r.Form["resource"], c.grant.resource)
	})
	if err != nil {
		return nil, s.grantError(ctx, "code", r.Client, err)
	}

	g := code.grant
	answer, err := s.issue(now, g, g.scopes)
	if err != nil {
		return nil, err
	}
	// Without offline_access the client did not request access while the user is absent; without the grant
	// type it could not use the refresh token.
	if slices.Contains(g.scopes, oidc.ScopeOfflineAccess) &&
		slices.Contains(r.Client.GrantTypes(), oidc.GrantTypeRefreshToken) {
		answer.RefreshToken = s.store.putRefreshToken(now, g)
	}
	if slices.Contains(g.scopes, oidc.ScopeOpenID) {
		if answer.IDToken, err = s.idToken(now, g, code.authorization.nonce, answer.AccessToken); err != nil {
			return nil, err
		}
	}
	return tokenResponse(answer), nil
}

// RefreshToken implements [op.Server]. The resource stays the granted one, even if the request has none.
func (s *server) RefreshToken(ctx context.Context,
	r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	now := s.config.Now()
	requested := strings.Fields(r.Form.Get("scope"))
	rotated, err := s.store.rotate(now, r.Data.RefreshToken, r.Client.GetID(), func(g *grant) error {
		for _, scope := range requested {
			if !slices.Contains(g.scopes, scope) {
				return oidc.ErrInvalidScope().WithDescription("the scope exceeds the grant") // RFC 6749, section 6
			}
		}
		return s.checkGrantedResource(r.Form["resource"], g.resource)
	})
	if err != nil {
		return nil, s.grantError(ctx, "refresh token", r.Client, err)
	}
	if rotated.repeated {
		s.config.Logger.InfoContext(ctx,
			"refresh token repeated within the grace period; same successor returned",
			slog.String("client_id", r.Client.GetID()))
	}
	g := rotated.grant
	scopes := g.scopes
	if len(requested) > 0 {
		scopes = requested
	}
	answer, err := s.issue(now, g, scopes)
	if err != nil {
		return nil, err
	}
	answer.RefreshToken = rotated.successor
	return tokenResponse(answer), nil
}

// ClientCredentialsExchange implements [op.Server]. The client acts for itself and is the subject.
func (s *server) ClientCredentialsExchange(_ context.Context,
	r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	resource, err := s.chooseResource(r.Form["resource"])
	if err != nil {
		return nil, err
	}
	scopes, err := s.grantScopes(r.Form.Get("scope"))
	if err != nil {
		return nil, err
	}
	// There is no user to identify, and the client needs no refresh token (RFC 6749, section 4.4.3).
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool {
		return scope == oidc.ScopeOpenID || scope == oidc.ScopeOfflineAccess
	})
	if len(scopes) == 0 && r.Form.Get("scope") != "" {
		return nil, oidc.ErrInvalidScope().WithDescription(
			"none of the requested scopes can be granted to a client without a user")
	}
	now := s.config.Now()
	answer, err := s.issue(now, &grant{clientID: r.Client.GetID(), subject: r.Client.GetID(), resource: resource,
		scopes: scopes, authTime: now}, scopes)
	if err != nil {
		return nil, err
	}
	return tokenResponse(answer), nil
}

// issue issues an access token for the grant. The response contains the scopes, which may be fewer than
// requested.
func (i *Issuer) issue(now time.Time, g *grant, scopes []string) (*oidc.AccessTokenResponse, error) {
	claims := accessClaims{
		Issuer:   i.config.Issuer,
		Subject:  g.subject,
		Audience: g.resource,
		Expires:  now.Add(i.config.AccessTokenLifetime).Unix(),
		IssuedAt: now.Unix(),
		ID:       rand.Text(),
		ClientID: g.clientID,
		Scope:    strings.Join(scopes, " "),
		Name:     g.name,
	}
	token, err := i.keys.sign("at+jwt", claims)
	if err != nil {
		return nil, err
	}
	i.store.putAccessToken(now, token, g, claims)
	return &oidc.AccessTokenResponse{
		AccessToken: token,
		TokenType:   oidc.BearerToken,
		ExpiresIn:   uint64(i.config.AccessTokenLifetime / time.Second),
		Scope:       scopes,
	}, nil
}

func (i *Issuer) idToken(now time.Time, g *grant, nonce, accessToken string) (string, error) {
	hash, err := oidc.ClaimHash(accessToken, i.keys.algorithm)
	if err != nil {
		return "", err
	}
	return i.keys.sign("JWT", idClaims{
		Issuer:          i.config.Issuer,
		Subject:         g.subject,
		Audience:        g.clientID,
		Expires:         now.Add(i.config.AccessTokenLifetime).Unix(),
		IssuedAt:        now.Unix(),
		AuthTime:        g.authTime.Unix(),
		Nonce:           nonce,
		AccessTokenHash: hash,
		Name:            g.name,
	})
}

// grantError maps errors of the store to invalid_grant. Errors that a client could cause by trying values
// have the same description.
func (i *Issuer) grantError(ctx context.Context, kind string, c op.Client, err error) error {
	if errors.Is(err, errReplayedGrant) {
		i.config.Logger.WarnContext(ctx, kind+" used twice; all tokens issued for it are revoked",
			slog.String("client_id", c.GetID()))
	}
	if errors.Is(err, errOutdatedToken) {
		i.config.Logger.InfoContext(ctx, kind+" repeated after several replacements; refused, nothing is revoked",
			slog.String("client_id", c.GetID()))
	}
	if errors.Is(err, errReplayedGrant) || errors.Is(err, errUnknownGrant) || errors.Is(err, errOutdatedToken) {
		return oidc.ErrInvalidGrant().WithDescription(
			"the %s is unknown, expired, used, or issued to another client", kind)
	}
	return err
}

// matchesChallenge reports whether verifier matches a challenge of method S256 (RFC 7636, section 4.6).
func matchesChallenge(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	digest := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(digest[:])),
		[]byte(challenge)) == 1
}

func tokenResponse(answer *oidc.AccessTokenResponse) *op.Response {
	header := make(http.Header)
	noStore(header)
	return &op.Response{Header: header, Data: answer}
}
