package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/token"
)

// leeway is the allowed difference between the clocks of the provider and this server.
const leeway = token.DefaultLeeway

// idClaims are the claims of an ID token that zitadel's verifier checks.
type idClaims struct {
	oidc.TokenClaims
	AccessTokenHash string `json:"at_hash"`
}

// GetAccessTokenHash implements [oidc.IDClaims].
func (c *idClaims) GetAccessTokenHash() string { return c.AccessTokenHash }

// GetExpiration implements [oidc.Claims]. The verifier subtracts its offset, which is meant for iat, from the lifetime:
// a token of one minute would never be valid. So the leeway is added twice here.
func (c *idClaims) GetExpiration() time.Time {
	if c.Expiration == 0 {
		return time.Time{}
	}
	return c.TokenClaims.GetExpiration().Add(2 * leeway)
}

// verifyIDToken verifies the ID token of a response (OpenID Connect Core 1.0, section 3.1.3.7) and returns its claims.
// A nil nonce is not checked.
func (u *Upstream) verifyIDToken(ctx context.Context, t tokens, nonce *string) (token.ClaimSet, error) {
	if t.id == "" {
		return token.ClaimSet{}, invalidIDToken("there is none; request the scope openid")
	}
	claims, err := u.parseIDToken(t.id)
	if err != nil {
		return token.ClaimSet{}, err
	}
	verifier := rp.NewIDTokenVerifier(u.config.Issuer, u.config.ClientID, u.keys,
		rp.WithISSVerifier(u.checkIssuer), rp.WithIssuedAtOffset(leeway),
		rp.WithSupportedSigningAlgorithms(algorithms()...))
	verifier.Nonce = nil
	if nonce != nil {
		verifier.Nonce = func(context.Context) string { return *nonce }
	}
	verified, err := rp.VerifyTokens[*idClaims](ctx, t.access, t.id, verifier)
	if errors.Is(err, providers.ErrUnavailable) {
		return token.ClaimSet{}, u.unavailable(errors.New("the keys for the ID token are not available: " + keyProblem(err)))
	}
	if err != nil {
		return token.ClaimSet{}, idTokenError(err)
	}
	for _, want := range u.tenants[verified.Issuer] {
		if tenant, _ := claims.Text(want.Name); tenant != want.Value {
			return token.ClaimSet{}, invalidIDToken("its claim " + want.Name + " is not the tenant in its issuer")
		}
	}
	return claims, nil
}

// parseIDToken reads the claims before the signature is checked. It is stricter than zitadel's parser, which takes SUB
// for sub and the last of duplicates.
func (u *Upstream) parseIDToken(idToken string) (token.ClaimSet, error) {
	_, rest, _ := strings.Cut(idToken, ".")
	encoded, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return token.ClaimSet{}, invalidIDToken("it is not a signed JWT")
	}
	claims, err := u.parseClaims(payload)
	if err != nil {
		return token.ClaimSet{}, invalidIDToken("its claims cannot be read, or one is there twice")
	}
	return claims, nil
}

// parseClaims reads the claims of an ID token or a userinfo response.
func (u *Upstream) parseClaims(raw []byte) (token.ClaimSet, error) {
	return token.ParseClaimSet(raw, append([]string{claimEmailVerified, claimNames, claimHasGroups, claimTenant},
		u.needed...)...)
}

func (u *Upstream) checkIssuer(issuer string) error {
	for _, want := range u.issuers {
		if issuer == want {
			return nil
		}
	}
	return oidc.ErrIssuerInvalid
}

func invalidIDToken(detail string) *authserver.SignInError {
	return refused(ReasonIDTokenInvalid, codeServerError, textError, "ID token: "+detail)
}

// idTokenError returns the error for an ID token that zitadel's verifier refuses, without its text, which quotes
// claims.
func idTokenError(err error) *authserver.SignInError {
	if errors.Is(err, oidc.ErrSubjectMissing) {
		return refused(ReasonAccountUnnamed, codeServerError, textError, "ID token: it has no sub")
	}
	for _, known := range []struct {
		err    error
		detail string
	}{
		{oidc.ErrIssuerInvalid, "its iss is not the issuer of the provider"},
		{oidc.ErrAudience, "its aud does not contain provider.client_id"},
		{oidc.ErrAzpMissing, "it is for several clients and has no azp"},
		{oidc.ErrAzpInvalid, "its azp is not provider.client_id"},
		{oidc.ErrSignatureUnsupportedAlg, "its alg is not an accepted algorithm"},
		{oidc.ErrExpired, "it has expired, or has no exp: compare the clocks"},
		{oidc.ErrIatMissing, "it has no iat"},
		{oidc.ErrIatInFuture, "its iat is in the future: compare the clocks"},
		{oidc.ErrNonceInvalid, "its nonce is not that of the request"},
		{oidc.ErrAtHash, "its at_hash is not that of the access token"},
	} {
		if errors.Is(err, known.err) {
			return invalidIDToken(known.detail)
		}
	}
	if errors.Is(err, oidc.ErrSignatureInvalid) {
		return invalidIDToken(keyProblem(err))
	}
	return invalidIDToken("it is not a signed JWT, or a claim has another type")
}

// keyProblem returns why [token.KeySet] did not verify a signature. Its errors are for the log.
func keyProblem(err error) string {
	if reason, ok := errors.AsType[*providers.Error](err); ok {
		return reason.Detail()
	}
	return "its signature does not verify"
}
