package providers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Identity is the caller of a request. Only a provider makes one, from a verified token.
type Identity struct {
	// Issuer is the issuer of the token, exactly as configured.
	Issuer string
	// Subject identifies the caller at the issuer. It is unique only together with Issuer.
	Subject string
	// Client is the OAuth client that the token was issued to; empty if the token does not name it.
	Client string
	// Audience is the token's full audience.
	Audience []string
	// Scopes are the scopes of the token.
	Scopes []string
	// ScopesDefaulted is true if the token has no scope claim and Scopes are provider.default_scopes: another sign-in
	// would not add scopes.
	ScopesDefaulted bool
	// Expiry is when the token expires, without leeway.
	Expiry time.Time
	// ExpiryWithLeeway is Expiry plus the leeway of the token's verification. Streams end then.
	ExpiryWithLeeway time.Time
	// IssuedAt is when the token was issued; the zero time if it does not say so (iat).
	IssuedAt time.Time
	// TokenID identifies the token at its issuer; empty if it has no id (jti).
	TokenID string

	token TokenDetails
}

// TokenDetails are what an [Identity] retains of its token.
type TokenDetails struct {
	// Claims returns the claims; nil if there are none. It is called on demand, because few requests need them.
	Claims interface {
		Claims() map[string]json.RawMessage
	}
	// Principal is the precomputed result of [Identity.Principal], or empty.
	Principal string
	// Scopes are the result of [Identity.TokenScopes] if they differ from Identity.Scopes. They are shared between
	// identities and read-only.
	Scopes *[]string
}

// SetTokenDetails sets what id retains of its token. It is for the provider that makes id.
func (id *Identity) SetTokenDetails(d TokenDetails) { id.token = d }

// TokenDetails returns what id retains of its token.
func (id *Identity) TokenDetails() TokenDetails { return id.token }

// TokenScopes returns the scopes under their names in the token: before provider.scope_map and scopes.implies, and
// none if ScopesDefaulted.
func (id *Identity) TokenScopes() []string {
	switch {
	case id.ScopesDefaulted:
		return nil
	case id.token.Scopes != nil:
		return slices.Clone(*id.token.Scopes)
	}
	return slices.Clone(id.Scopes)
}

// WithScopes returns a copy of id with other scopes. Its TokenScopes are still those of id.
func (id *Identity) WithScopes(scopes []string) *Identity {
	other := *id
	if other.token.Scopes == nil {
		other.token.Scopes = &id.Scopes
	}
	other.Scopes = scopes
	return &other
}

// Claims returns the token's claims, undecoded. They are read-only.
func (id *Identity) Claims() map[string]json.RawMessage {
	if id.token.Claims == nil {
		return map[string]json.RawMessage{}
	}
	return id.token.Claims.Claims()
}

// Principal identifies the caller across issuers, because two issuers may use the same subject. Sessions and limits
// are bound to it. It is never empty: the SDK does not check the owner of a session without a name.
func (id *Identity) Principal() string {
	p := id.token.Principal
	isCurrent := len(p) == len(id.Issuer)+1+len(id.Subject) &&
		strings.HasPrefix(p, id.Issuer) && strings.HasSuffix(p, id.Subject)
	if isCurrent {
		return p
	}
	return id.Issuer + "|" + id.Subject
}

// Missing returns those of the needed scopes that the identity does not have, in the order given.
func (id *Identity) Missing(needed []string) []string { return MissingScopes(id.Scopes, needed) }

type identityKey struct{}

// WithIdentity returns a context with the caller whose token was verified for a request.
func WithIdentity(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns the identity of [WithIdentity], or nil. It is for code that serves the HTTP request. A tool gets
// its caller from mcptools.Caller, because in a session its context belongs to the session.
func IdentityFrom(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}
