// Package token verifies access tokens (RFC 9068, RFC 7662) for the adapters of identity providers.
//
// An adapter gives facts: [Rules], where the keys are ([KeySource], [Discovery]), and how to introspect
// ([Introspector]). The checks that make a token good are here and are the same for every provider. [NewProvider]
// makes a [providers.Provider] of these parts. [Explainer] tells the result of each check for one token.
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

// Rules are the facts that an adapter gives about its provider's access tokens. What is not named is refused.
type Rules struct {
	// Issuers are the accepted values of iss, byte for byte.
	Issuers []string
	// IssuerClaims are claims that tokens of one issuer need on top of RequiredClaims: the tenant that it stands for.
	IssuerClaims map[string][]RequiredClaim
	// Audiences are the values of which aud must contain one, compared by [SameAudience]. Never empty.
	Audiences []string
	// AllowedClients, if there are any, are the only clients whose tokens are accepted. They are for providers whose
	// access tokens have no aud, or the client in it: then a token without aud is accepted, and aud may name one of them.
	AllowedClients []string
	// RequiredClaims must all be there.
	RequiredClaims []RequiredClaim
	// AllowIDTokens accepts tokens that look like ID tokens. Without it, nonce and at_hash are refused, and
	// tokens that name neither a client nor scopes, unless a required claim says their type: typ, type,
	// token_use, token_type or tokenType. c_hash, and one of these claims that says that it is a refresh, ID
	// or logout token, are always refused.
	AllowIDTokens bool
	// Algorithms are the accepted signature algorithms. Symmetric ones and "none" are never accepted, listed or not.
	Algorithms []jose.SignatureAlgorithm
	// TokenTypes are the accepted values of the typ header in lower case and without "application/" (RFC 9068,
	// section 2.1: at+jwt). "absent" stands for a missing typ.
	TokenTypes []string
	// ScopeClaims are the claims that may hold the scopes; the first that is present counts. A name with dots leads into
	// objects.
	ScopeClaims []string
	// ScopeMap translates the provider's scopes into ours.
	ScopeMap ScopeMap
	// DefaultScopes are the scopes of a token that has none of ScopeClaims.
	DefaultScopes []string
	// ClientClaims are the claims that may name the client; the first that is not empty counts.
	ClientClaims []string
	// SubjectClaim names the caller; empty means sub.
	SubjectClaim string
	// WithoutExpiry, if above zero, is how long a token without exp is good from when its claims were read.
	// It is for answers to introspection (RFC 7662, section 2.2), which are asked for again.
	WithoutExpiry time.Duration
	// Leeway is how far the clocks of issuer and server may differ. Zero means [DefaultLeeway].
	Leeway time.Duration
	// MaxTokenBytes bounds the length of a token. Zero means [DefaultMaxTokenBytes].
	MaxTokenBytes int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	// DefaultLeeway is the usual allowance between clocks.
	DefaultLeeway = time.Minute
	// DefaultMaxTokenBytes is well above the largest tokens seen (about 4 KiB).
	DefaultMaxTokenBytes = 16 << 10

	// maxCachedTokens and maxCachedBytes bound how many accepted tokens are remembered.
	maxCachedTokens = 40_000
	maxCachedBytes  = 30 << 20
	// acceptedTTL is how long a token is accepted without another check of its signature.
	acceptedTTL = 5 * time.Minute
)

// CheckMaxTokenBytes is the check of the setting max_token_bytes, which every kind has.
func CheckMaxTokenBytes(n int, report func(key, reason, fix string)) {
	if n < 1<<10 || n > 64<<10 {
		report("max_token_bytes", "it is not between 1024 and 65536", "leave it out for the default")
	}
}

// AbsentType stands for a missing typ in Rules.TokenTypes.
const AbsentType = "absent"

// Verifier is the one strict check of a JWT access token, whatever the provider.
//
// It is stricter than the library's (which looks at issuer, signature and expiry only) and looks at the claims before
// it pays for the signature: a token that is expired or meant for someone else costs neither a signature check nor a
// key fetch. That tells a forger nothing, because every refusal has the same answer on the wire.
type Verifier struct {
	rules Rules
	keys  oidc.KeySet
	// fixed are the claims whose meaning is fixed, by the standards or by the rules.
	fixed *rawjson.NameSet
	// audiences are those of the rules, ready to be compared with, and accepted is all that aud may name, to be said.
	audiences []audience
	accepted  []string

	headerChecks, claimChecks []check

	cache tokenCache
}

var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// IsAsymmetric reports whether tokens may be signed with alg. Symmetric algorithms and "none" never are.
func IsAsymmetric(alg jose.SignatureAlgorithm) bool { return slices.Contains(asymmetric, alg) }

// NewVerifier returns a verifier that applies rules and takes its keys from keys. The error of keys decides between
// ErrInvalidToken and ErrUnavailable; a [KeySet] gets that right.
func NewVerifier(rules Rules, keys oidc.KeySet) *Verifier {
	if rules.Leeway == 0 {
		rules.Leeway = DefaultLeeway
	}
	if rules.MaxTokenBytes == 0 {
		rules.MaxTokenBytes = DefaultMaxTokenBytes
	}
	if rules.Now == nil {
		rules.Now = time.Now
	}
	rules.Algorithms = slices.DeleteFunc(slices.Clone(rules.Algorithms), func(alg jose.SignatureAlgorithm) bool {
		return !slices.Contains(asymmetric, alg)
	})
	if rules.SubjectClaim == "" {
		rules.SubjectClaim = "sub"
	}
	v := &Verifier{
		rules: rules, keys: keys, fixed: rules.fixedClaims(), accepted: slices.Concat(rules.Audiences, rules.AllowedClients),
		headerChecks: headerChecks(), claimChecks: claimChecks(), cache: newTokenCache(maxCachedTokens, maxCachedBytes),
	}
	for _, ours := range rules.Audiences {
		v.audiences = append(v.audiences, audienceOf(ours))
	}
	return v
}

// fixedClaims are all claims that the rules look at.
func (r Rules) fixedClaims() *rawjson.NameSet {
	names := slices.Concat(registeredClaims, r.ScopeClaims, r.ClientClaims, []string{r.SubjectClaim})
	for _, claims := range r.IssuerClaims {
		for _, c := range claims {
			names = append(names, c.Name)
		}
	}
	for _, c := range r.RequiredClaims {
		names = append(names, c.Name)
	}
	for _, path := range names {
		for end := strings.LastIndexByte(path, '.'); end > 0; end = strings.LastIndexByte(path[:end], '.') {
			names = append(names, path[:end]) // any member that the path may begin with
		}
	}
	slices.Sort(names)
	return rawjson.NewNameSet(slices.Compact(names)...)
}

// Verify checks token and returns who presented it. See [providers.Provider.Verify] for the errors. A token that was
// accepted lately, by the keys that are still in use, is accepted without another check of its signature.
func (v *Verifier) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	keys, versioned := v.keys.(versionedKeys)
	if !versioned || len(token) > v.rules.MaxTokenBytes || strings.Count(token, ".") != 2 { // not worth a hash
		return v.verify(ctx, token)
	}
	version, usable := keys.version()
	if !usable {
		return v.verify(ctx, token)
	}
	now, key := v.rules.Now(), keyOf(token, version)
	if known, ok := v.cache.get(key, now); ok {
		if known.err != nil {
			return nil, known.err
		}
		return copyIdentity(known.id).withClaimsOf(token), nil
	}
	id, err := v.verify(ctx, token)
	if err == nil {
		end := now.Add(acceptedTTL)
		if id.ExpiryWithLeeway.Before(end) {
			end = id.ExpiryWithLeeway
		}
		v.cache.accept(key, cachedIdentity(id, nil), now, end)
		return id, nil
	}
	switch reason := providers.ReasonOf(err); reason {
	case providers.TokenExpired, providers.IssuerMismatch, providers.AudienceMismatch:
		// Time does not change these, and clients send such tokens again and again.
		v.cache.refuse(key, reason, now, refusalTTL)
	case providers.SignatureInvalid:
		v.cache.refuse(key, reason, now, keys.untilFetch()) // then a token may cause a fetch of new keys
	}
	return nil, err
}

// versionedKeys is implemented by a key set that counts its changes. Results are cached under the version that they
// were verified by.
type versionedKeys interface {
	// version returns false while there are no keys, or none that are fresh enough.
	version() (number uint64, usable bool)
	// untilFetch returns how long tokens cannot cause a fetch.
	untilFetch() time.Duration
}

// verify looks at the claims before it pays for the signature.
func (v *Verifier) verify(ctx context.Context, token string) (*providers.Identity, error) {
	header, payload, err := v.splitCompact(token)
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

// checkSignature asks the keys. What they confirm is what the claims were read from.
func (v *Verifier) checkSignature(ctx context.Context, token string, payload []byte) error {
	if err := checkSignatureForm(token); err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(token, v.rules.Algorithms)
	if err != nil {
		return providers.Invalidf(providers.TokenMalformed, "not a compact JWS")
	}
	signed, err := v.keys.VerifySignature(ctx, jws)
	if err != nil {
		return err
	}
	if !bytes.Equal(signed, payload) {
		return providers.Invalidf(providers.TokenMalformed, "its payload can be read in two ways")
	}
	return nil
}

// checkSignatureForm refuses stray bits behind the signature, which the library would ignore.
func checkSignatureForm(token string) error {
	if _, err := decodeSegment(token[strings.LastIndexByte(token, '.')+1:]); err != nil {
		return providers.Invalidf(providers.TokenMalformed, "the signature is not base64url")
	}
	return nil
}

// splitCompact takes a compact JWS apart (RFC 7515, section 7.1), whose header and payload stay encoded. It and [decodeSegment] let
// every token have one spelling. The library would accept line ends inside a part and stray bits at the end of one.
func (v *Verifier) splitCompact(token string) (header, payload string, err error) {
	if len(token) > v.rules.MaxTokenBytes {
		return "", "", providers.Invalidf(providers.TokenTooLong, "%d bytes, at most %d are accepted", len(token), v.rules.MaxTokenBytes)
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if found && !strings.Contains(signature, ".") {
		return header, payload, nil
	}
	switch dots := strings.Count(token, "."); {
	case dots == 0:
		return "", "", providers.Invalidf(providers.TokenOpaque, "not a JWT: it has no parts")
	case strings.ContainsFunc(header, notBase64URL):
		return "", "", notEncoded(header)
	default:
		return "", "", providers.Invalidf(providers.TokenMalformed, "%d parts, a signed JWT has 3", dots+1)
	}
}

// notEncoded says what is wrong with a header that cannot be decoded.
func notEncoded(header string) error {
	if strings.ContainsFunc(header, notBase64URL) {
		return providers.Invalidf(providers.TokenOpaque, "not a JWT: its first part is not base64url")
	}
	return providers.Invalidf(providers.TokenMalformed, "the header is not base64url")
}

func notBase64URL(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// checkHeader applies the rules for headers.
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

func parseHeader(encoded string) (rawObject, error) {
	raw, err := decodeSegment(encoded)
	if err != nil {
		return nil, notEncoded(encoded)
	}
	header, err := parseObject(raw, registeredHeaders)
	if err != nil {
		return nil, providers.Invalidf(providers.TokenMalformed, "header: %v", err)
	}
	return header, nil
}

// parseClaims returns the claims, and what they were read from.
func (v *Verifier) parseClaims(encoded string) (claims rawObject, raw []byte, err error) {
	if raw, err = decodeSegment(encoded); err != nil {
		return nil, nil, providers.Invalidf(providers.TokenMalformed, "the payload is not base64url")
	}
	if claims, err = parseObject(raw, v.fixed); err != nil {
		return nil, nil, providers.Invalidf(providers.ClaimsMalformed, "payload: %v", err)
	}
	return claims, raw, nil
}

// checkClaims applies the rules that need no key, and builds the identity that the signature then has to confirm.
func (v *Verifier) checkClaims(claims rawObject) (*providers.Identity, error) {
	id := &providers.Identity{}
	for _, check := range v.claimChecks {
		if err := check.test(v, claims, id); err != nil {
			return nil, err
		}
	}
	details := providers.TokenDetails{Claims: claims} // not before: it costs an allocation
	switch inToken := id.Scopes; {
	case inToken == nil && len(v.rules.DefaultScopes) > 0:
		id.Scopes, id.ScopesDefaulted = slices.Clone(v.rules.DefaultScopes), true
	case len(inToken) > 0 && v.rules.ScopeMap.renames():
		kept := inToken
		details.Scopes = &kept
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
