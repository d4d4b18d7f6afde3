// Package providers defines what the server needs of an identity provider.
package providers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Provider is one identity provider, as a resource server sees it.
type Provider interface {
	// Verify says who presented token. The error wraps [ErrInvalidToken] when the token is at fault and
	// [ErrUnavailable] when the provider is; [ReasonOf] names the rule that decided. No error text contains the token.
	Verify(ctx context.Context, token string) (*Identity, error)

	// Metadata is the RFC 9728 document for this resource.
	Metadata() Metadata
}

// The two ways in which Verify fails. Everything else about a refusal is its [Reason].
var (
	// ErrInvalidToken says that the token is at fault: answer 401 and let the client get a new one.
	ErrInvalidToken = errors.New("invalid token")
	// ErrUnavailable says that the provider could not be asked: answer 503, because a 401 would make clients throw
	// good tokens away and sign in again at the worst moment.
	ErrUnavailable = errors.New("identity provider unavailable")
	// ErrTooManyUnknown is an [ErrUnavailable]: the issuer must be asked about the token, which was not
	// active before, and other tokens of that kind wait already. It counts as a failure of the address that
	// the token came from.
	ErrTooManyUnknown = fmt.Errorf("%w: too many unknown tokens", ErrUnavailable)
)

// AddressKey is the context key of the address that a token came from: a string, for IPv6 the network that
// its sender can choose addresses from. A provider that asks its issuer about tokens bounds the questions of
// each address.
type AddressKey struct{}

// AddressFrom returns the address in ctx, or "".
func AddressFrom(ctx context.Context) string {
	address, _ := ctx.Value(AddressKey{}).(string)
	return address
}

type withoutIntrospectionKey struct{}

// WithoutIntrospection returns a context in which nobody is asked about a token that is not known: for a caller who sent too many bad ones
// lately. Tokens that can be judged here are judged as ever.
func WithoutIntrospection(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutIntrospectionKey{}, true)
}

// IsWithoutIntrospection reports whether ctx is of [WithoutIntrospection].
func IsWithoutIntrospection(ctx context.Context) bool {
	return ctx.Value(withoutIntrospectionKey{}) != nil
}

type overLimitKey struct{}

// OverLimit returns a context for an address that sent too many tokens lately which were bad or could not be judged. Tokens
// are judged as always, but an unknown key that one of them names is not remembered, so that one address cannot fill the
// memory that all share. It is weaker than [WithoutIntrospection], which implies it.
func OverLimit(ctx context.Context) context.Context {
	return context.WithValue(ctx, overLimitKey{}, true)
}

// IsOverLimit reports whether ctx is of [OverLimit] or [WithoutIntrospection].
func IsOverLimit(ctx context.Context) bool {
	return ctx.Value(overLimitKey{}) != nil || IsWithoutIntrospection(ctx)
}

// Metadata is a protected resource metadata document (RFC 9728, section 2), in the fields that MCP clients read.
type Metadata struct {
	// Resource is the canonical URL of the protected resource. Clients compare it byte for byte with the URL they dialled.
	Resource string `json:"resource"`
	// AuthorizationServers are issuer identifiers. Clients take the first.
	AuthorizationServers []string `json:"authorization_servers"`
	// ScopesSupported are the scopes to ask for at first sign-in: a minimal set, never offline_access
	// (MCP 2026-07-28, authorization, "scope selection strategy").
	ScopesSupported []string `json:"scopes_supported,omitempty"`
	// BearerMethodsSupported is always "header": tokens in a query or a form are refused.
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
	// ResourceName is for people.
	ResourceName string `json:"resource_name,omitempty"`
	// ResourceDocumentation is the URL of a page for developers.
	ResourceDocumentation string `json:"resource_documentation,omitempty"`
}

// ServerInfo is what every adapter is told about the server it works for.
type ServerInfo struct {
	// Resource is what the server protects.
	Resource Resource
	// Name is the resource's name for people (RFC 9728, resource_name).
	Name string
	// InitialScopes are asked for at first sign-in.
	InitialScopes []string
	// KnownScopes are all scopes that any rule of this server mentions.
	KnownScopes []string
	// ScopeDescriptions are texts by scope, for a provider that has a consent page of its own.
	ScopeDescriptions map[string]string
	// UserAgent is sent with every request to the provider (RFC 9110, section 10.1.5), such as gatehouse/1.2.3.
	UserAgent string
	// Logger gets what happens in the background, such as a key fetch that failed. It must not be nil.
	Logger *slog.Logger
}

// Metadata is the document that most adapters serve.
func (s ServerInfo) Metadata(authorizationServers ...string) Metadata {
	return Metadata{
		Resource:               s.Resource.String(),
		AuthorizationServers:   authorizationServers,
		ScopesSupported:        s.InitialScopes,
		BearerMethodsSupported: []string{"header"},
		ResourceName:           s.Name,
	}
}

// RouteProvider is implemented by a provider that brings routes of its own, such as the embedded local issuer.
type RouteProvider interface {
	Routes() []Route
}

// Route is one exact path that a [RouteProvider] provider serves, for every method that its handler knows.
type Route struct {
	Path    string
	Handler http.Handler
	// AnyOrigin says that scripts of any web page may read the answer: metadata, keys, token, registration; never a
	// page on which a person decides.
	AnyOrigin bool
}

// KeyReporter is implemented by a provider that needs something from its issuer before it can verify: keys, or the address at
// which to ask about tokens.
type KeyReporter interface {
	Keys() KeyStatus
}

// KeyStatus says how a provider's keys stand.
type KeyStatus struct {
	// Usable is true once keys were fetched, and until they are older than the provider's bound for stale keys.
	Usable bool
	// Reason is what tokens are refused for while it is not; empty means [KeysUnavailable].
	Reason Reason
	// Age is the time since the last good fetch. It is zero when there was none.
	Age time.Duration
	// Problem is why the last fetch failed, in our own words; empty when it did not.
	Problem string
}
