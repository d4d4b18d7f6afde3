package token

import (
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/rawjson"
)

// Rules describe the access tokens of an adapter's provider. A token with anything that they do not list is
// refused.
type Rules struct {
	// Issuers are the accepted values of iss, byte for byte.
	Issuers []string
	// IssuerClaims are claims that tokens of one issuer need in addition to RequiredClaims: the tenant in an
	// issuer template.
	IssuerClaims map[string][]RequiredClaim
	// Audiences are the values of which aud must contain one, compared by [SameAudience]. Never empty.
	Audiences []string
	// AllowedClients, if not empty, are the only clients whose tokens are accepted. They are for providers
	// whose access tokens have no aud, or have the client as aud: a token without aud is then accepted, and
	// so is a token whose aud is one of the clients.
	AllowedClients []string
	// RequiredClaims must all be present.
	RequiredClaims []RequiredClaim
	// AllowIDTokens accepts tokens that look like ID tokens. Without it, nonce and at_hash are refused, and
	// tokens that name neither a client nor scopes, unless one of RequiredClaims states their type: typ,
	// type, token_use, token_type or tokenType. A token with c_hash, or with the type of a refresh, ID or
	// logout token in one of these claims, is always refused.
	AllowIDTokens bool
	// Algorithms are the accepted signature algorithms. Symmetric ones and "none" are never accepted, listed or
	// not.
	Algorithms []jose.SignatureAlgorithm
	// TokenTypes are the accepted values of the typ header, in lower case and without "application/" (RFC 9068,
	// section 2.1: at+jwt). [AbsentType] accepts a missing typ.
	TokenTypes []string
	// ScopeClaims are the claims that may hold the scopes; the first that is present counts. A name with dots is
	// a path into objects.
	ScopeClaims []string
	// ScopeMap translates the provider's scopes into local ones.
	ScopeMap ScopeMap
	// DefaultScopes are the scopes of a token that has none of ScopeClaims.
	DefaultScopes []string
	// ClientClaims are the claims that may name the client; the first that is not empty counts.
	ClientClaims []string
	// SubjectClaim names the caller. Empty means sub.
	SubjectClaim string
	// WithoutExpiry, if above zero, accepts a token without exp for that long after its claims were read. It is
	// for introspection responses (RFC 7662, section 2.2), which are renewed.
	WithoutExpiry time.Duration
	// Leeway is the allowed difference between the clocks of issuer and server. Zero means [DefaultLeeway].
	Leeway time.Duration
	// MaxTokenBytes bounds the length of a token. Zero means [DefaultMaxTokenBytes].
	MaxTokenBytes int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

const (
	// DefaultLeeway is the usual allowance between clocks.
	DefaultLeeway = time.Minute
	// DefaultMaxTokenBytes is well above the largest tokens seen (about 4 KiB).
	DefaultMaxTokenBytes = 16 << 10
)

// AbsentType accepts a missing typ header in Rules.TokenTypes.
const AbsentType = "absent"

var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// IsAsymmetric reports whether tokens may be signed with alg. Symmetric algorithms and "none" are not
// allowed.
func IsAsymmetric(alg jose.SignatureAlgorithm) bool { return slices.Contains(asymmetric, alg) }

// withDefaults returns r with the defaults in its zero fields, and without symmetric algorithms.
func (r Rules) withDefaults() Rules {
	if r.Leeway == 0 {
		r.Leeway = DefaultLeeway
	}
	if r.MaxTokenBytes == 0 {
		r.MaxTokenBytes = DefaultMaxTokenBytes
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.SubjectClaim == "" {
		r.SubjectClaim = "sub"
	}
	r.Algorithms = slices.DeleteFunc(slices.Clone(r.Algorithms),
		func(alg jose.SignatureAlgorithm) bool { return !IsAsymmetric(alg) })
	return r
}

// knownClaims are all claims that the rules read.
func (r Rules) knownClaims() *rawjson.NameSet {
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
			names = append(names, path[:end]) // each member that the path may begin with
		}
	}
	slices.Sort(names)
	return rawjson.NewNameSet(slices.Compact(names)...)
}

// namesTokenType reports whether a required claim states the type of the token. Others, such as a tenant, are
// in ID tokens too.
func (r Rules) namesTokenType() bool {
	return slices.ContainsFunc(r.RequiredClaims,
		func(c RequiredClaim) bool { return IsTypeClaim([]byte(c.Name)) })
}

// RequiredClaim is a claim that a token must have with a value. It distinguishes access tokens from other
// tokens where typ does not.
type RequiredClaim struct {
	// Name is the claim, or a path to it with dots.
	Name string
	// Value is what a string must equal or a list of strings must contain. For any other value it is the JSON
	// text, such as true.
	Value string
}

func (r RequiredClaim) metBy(claims rawObject) bool {
	raw, ok, err := claims.lookup(r.Name)
	if err != nil || !ok {
		return false
	}
	if values, err := stringsIn(raw); err == nil {
		return slices.Contains(values, r.Value)
	}
	return string(raw) == r.Value
}
