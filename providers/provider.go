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
	// Verify returns the identity of the caller that presented token. The error wraps [ErrInvalidToken] when the
	// token is at fault and [ErrUnavailable] when the provider is; [ReasonOf] names the check that failed. No
	// error text contains the token.
	Verify(ctx context.Context, token string) (*Identity, error)

	// Metadata is the RFC 9728 document for this resource.
	Metadata() Metadata
}

// The two kinds of errors of Verify. The [Reason] of an error gives the details.
var (
	// ErrInvalidToken means that the token is at fault: respond with 401, so that the client gets a new one.
	ErrInvalidToken = errors.New("invalid token")
	// ErrUnavailable means that the provider could not be reached: respond with 503, because a 401 would make
	// clients drop valid tokens and sign in again during the outage.
	ErrUnavailable = errors.New("identity provider unavailable")
	// ErrTooManyUnknown wraps [ErrUnavailable]: the token, which was not active before, needs introspection, and
	// other such tokens are queued already. It counts as a failure of the address that the token came from.
	ErrTooManyUnknown = fmt.Errorf("%w: too many unknown tokens", ErrUnavailable)
)

// AddressKey is the context key of the address that a token came from: a string, for IPv6 the network from
// which the sender can choose addresses. A provider that introspects tokens limits the requests of each
// address.
type AddressKey struct{}

// AddressFrom returns the address in ctx, or "".
func AddressFrom(ctx context.Context) string {
	address, _ := ctx.Value(AddressKey{}).(string)
	return address
}

// FailureKey is the context key of the function that counts a failed authentication of the sender of a request: a
// func() time.Duration. See [RecordFailure].
type FailureKey struct{}

// RecordFailure counts a failed authentication, which is not one of Verify, of the sender of the request that ctx
// belongs to, and returns how long the sender must wait; zero means that the limit for its address is not reached.
// A route of a [RouteProvider] calls it. Only failures are limited: a sender with good credentials is served, also if
// others behind the same address fail.
func RecordFailure(ctx context.Context) time.Duration {
	record, _ := ctx.Value(FailureKey{}).(func() time.Duration)
	if record == nil {
		return 0
	}
	return record()
}

type withoutIntrospectionKey struct{}

// WithoutIntrospection returns a context under which Verify makes no introspection request for a token that
// was not active before: for an address that sent too many bad tokens. Locally verifiable tokens are
// unaffected.
func WithoutIntrospection(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutIntrospectionKey{}, true)
}

// IsWithoutIntrospection reports whether ctx comes from [WithoutIntrospection].
func IsWithoutIntrospection(ctx context.Context) bool {
	return ctx.Value(withoutIntrospectionKey{}) != nil
}

type overLimitKey struct{}

// OverLimit returns a context for an address that sent too many bad or unverifiable tokens. Verify checks
// tokens as usual, but does not remember unknown keys that they name, so that one address cannot fill the
// memory that all share. [WithoutIntrospection] implies it.
func OverLimit(ctx context.Context) context.Context {
	return context.WithValue(ctx, overLimitKey{}, true)
}

// IsOverLimit reports whether ctx comes from [OverLimit] or [WithoutIntrospection].
func IsOverLimit(ctx context.Context) bool {
	return ctx.Value(overLimitKey{}) != nil || IsWithoutIntrospection(ctx)
}

// Metadata is a protected resource metadata document (RFC 9728, section 2), in the fields that MCP clients
// read.
type Metadata struct {
	// Resource is the canonical URL of the protected resource. Clients compare it byte for byte with the URL
	// they connect to.
	Resource string `json:"resource"`
	// AuthorizationServers are issuer identifiers. Clients take the first.
	AuthorizationServers []string `json:"authorization_servers"`
	// ScopesSupported are the scopes to request at first sign-in: a minimal set, never offline_access
	// (MCP 2026-07-28, authorization, "scope selection strategy").
	ScopesSupported []string `json:"scopes_supported,omitempty"`
	// BearerMethodsSupported is always "header": tokens in a query or a form are refused.
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
	// ResourceName is the display name.
	ResourceName string `json:"resource_name,omitempty"`
	// ResourceDocumentation is the URL of a page for developers.
	ResourceDocumentation string `json:"resource_documentation,omitempty"`
}

// ServerInfo describes the server to an adapter.
type ServerInfo struct {
	// Resource is the protected resource.
	Resource Resource
	// Name is the display name of the resource (RFC 9728, resource_name).
	Name string
	// InitialScopes are requested at first sign-in.
	InitialScopes []string
	// KnownScopes are all scopes that this server's operations and settings mention.
	KnownScopes []string
	// ScopeDescriptions are texts by scope, for a provider that has a consent page of its own.
	ScopeDescriptions map[string]string
	// UserAgent is sent with every request to the provider (RFC 9110, section 10.1.5), such as gatehouse/1.2.3.
	UserAgent string
	// Logger logs background events, such as a failed key fetch. It must not be nil.
	Logger *slog.Logger
	// Record receives the events of an authorization server of the adapter. It may be nil.
	Record func(context.Context, SignInEvent)
	// Denied reports whether the operator denies a caller, and why. It may be nil.
	Denied func(*Identity) (Reason, bool)
}

// Metadata returns the document that most adapters serve.
func (s ServerInfo) Metadata(authorizationServers ...string) Metadata {
	return Metadata{
		Resource:               s.Resource.String(),
		AuthorizationServers:   authorizationServers,
		ScopesSupported:        s.InitialScopes,
		BearerMethodsSupported: []string{"header"},
		ResourceName:           s.Name,
	}
}

// RouteProvider is implemented by a provider with routes of its own, such as the embedded local issuer.
type RouteProvider interface {
	Routes() []Route
}

// Route is one exact path of a [RouteProvider], for every method that its handler supports.
type Route struct {
	Path    string
	Handler http.Handler
	// AnyOrigin allows scripts of any web page to read the response: for metadata, keys, token and registration,
	// never for a page on which a user decides.
	AnyOrigin bool
}

// KeyReporter is implemented by a provider that needs keys or the address of the introspection endpoint from
// its issuer before it can verify tokens.
type KeyReporter interface {
	Keys() KeyStatus
}

// KeyStatus is the state of a provider's keys.
type KeyStatus struct {
	// Usable is true once keys were fetched, and until they are older than the provider's limit for stale
	// keys.
	Usable bool
	// Reason is why tokens are refused while Usable is false; empty means [KeysUnavailable].
	Reason Reason
	// Age is the time since the last successful fetch. It is zero if there was none.
	Age time.Duration
	// Problem is why the last fetch failed, without text from the provider; empty if it succeeded.
	Problem string
	// Fetches and FailedFetches count the fetches that succeeded and that failed.
	Fetches, FailedFetches int64
}

// TokenReporter is implemented by a provider that remembers verified tokens.
type TokenReporter interface {
	Tokens() TokenStatus
}

// TokenStatus is the state of a provider's memory of tokens.
type TokenStatus struct {
	// Cached is the number of tokens that are remembered, and Limit their maximum.
	Cached, Limit int
	// FromCache counts the requests with a token that was remembered, and Checked those with a token that was
	// checked and found valid.
	FromCache, Checked int64
}
