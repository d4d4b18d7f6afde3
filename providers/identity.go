package providers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Identity is who the server takes a caller for. It is plain data, made only by a provider from a verified token.
type Identity struct {
	// Issuer is the issuer of the token, exactly as configured.
	Issuer string
	// Subject is the caller at that issuer. It is unique only together with Issuer.
	Subject string
	// Client is the OAuth client that the token was issued to; empty when the token does not say.
	Client string
	// Audience is the token's full audience.
	Audience []string
	// Scopes are the scopes of the token.
	Scopes []string
	// ScopesDefaulted says that the token has no scope claim and that Scopes are provider.default_scopes: a
	// token from another sign-in would not hold more.
	ScopesDefaulted bool
	// Expiry is when the token ends, without leeway.
	Expiry time.Time
	// ExpiryWithLeeway is Expiry with the leeway that the token was checked with. What lasts longer than a request ends then.
	ExpiryWithLeeway time.Time

	token TokenDetails
}

// TokenDetails are what an [Identity] keeps of the token that it was made from.
type TokenDetails struct {
	// Claims returns the claims as they were signed; nil if there are none. It is called when they are asked for,
	// because hardly any request does.
	Claims interface {
		Claims() map[string]json.RawMessage
	}
	// Principal is what [Identity.Principal] returns, if it was put together before.
	Principal string
	// Scopes is what [Identity.TokenScopes] returns, if that is not Identity.Scopes. Identities share it, so it
	// is never written to.
	Scopes *[]string
}

// SetTokenDetails sets what id keeps of its token. It is for the provider that makes id.
func (id *Identity) SetTokenDetails(d TokenDetails) { id.token = d }

// TokenDetails returns what id keeps of its token.
func (id *Identity) TokenDetails() TokenDetails { return id.token }

// TokenScopes returns the scopes under the names that the token gives them: before provider.scope_map and
// scopes.implies, and none if ScopesDefaulted.
func (id *Identity) TokenScopes() []string {
	switch {
	case id.ScopesDefaulted:
		return nil
	case id.token.Scopes != nil:
		return slices.Clone(*id.token.Scopes)
	}
	return slices.Clone(id.Scopes)
}

// WithScopes returns a copy of id that holds scopes. Its TokenScopes are still those of id.
func (id *Identity) WithScopes(scopes []string) *Identity {
	other := *id
	if other.token.Scopes == nil {
		other.token.Scopes = &id.Scopes
	}
	other.Scopes = scopes
	return &other
}

// Claims returns the token's claims as they were signed, for tools that need one. Read-only. They are put together when
// somebody asks, because hardly anybody does.
func (id *Identity) Claims() map[string]json.RawMessage {
	if id.token.Claims == nil {
		return map[string]json.RawMessage{}
	}
	return id.token.Claims.Claims()
}

// Principal names the caller across issuers. Sessions are bound to it: two providers may share a subject, and an empty
// name would switch off the SDK's check of a session's owner.
func (id *Identity) Principal() string {
	if p := id.token.Principal; len(p) == len(id.Issuer)+1+len(id.Subject) && strings.HasPrefix(p, id.Issuer) && strings.HasSuffix(p, id.Subject) {
		return p
	}
	return id.Issuer + "|" + id.Subject
}

// Missing returns those of the needed scopes that the identity does not hold, in the order given.
func (id *Identity) Missing(needed []string) []string {
	var missing []string
	for _, s := range needed {
		if !slices.Contains(id.Scopes, s) {
			missing = append(missing, s)
		}
	}
	return missing
}

type identityKey struct{}

// WithIdentity returns a context with the caller whose token was verified for a request.
func WithIdentity(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns the identity of [WithIdentity], or nil. It is for code that serves the HTTP request. A tool gets
// its caller from [gatehouse/mcptools.Caller], because in a session its context belongs to the session.
func IdentityFrom(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}
