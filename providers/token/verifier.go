// Package token verifies access tokens (RFC 9068, RFC 7662) for the adapters of identity providers.
//
// An adapter describes its provider: [Rules], where the keys are ([KeySource], [Discovery]), and how to
// introspect ([Introspector]). The checks are in this package and are the same for every provider.
// [NewProvider] makes a [providers.Provider] of these parts. [Explainer] reports the result of each check for
// one token.
//
// A token passes through these files: provider.go chooses between local verification and introspection;
// verifier.go or introspection.go looks in the cache (cache.go) and then applies the checks (checks.go) to
// the claims, which jwt.go and claims.go read; keyset_verify.go checks the signature.
package token

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

const (
	// maxCachedTokens and maxCachedBytes bound how many accepted tokens are remembered.
	maxCachedTokens = 40_000
	maxCachedBytes  = 30 << 20
	// acceptedTTL is how long a token is accepted without another check of its signature.
	acceptedTTL = 5 * time.Minute
)

// Verifier verifies JWT access tokens of any provider.
//
// It is stricter than the library, which checks issuer, signature and expiry only, and it checks the claims
// before the signature: a token that is expired or meant for another resource costs neither a signature check
// nor a key fetch. The order tells a forger nothing, because every refusal has the same response.
type Verifier struct {
	rules Rules
	keys  oidc.KeySet
	// knownClaims are the claims that the rules read.
	knownClaims *rawjson.NameSet
	// audiences are the accepted audiences, parsed; acceptedAudiences is what messages list.
	audiences         []audience
	acceptedAudiences []string

	headerChecks, claimChecks []check

	cache tokenCache
}

// NewVerifier returns a verifier that applies rules and takes its keys from keys. The errors of keys must
// wrap ErrInvalidToken or ErrUnavailable, as those of a [KeySet] do.
func NewVerifier(rules Rules, keys oidc.KeySet) *Verifier {
	rules = rules.withDefaults()
	v := &Verifier{
		rules: rules, keys: keys, knownClaims: rules.knownClaims(),
		acceptedAudiences: slices.Concat(rules.Audiences, rules.AllowedClients),
		headerChecks:      headerChecks(), claimChecks: claimChecks(),
		cache: newTokenCache(maxCachedTokens, maxCachedBytes),
	}
	for _, value := range rules.Audiences {
		v.audiences = append(v.audiences, parseAudience(value))
	}
	return v
}

// Verify checks token and returns the caller's identity. See [providers.Provider.Verify] for the errors. A
// token that was accepted recently, by keys that are still in use, is accepted without another check of its
// signature.
func (v *Verifier) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	keys, versioned := v.keys.(versionedKeys)
	// Without versions nothing is cached, and a token of another form cannot be valid.
	if !versioned || len(token) > v.rules.MaxTokenBytes || strings.Count(token, ".") != 2 {
		return v.verifyUncached(ctx, token)
	}
	version, usable := keys.version()
	if !usable {
		return v.verifyUncached(ctx, token)
	}
	now, key := v.rules.Now(), keyOf(token, version)
	if known, ok := v.cache.get(key, now); ok {
		if known.err != nil {
			return nil, known.err
		}
		v.cache.counts.remembered.Add(1)
		return copyIdentity(known.id).withClaimsOf(token), nil
	}
	id, err := v.verifyUncached(ctx, token)
	if err == nil {
		end := now.Add(acceptedTTL)
		if id.ExpiryWithLeeway.Before(end) {
			end = id.ExpiryWithLeeway
		}
		v.cache.accept(key, cachedIdentity(id, nil), now, end)
		v.cache.counts.checked.Add(1)
		return id, nil
	}
	switch reason := providers.ReasonOf(err); reason {
	case ReasonExpired, ReasonIssuerMismatch, ReasonAudienceMismatch:
		// Time does not change these, and clients send such tokens again and again.
		v.cache.refuse(key, reason, now, refusalTTL)
	case ReasonSignatureInvalid:
		v.cache.refuse(key, reason, now, keys.untilFetch()) // then the token may cause a fetch of new keys
	}
	return nil, err
}

// versionedKeys is implemented by a key set that counts its changes. Results are cached under the version
// that they were verified by.
type versionedKeys interface {
	// version returns false while there are no keys, or none that are fresh enough.
	version() (number uint64, usable bool)
	// untilFetch returns how long tokens cannot cause a fetch.
	untilFetch() time.Duration
}

// verifyUncached checks the header and the claims, and the signature last, because it is the most expensive.
func (v *Verifier) verifyUncached(ctx context.Context, token string) (*providers.Identity, error) {
	header, payload, err := splitCompact(token, v.rules.MaxTokenBytes)
	if err != nil {
		return nil, err
	}
	if err := v.checkHeader(header); err != nil {
		return nil, err
	}
	claims, raw, err := v.parseClaims(payload)
	if err != nil {
		return nil, err
	}
	id, err := v.checkClaims(claims)
	if err != nil {
		return nil, err
	}
	if err := v.checkSignature(ctx, token, raw); err != nil {
		return nil, err
	}
	return id, nil
}

func (v *Verifier) checkHeader(encoded string) error {
	header, err := parseHeader(encoded)
	if err != nil {
		return err
	}
	for _, check := range v.headerChecks {
		if err := check.test(v, header, nil); err != nil {
			return err
		}
	}
	return nil
}

// checkClaims applies the checks that need no key, and returns the identity that the signature must confirm.
func (v *Verifier) checkClaims(claims rawObject) (*providers.Identity, error) {
	id := &providers.Identity{}
	for _, check := range v.claimChecks {
		if err := check.test(v, claims, id); err != nil {
			return nil, err
		}
	}
	if raw, ok := claims.claim("jti"); ok {
		id.TokenID, _ = rawjson.Text(raw) // an id of another type has no meaning (RFC 7519, section 4.1.7)
	}
	details := providers.TokenDetails{Claims: claims}
	switch inToken := id.Scopes; {
	case inToken == nil && len(v.rules.DefaultScopes) > 0:
		id.Scopes, id.ScopesDefaulted = slices.Clone(v.rules.DefaultScopes), true
	case len(inToken) > 0 && v.rules.ScopeMap.renames():
		details.Scopes = &inToken
	}
	id.SetTokenDetails(details)
	id.Scopes = v.rules.ScopeMap.ToLocal(id.Scopes)
	if len(id.Scopes) == 0 {
		id.Scopes = nil
	}
	if id.ExpiryWithLeeway.IsZero() {
		id.ExpiryWithLeeway = id.Expiry.Add(v.rules.Leeway)
	}
	return id, nil
}

// checkSignature checks that the issuer signed payload, from which the claims were read.
func (v *Verifier) checkSignature(ctx context.Context, token string, payload []byte) error {
	if err := checkSignatureForm(token); err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(token, v.rules.Algorithms)
	if err != nil {
		return providers.Invalidf(ReasonMalformed, "not a compact JWS")
	}
	signed, err := v.keys.VerifySignature(ctx, jws)
	if err != nil {
		return err
	}
	if !bytes.Equal(signed, payload) {
		return providers.Invalidf(ReasonMalformed, "two parsers read its payload differently")
	}
	return nil
}
