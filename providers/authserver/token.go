package authserver

import (
	"context"
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

	"gatehouse/providers"
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
	Name            string `json:"name,omitempty"`
}

// accessTokenType is the typ of access tokens (RFC 9068, section 2.1).
const accessTokenType = "at+jwt"

// tokenTerms are for whom, and for what, an access token is.
type tokenTerms struct {
	signIn   string // the digest of the grant; empty without one
	subject  string
	name     string // empty unless the subject is a person of the demo
	clientID string
	resource string
	scopes   []string
}

func (g *storedGrant) terms(scopes []string) tokenTerms {
	return tokenTerms{g.digest, g.Person.Subject, g.Person.Name, g.ClientID, g.Resource, scopes}
}

// CodeExchange implements [op.Server]: the authorization code grant. The library has authenticated the
// client, so a failed authentication does not use up the code.
func (s *server) CodeExchange(ctx context.Context,
	r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	// Without the grant type, the client could not use a refresh token.
	mayRefresh := slices.Contains(r.Client.GrantTypes(), oidc.GrantTypeRefreshToken)
	g, terms, err := s.redeem(ctx, r.Data.Code, r.Client.GetID(), mayRefresh, func(g *grant) error {
		// OAuth 2.1, section 10.2 removes redirect_uri from this request; r.Form may contain the value that
		// redirectURIOptional added.
		if sent := r.PostForm.Get("redirect_uri"); sent != "" && sent != g.Code.RedirectURI {
			return oidc.ErrInvalidGrant().WithDescription("redirect_uri differs from the authorization request")
		}
		if !matchesChallenge(r.Data.CodeVerifier, g.Code.Challenge) {
			return oidc.ErrInvalidGrant().WithDescription("code_verifier is missing or wrong")
		}
		return s.checkGrantedResource(r.Form["resource"], g.Resource)
	})
	if err != nil {
		return nil, s.refuseGrant(ctx, EventExchange, "code", r.Client, g, err)
	}

	now := s.config.Now()
	answer, err := s.issue(now, g.terms(g.allowedScopes()))
	if err != nil {
		return nil, err
	}
	if mayRefresh && g.isRefreshable() {
		answer.RefreshToken = mintToken(s.config.Keys, refreshKind, g.id, g.Generation)
	}
	if slices.Contains(g.Scopes, oidc.ScopeOpenID) {
		if answer.IDToken, err = s.idToken(now, g, terms.Nonce, answer.AccessToken); err != nil {
			return nil, err
		}
	}
	s.record(ctx, grantEvent(EventExchange, "", g))
	return tokenResponse(answer), nil
}

// isRefreshable reports whether the client has requested access while the person is absent.
func (g *grant) isRefreshable() bool { return slices.Contains(g.Scopes, oidc.ScopeOfflineAccess) }

// RefreshToken implements [op.Server]. The resource stays the granted one, even if the request has none.
func (s *server) RefreshToken(ctx context.Context,
	r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	requested := strings.Fields(r.Form.Get("scope"))
	rotated, err := s.rotate(ctx, r.Data.RefreshToken, r.Client.GetID(), func(g *grant) ([]string, error) {
		if err := s.checkGrantedResource(r.Form["resource"], g.Resource); err != nil {
			return nil, err
		}
		return g.chooseScopes(requested)
	})
	if err != nil {
		return nil, s.refuseGrant(ctx, EventRefresh, "refresh token", r.Client, rotated.grant, err)
	}
	g := rotated.grant
	answer, err := s.issue(s.config.Now(), g.terms(rotated.scopes))
	if err != nil {
		return nil, err
	}
	answer.RefreshToken = rotated.successor
	if rotated.repeated {
		s.config.Logger.InfoContext(ctx,
			"refresh token repeated within the grace period; same successor returned",
			slog.String("client_id", displayClientID(r.Client.GetID())))
		event := grantEvent(EventRepeat, "", g)
		event.OtherAddress = g.Address // which sent the token first
		s.record(ctx, event)
	} else {
		s.record(ctx, grantEvent(EventRefresh, "", g))
	}
	return tokenResponse(answer), nil
}

// chooseScopes returns the scopes of an access token: those requested, or all, that the person may have now.
func (g *grant) chooseScopes(requested []string) ([]string, error) {
	allowed := g.allowedScopes()
	if len(requested) == 0 {
		return allowed, nil
	}
	var chosen []string
	for _, scope := range requested {
		if !slices.Contains(g.Scopes, scope) {
			return nil, oidc.ErrInvalidScope().WithDescription("the scope exceeds the grant") // RFC 6749, section 6
		}
		if slices.Contains(allowed, scope) {
			chosen = append(chosen, scope)
		}
	}
	if len(chosen) == 0 {
		return nil, oidc.ErrInvalidScope().WithDescription("the person may not have the scope any more")
	}
	return chosen, nil
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
	scopes = slices.DeleteFunc(slices.Clone(scopes), isProtocolScope)
	if len(scopes) == 0 && r.Form.Get("scope") != "" {
		return nil, oidc.ErrInvalidScope().WithDescription(
			"none of the requested scopes can be granted to a client without a user")
	}
	answer, err := s.issue(s.config.Now(), tokenTerms{clientID: r.Client.GetID(), subject: r.Client.GetID(),
		resource: resource, scopes: scopes})
	if err != nil {
		return nil, err
	}
	return tokenResponse(answer), nil
}

// issue issues an access token. The response contains the scopes, which may be fewer than requested.
func (i *Issuer) issue(now time.Time, t tokenTerms) (*oidc.AccessTokenResponse, error) {
	claims := accessClaims{
		Issuer:   i.config.Issuer,
		Subject:  t.subject,
		Audience: t.resource,
		Expires:  now.Add(i.config.AccessTokenLifetime).Unix(),
		IssuedAt: now.Unix(),
		ID:       i.access.newID(t.signIn),
		ClientID: t.clientID,
		Scope:    strings.Join(t.scopes, " "),
		Name:     t.name,
	}
	token, err := i.keys.sign(accessTokenType, claims)
	if err != nil {
		return nil, err
	}
	i.access.issued(now, token, t.signIn, claims)
	return &oidc.AccessTokenResponse{
		AccessToken: token,
		TokenType:   oidc.BearerToken,
		ExpiresIn:   uint64(i.config.AccessTokenLifetime / time.Second),
		Scope:       t.scopes,
	}, nil
}

func (i *Issuer) idToken(now time.Time, g *storedGrant, nonce, accessToken string) (string, error) {
	hash, err := oidc.ClaimHash(accessToken, i.keys.algorithm)
	if err != nil {
		return "", internalError(err)
	}
	return i.keys.sign("JWT", idClaims{
		Issuer:          i.config.Issuer,
		Subject:         g.Person.Subject,
		Audience:        g.ClientID,
		Expires:         now.Add(i.config.AccessTokenLifetime).Unix(),
		IssuedAt:        now.Unix(),
		AuthTime:        g.Person.Time.Unix(),
		Nonce:           nonce,
		AccessTokenHash: hash,
		Name:            g.Person.Name,
	})
}

// refuseGrant returns the answer to a code or refresh token that was refused. Errors that a client could cause by
// trying values have the same description.
func (i *Issuer) refuseGrant(
	ctx context.Context, event, kind string, c op.Client, g *storedGrant, err error,
) error {
	i.record(ctx, refusalEvent(event, refusalReason(err), c.GetID(), g))
	client := slog.String("client_id", displayClientID(c.GetID()))
	switch ended := new(grantEnded); {
	case errors.Is(err, errUnavailable):
		return i.unavailable(ctx, err)
	case errors.Is(err, errReplayedGrant):
		i.config.Logger.WarnContext(ctx, kind+" used twice; all tokens issued for it are revoked", client)
	case errors.Is(err, errOutdatedToken):
		i.config.Logger.InfoContext(ctx, kind+" repeated after several replacements; refused, nothing is revoked",
			client)
	case errors.As(err, &ended):
		i.config.Logger.InfoContext(ctx, kind+" refused; its sign-in has ended", client,
			slog.String("reason", string(ended.reason)))
	case errors.As(err, new(*oidc.Error)):
		return err
	case !errors.Is(err, errUnknownGrant):
		return internalError(err)
	}
	return oidc.ErrInvalidGrant().WithDescription(
		"the %s is unknown, expired, used, or issued to another client", kind)
}

func refusalReason(err error) providers.Reason {
	unavailable, ended := new(unavailableError), new(grantEnded)
	switch {
	case errors.As(err, &unavailable):
		return unavailable.reason
	case errors.As(err, &ended):
		return ended.reason
	case errors.Is(err, errReplayedGrant):
		return ReasonReplayed
	case errors.Is(err, errOutdatedToken):
		return ReasonOutdatedToken
	case errors.Is(err, errUnknownGrant):
		return ReasonUnknownToken
	case errors.As(err, new(*oidc.Error)):
		return ReasonRequestMismatch
	}
	return providers.ReasonInternalError
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
