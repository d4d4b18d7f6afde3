package authserver

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

// Config configures an [Issuer]. [New] validates it.
type Config struct {
	// Issuer is the issuer identifier: scheme, host and port, without path or trailing slash, such as
	// http://localhost:3002. Clients compare it byte by byte (RFC 8414, section 3.3). Plain http is allowed
	// on loopback only, and without SignIn for names below localhost.
	Issuer string

	// Resources are the URLs of the resources that tokens may be issued for (RFC 8707). A token is for
	// exactly one of them, by default the first. A request may differ from the configured URL in the case of
	// scheme and host, in a default port, and in an empty path against "/"; the token contains the configured
	// URL.
	Resources []string

	// Scopes are the scopes that clients may request. The issuer adds openid and offline_access.
	Scopes []string

	// ScopeDescriptions are texts for the consent page by scope, such as "Send greetings". Scopes of OpenID Connect
	// have texts already; of other scopes without one the page shows the name only.
	ScopeDescriptions map[string]string

	// DefaultScopes, a subset of Scopes, are granted to requests without a scope (RFC 6749, section 3.3).
	DefaultScopes []string

	// SigningAlgorithm signs access and ID tokens: RS256 (the default), ES256 or EdDSA.
	SigningAlgorithm string

	// SigningKey is the first signing key, which must fit SigningAlgorithm; a new one is generated if nil. It
	// is for tests that sign tokens themselves. Signing keys are in memory then, with a Store too.
	SigningKey crypto.Signer

	// AutoApprove skips the consent page. The user is alice, or bob if the request has login_hint=bob.
	AutoApprove bool

	// SignIn signs people in; alice and bob without a password if nil. With another Authenticator, the issuer requires
	// https unless it is on loopback, asks for consent every time, keeps no state before a person has signed in, and
	// has no grant but those of a person.
	SignIn Authenticator

	// Store keeps grants and signing keys; the memory of this process if nil. It requires Keys. [Issuer.Run] must be
	// running then.
	Store records.Store

	// Keys seal what is stored or given to browsers and clients; random ones if nil.
	Keys *seal.Keys

	// Sessions limits the grants of SignIn.
	Sessions SessionPolicy

	// ClientPolicy restricts clients and their redirect URIs.
	ClientPolicy ClientPolicy

	// Assertions verifies identity assertions of a company's provider; nil refuses them.
	Assertions AssertionVerifier

	// Record receives what happens; nil discards it.
	Record func(context.Context, providers.SignInEvent)

	// Denied reports whether the operator denies a caller, and why; nil denies none.
	Denied func(*providers.Identity) (providers.Reason, bool)

	// AccessTokenLifetime is the lifetime of access and ID tokens: 10 minutes if zero.
	AccessTokenLifetime time.Duration

	// RefreshTokenLifetime is the lifetime of a refresh token: 24 hours if zero. Its successor has the full
	// lifetime again.
	RefreshTokenLifetime time.Duration

	// RefreshGrace is how long a replaced refresh token still returns the same successor, for a client that
	// sends it twice or missed the response. Zero means not at all.
	RefreshGrace time.Duration

	// Clients are registered at startup, in addition to those that register dynamically.
	Clients []Client

	// ClientDocuments announces and fetches client ID metadata documents. Without internet access they cannot
	// be fetched, and clients that see them announced do not register dynamically.
	ClientDocuments bool

	// AllowLoopbackClientDocuments allows client ID metadata documents on loopback and private addresses. It
	// is for development: anyone who can reach the issuer can then make it send GET requests into its own
	// network.
	AllowLoopbackClientDocuments bool

	// ClientDocumentRootCAs verifies the hosts of client ID metadata documents; the system's roots if nil.
	ClientDocumentRootCAs *x509.CertPool

	// DangerouslyAllowPublicResource permits resources that other computers can reach. Anyone who can also
	// reach the issuer can then use them as any user.
	DangerouslyAllowPublicResource bool

	// UserAgent is the User-Agent of requests for client ID metadata documents (RFC 9110, section 10.1.5);
	// empty means that of net/http.
	UserAgent string
	// Logger receives the log of the issuer, without codes, tokens and secrets; slog.Default() if nil. The
	// library always logs to slog.Default(); see [LimitLog].
	Logger *slog.Logger

	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// SessionPolicy limits the grants of people who signed in at another provider. A duration that is zero means 30 days, 8
// hours, 10 minutes and 1 hour, in the order of the members.
type SessionPolicy struct {
	// Lifetime ends a grant, and LifetimeWithoutRefresh one without a credential to ask the provider with.
	Lifetime, LifetimeWithoutRefresh time.Duration
	// RecheckInterval is the age of the last confirmation by the provider from which it is asked again at a refresh.
	// RecheckMaxStale is how long refreshes continue without one while the provider cannot be reached.
	RecheckInterval, RecheckMaxStale time.Duration
	// RevokeBefore ends grants of earlier sign-ins; zero ends none.
	RevokeBefore time.Time
}

func (p SessionPolicy) withDefaults() SessionPolicy {
	p.Lifetime = cmp.Or(p.Lifetime, 30*24*time.Hour)
	p.LifetimeWithoutRefresh = cmp.Or(p.LifetimeWithoutRefresh, 8*time.Hour)
	p.RecheckInterval = cmp.Or(p.RecheckInterval, 10*time.Minute)
	p.RecheckMaxStale = cmp.Or(p.RecheckMaxStale, time.Hour)
	return p
}

// ClientPolicy restricts clients and their redirect URIs.
type ClientPolicy struct {
	// RedirectHosts are the hosts of https redirect URIs, or *.HOST for those below one; empty allows all. Loopback is
	// always allowed.
	RedirectHosts []string
	// RedirectSchemes are the private-use schemes of redirect URIs that are allowed.
	RedirectSchemes []string
	// Denied are client ids or their short forms, and hosts of client ID metadata documents, that are refused.
	Denied []string
	// RegistrationLifetime is how long a dynamic registration is valid; 0 means for as long as the keys.
	RegistrationLifetime time.Duration
	// EnterpriseClients are the ids of clients that may exchange identity assertions.
	EnterpriseClients []string
	// EnterpriseScopes are the scopes that such a client may get.
	EnterpriseScopes []string
}

// AssertionVerifier verifies identity assertions (Identity Assertion JWT Authorization Grant).
type AssertionVerifier interface {
	// Verify returns the assertion if its signature, issuer, audience and times are right. The error is a
	// [*SignInError].
	Verify(ctx context.Context, assertion string) (Assertion, error)
}

// Assertion is a verified identity assertion.
type Assertion struct {
	// Issuer and ID identify the assertion, Expires is its exp.
	Issuer, ID string
	Expires    time.Time
	// Subject is the sub that tokens get.
	Subject string
	// IssuedAt is its iat.
	IssuedAt time.Time
	// ClientID is the client that may use the assertion.
	ClientID string
	// Resources and Scopes bound the token.
	Resources, Scopes []string
}

// Client is a client that is registered at startup.
type Client struct {
	// ID is the client_id.
	ID string

	// Name is shown on the consent page; the ID if empty.
	Name string

	// Secret authenticates a confidential client. A client without one is public.
	Secret string

	// RedirectURIs are the redirect URIs. They match exactly, except for the port of a loopback http URL (RFC
	// 8252, section 7.3).
	RedirectURIs []string

	// GrantTypes are the grant types that the client may use: authorization_code and refresh_token; at the demo also
	// client_credentials and [GrantTokenExchange]; elsewhere [GrantAssertion]. None means the first two, and
	// GrantAssertion for one of [ClientPolicy.EnterpriseClients]: alone if the client has no redirect URI. The others
	// require a secret.
	GrantTypes []string
}

// DemoClients returns clients for demos without registration: the public client local-cli for programs on
// this computer, with /callback on any loopback port, and, if serviceSecret is not empty, the confidential
// client local-service for client_credentials and introspection.
func DemoClients(serviceSecret string) []Client {
	clients := []Client{{
		ID:           "local-cli",
		Name:         "Command line",
		RedirectURIs: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback"},
	}}
	if serviceSecret != "" {
		clients = append(clients, Client{
			ID:         "local-service",
			Name:       "Local service",
			Secret:     serviceSecret,
			GrantTypes: []string{string(oidc.GrantTypeClientCredentials)},
		})
	}
	return clients
}

func withDefaults(c Config) Config {
	if c.SigningAlgorithm == "" {
		c.SigningAlgorithm = string(jose.RS256)
	}
	if c.AccessTokenLifetime == 0 {
		c.AccessTokenLifetime = 10 * time.Minute
	}
	if c.RefreshTokenLifetime == 0 {
		c.RefreshTokenLifetime = 24 * time.Hour
	}
	c.Resources, c.Scopes, c.DefaultScopes = slices.Clone(c.Resources), slices.Clone(c.Scopes),
		slices.Clone(c.DefaultScopes)
	c.ScopeDescriptions = maps.Clone(c.ScopeDescriptions)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = LimitLog(c.Logger)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Keys == nil && c.Store == nil {
		c.Keys = seal.Random()
	}
	if c.Store == nil {
		c.Store = records.NewMemory(maxMemoryRecords, c.Now)
	}
	if c.Record == nil {
		c.Record = func(context.Context, providers.SignInEvent) {}
	}
	if c.Denied == nil {
		c.Denied = func(*providers.Identity) (providers.Reason, bool) { return "", false }
	}
	c.Sessions = c.Sessions.withDefaults()
	c.Clients = c.withEnterpriseGrants()
	return c
}
