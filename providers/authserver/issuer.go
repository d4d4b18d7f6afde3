// Package authserver is an OAuth 2.1 authorization server for MCP clients. It has two uses:
//
//   - With [Config.SignIn], people sign in at another provider, such as that of their company. This server asks for
//     consent, sends the person there, and issues tokens of its own.
//   - Without it, the server is for demos and tests: anyone can sign in as anyone. It has two users, alice and bob, and
//     no passwords.
//
// It implements what MCP clients use: metadata (RFC 8414, OpenID Connect Discovery), dynamic client
// registration (RFC 7591), client ID metadata documents, the authorization code grant with PKCE (RFC 7636),
// resource indicators (RFC 8707), the iss parameter (RFC 9207), refresh tokens with rotation, JWT access tokens (RFC
// 9068) and revocation (RFC 7009); for the demo also client credentials and introspection (RFC 7662).
//
// Routing, form parsing and the form of errors come from zitadel/oidc (package op), for which this package is
// an [op.Server]. What that library leaves open, or handles less strictly than OAuth 2.1, is handled here.
//
// What a person has granted to a client is one sealed record of a store; codes and refresh tokens are computed from
// it. Nothing is stored before a person has signed in: requests, registrations and sign-ins under way are sealed, in
// URLs, client ids and cookies. The demo keeps requests and confidential clients in memory instead; its keys and
// grants end with the process too.
//
// The handler sends no CORS headers. The server does, for [Issuer.OpenCORSPaths].
//
// With [Config.Assertions] it accepts identity assertions of a company's provider (Identity Assertion JWT
// Authorization Grant; MCP: Enterprise-Managed Authorization), and the demo can issue them ([GrantTokenExchange]).
//
// Not supported: remembered consent, sessions, userinfo, logout, the device grant, other token exchanges,
// private_key_jwt without [ClientPolicy.EnterpriseClients], pushed or signed authorization requests, DPoP.
package authserver

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
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

// Issuer is the authorization server. Its methods may be called from several goroutines.
type Issuer struct {
	config Config
	scopes []string // Config.Scopes, openid, offline_access
	use
	keys     *keyring
	clients  *clientRegistry
	fetcher  *documentFetcher
	metadata metadata

	// Sign-ins in a browser.
	pages        *pages
	requests     pendingRequests
	guard        *consentGuard
	consents     *consents // of the demo; nil for people of another provider, who always see all scopes as new
	transactions *transactions
	departure    departure

	grants   *grants
	lifetime grantLifetime // of a grant with a refresh token
	makeRoom func(context.Context, *grant) error
	access   accessTokens
	recheck  rechecker
	// extensions are the grants that the library does not serve.
	extensions map[oidc.GrantType]extensionGrant

	handler http.Handler
}

// New validates config and returns an issuer. The error joins all problems of config.
func New(config Config) (*Issuer, error) {
	isStored := config.Store != nil
	config = withDefaults(config)
	u := config.use()
	if err := config.check(u.configured); err != nil {
		return nil, err
	}
	keys, err := newKeyring(config, isStored)
	if err != nil {
		return nil, err
	}
	pages, err := newPages(config.Issuer, u.wording)
	if err != nil {
		return nil, err
	}
	guard, err := newConsentGuard(config.Issuer, config.Keys)
	if err != nil {
		return nil, err
	}
	i := &Issuer{
		config:       config,
		scopes:       grantableScopes(config.Scopes),
		use:          u,
		keys:         keys,
		clients:      newClientRegistry(config.Clients, u.clientIDs(config), config.ClientPolicy.Denied),
		fetcher:      newDocumentFetcher(config, u.documents),
		pages:        pages,
		guard:        guard,
		transactions: newTransactions(config.Keys, config.Issuer),
		grants:       &grants{config.Store, config.Keys, config.Now},
	}
	u.complete(i)
	i.extensions = i.newExtensions()
	i.metadata = i.newMetadata()
	i.handler = newRoutes(i)
	return i, nil
}

// KeysURL returns the absolute URL of the key set, the jwks_uri of the metadata.
func (i *Issuer) KeysURL() string { return i.config.Issuer + keysPath }

// RotateKeys replaces the signing key. The old public keys stay published if keepOld is true; otherwise they are
// withdrawn, and tokens that they signed become invalid.
//
// With [Config.Store], it does so for all replicas, which follow within 10 seconds. If keepOld is false, no replica
// issues tokens for 80 seconds then, until all of them, and caches of the key set, have the new key. If it is true,
// the previous rotation must be 2 minutes ago.
func (i *Issuer) RotateKeys(keepOld bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*keysTimeout)
	defer cancel()
	return i.keys.source.rotate(ctx, keepOld)
}

// Prepare reads the signing keys from [Config.Store], and creates them if there are none. The error wraps
// [ErrForeignStore] if the store belongs to another authorization server. After other errors, such as an outage, Run
// tries again; until it succeeds, no tokens are issued.
func (i *Issuer) Prepare(ctx context.Context) error { return i.keys.source.load(ctx) }

// Run keeps the signing keys of [Config.Store] up to date until ctx ends. Without a store it returns at once.
func (i *Issuer) Run(ctx context.Context) { i.keys.source.run(ctx) }

// KeyCreated returns when the key that signs tokens was put into use; zero if there is none.
func (i *Issuer) KeyCreated() time.Time { return i.keys.source.since() }

// Ready returns why no tokens can be issued, or nil. The reason is one of [Reasons]. Tokens that were issued before
// can be verified all the same.
func (i *Issuer) Ready() (providers.Reason, error) {
	err := i.keys.source.ready()
	return reasonOf(err), err
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

func (c Config) check(grantTypes []oidc.GrantType) error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if err := checkIssuer(c.Issuer, c.isLocal); err != nil {
		refuse("issuer %q: %w", c.Issuer, err)
	}
	if len(c.Resources) == 0 {
		refuse("no resources: set at least the URL of the MCP endpoint")
	}
	for _, resource := range c.Resources {
		if err := c.checkResource(resource); err != nil {
			refuse("resource %q: %w", resource, err)
		}
	}
	if c.AutoApprove && c.SignIn != nil {
		refuse("auto approval: people of another provider always have to approve")
	}
	for _, scope := range c.Scopes {
		if !isScopeToken(scope) {
			refuse("scope %q: it contains characters that RFC 6749, section 3.3 does not allow", scope)
		}
	}
	for _, scope := range c.DefaultScopes {
		if !slices.Contains(c.Scopes, scope) {
			refuse("default scope %q: it is not one of the scopes", scope)
		}
	}
	if !slices.Contains(signingAlgorithms(), jose.SignatureAlgorithm(c.SigningAlgorithm)) {
		refuse("signing algorithm %q: use RS256, ES256 or EdDSA", c.SigningAlgorithm)
	} else if c.SigningKey != nil && !canSign(c.SigningKey, jose.SignatureAlgorithm(c.SigningAlgorithm)) {
		refuse("signing key: a %T cannot sign %s", c.SigningKey, c.SigningAlgorithm)
	}
	// Lifetimes are announced in whole seconds (expires_in), where 0 would mean unknown.
	if c.AccessTokenLifetime < time.Second {
		refuse("access token lifetime %s: use at least 1s", c.AccessTokenLifetime)
	}
	if c.RefreshTokenLifetime < time.Second {
		refuse("refresh token lifetime %s: use at least 1s", c.RefreshTokenLifetime)
	}
	if c.RefreshGrace < 0 {
		refuse("refresh grace %s: use 0 or more", c.RefreshGrace)
	}
	if c.AllowLoopbackClientDocuments && !c.ClientDocuments {
		refuse(
			"client documents from loopback are allowed, but client documents are disabled; enable or " +
				"disable both")
	}
	if c.Keys == nil {
		refuse("a store without keys: what it keeps could not be opened after a restart")
	}
	problems = append(problems, c.checkEnterprise()...)
	seen := make(map[string]bool)
	for _, client := range c.Clients {
		if seen[client.ID] {
			refuse("client %q: the id is not unique", client.ID)
		}
		seen[client.ID] = true
		if err := client.check(grantTypes); err != nil {
			refuse("client %q: %w", client.ID, err)
		}
	}
	return errors.Join(problems...)
}

func (c Client) check(supported []oidc.GrantType) error {
	if c.ID == "" {
		return errors.New("it has no ID")
	}
	for _, grant := range c.GrantTypes {
		if !slices.Contains(supported, oidc.GrantType(grant)) {
			return fmt.Errorf("its grant type %q is unknown", grant)
		}
	}
	grants := c.grants()
	for _, grant := range []oidc.GrantType{oidc.GrantTypeClientCredentials, oidc.GrantTypeTokenExchange,
		oidc.GrantTypeBearer} {
		if slices.Contains(grants, grant) && c.Secret == "" {
			return fmt.Errorf("%s requires a secret", grant)
		}
	}
	if slices.Contains(grants, oidc.GrantTypeCode) && len(c.RedirectURIs) == 0 {
		return errors.New("authorization_code requires a redirect URI")
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return fmt.Errorf("redirect URI %q: %w", uri, err)
		}
	}
	return nil
}

// isLocal reports whether the issuer itself may be at this host over plain http. Browsers treat names below
// localhost as loopback; who signs in with an account needs more than that.
func (c Config) isLocal(host string) bool {
	return isLoopback(host) || c.SignIn == nil && providers.IsBelowLocalhost(host)
}

// checkIssuer returns why an issuer identifier cannot be used, or nil. Hosts for which isLocal is true may have plain
// http.
func checkIssuer(issuer string, isLocal func(host string) bool) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case issuer != u.Scheme+"://"+u.Host:
		// A path would move the well-known documents (RFC 8414, section 3.1), and a trailing slash tends to
		// differ between metadata, token and configuration.
		return errors.New(
			"it must be scheme, host and port only, without path or slash, such as http://localhost:3002")
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return errors.New("plain http is for loopback only; use https")
	}
	return nil
}

func (c Config) checkResource(resource string) error {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case u.User != nil || strings.Contains(resource, "#"):
		return errors.New("it has a user name or a fragment")
	case isLoopback(u.Hostname()):
	case c.SignIn != nil && u.Scheme != "https":
		return errors.New("plain http is for loopback only; use https")
	case c.SignIn == nil && !c.DangerouslyAllowPublicResource:
		return errors.New(
			"other computers can reach it, and anyone can sign in as anyone; " +
				"use a resource on localhost or a real provider")
	}
	return nil
}

// isLoopback reports whether host, a name or an address without port, is loopback.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
