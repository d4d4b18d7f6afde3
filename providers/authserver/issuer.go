// Package authserver is a fake OAuth 2.1 authorization server for demos and tests. Anyone can sign in as anyone: it
// has two people, alice and bob, and no passwords.
//
// It does what MCP clients expect of an authorization server: metadata (RFC 8414, OpenID Connect Discovery), dynamic
// client registration (RFC 7591), client ID metadata documents, the authorization code grant with PKCE (RFC 7636),
// resource indicators (RFC 8707), the iss parameter (RFC 9207), refresh tokens with rotation, client credentials, JWT
// access tokens (RFC 9068), introspection (RFC 7662) and revocation (RFC 7009).
//
// Routing, form parsing and the shape of errors come from zitadel/oidc (package op), to which this package is an
// [op.Server]. What that library leaves to its host, or decides more loosely than OAuth 2.1, is decided here.
//
// Everything lives in memory: keys are made by [New], or handed to it, and die with the process, and so do
// codes, tokens and confidential clients. The id of a public client that registered itself carries its
// registration, and is still good for redirects to loopback after a restart.
//
// The handler sends no CORS headers. The server around it does, in one place, for [Issuer.OpenCORSPaths].
//
// Not supported: consent that is remembered, sessions, userinfo, logout, the device and token exchange grants,
// private_key_jwt, pushed or signed authorization requests, DPoP.
package authserver

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// Config says what an [Issuer] is and what it may hand out. [New] checks it.
type Config struct {
	// Issuer is the issuer identifier: scheme, host and port, without path or slash at the end, such as
	// http://localhost:3002. Clients compare it byte by byte (RFC 8414, section 3.3). Plain http is for loopback only.
	Issuer string

	// Resources are the URLs of the resources that tokens may be issued for (RFC 8707); a token is for exactly one of
	// them. The first is meant when a request names none. Requested and configured spelling may differ in the case of
	// scheme and host, in a default port, and in an empty path against "/"; the token carries the configured one.
	Resources []string

	// Scopes are the scopes that a client may ask for. The issuer adds openid and offline_access.
	Scopes []string

	// DefaultScopes, a subset of Scopes, are granted when a request names no scope (RFC 6749, section 3.3).
	DefaultScopes []string

	// SigningAlgorithm signs access and ID tokens: RS256 (the default), ES256 or EdDSA.
	SigningAlgorithm string

	// SigningKey is the key to begin with, which must fit SigningAlgorithm; a fresh one if nil. It is for tests that make
	// tokens of their own: whoever has it is the issuer.
	SigningKey crypto.Signer

	// AutoApprove skips the consent page. Everybody is alice, or bob if the request has login_hint=bob.
	AutoApprove bool

	// AccessTokenLifetime is how long access and ID tokens are good: 10 minutes if zero.
	AccessTokenLifetime time.Duration

	// RefreshTokenLifetime is how long one refresh token is good: 24 hours if zero. Its successor gets the full time
	// again.
	RefreshTokenLifetime time.Duration

	// RefreshGrace is how long the previous refresh token still gets the same successor, for a client that
	// sends it twice or never got the answer. Zero is no grace.
	RefreshGrace time.Duration

	// Clients are registered from the start, beside those that register themselves.
	Clients []Client

	// ClientDocuments announces client ID metadata documents, and fetches them. Without internet they cannot
	// be fetched, and clients that see them announced do not register instead.
	ClientDocuments bool

	// AllowLoopbackClientDocuments lets client ID metadata documents come from loopback and private addresses. It is
	// for development: whoever can reach the issuer can then make it send GET requests into its own network.
	AllowLoopbackClientDocuments bool

	// ClientDocumentRootCAs verifies the hosts of client ID metadata documents; the system's roots if nil.
	ClientDocumentRootCAs *x509.CertPool

	// DangerouslyAllowPublicResource permits resources that other computers can reach. Whoever can reach the issuer
	// too can then use them as anyone.
	DangerouslyAllowPublicResource bool

	// UserAgent is sent with requests for client ID metadata documents (RFC 9110, section 10.1.5); empty means that of
	// the library.
	UserAgent string
	// Logger gets what the issuer itself has to say, never a code, token or secret; slog.Default() if nil. The
	// library underneath always writes to slog.Default().
	Logger *slog.Logger

	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Client is a client that is registered from the start.
type Client struct {
	// ID is the client_id.
	ID string

	// Name is shown on the consent page; the ID if empty.
	Name string

	// Secret authenticates a confidential client. A client without one is public.
	Secret string

	// RedirectURIs are where the browser may be sent. They match exactly, but for the port of a loopback http URL
	// (RFC 8252, section 7.3).
	RedirectURIs []string

	// GrantTypes are those the client may use: authorization_code, refresh_token, client_credentials. None means the
	// first two. client_credentials takes a secret.
	GrantTypes []string
}

// DemoClients returns clients for a demo without registration: the public client local-cli for programs on this
// computer, which may listen on any port for /callback, and, if serviceSecret is not empty, the confidential client
// local-service for client_credentials and introspection.
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
	config    Config
	scopes    []string // what may be granted: Config.Scopes, openid, offline_access
	keys      *keyring
	store     *store
	clients   *clientRegistry
	documents *documentFetcher
	pages     *pages
	guard     *consentGuard
	handler   http.Handler
}

// New checks config and makes an issuer, with a fresh signing key unless config brings one. The error joins everything that is wrong with
// config.
func New(config Config) (*Issuer, error) {
	config = withDefaults(config)
	if err := config.check(); err != nil {
		return nil, err
	}
	keys, err := newKeyring(jose.SignatureAlgorithm(config.SigningAlgorithm), config.SigningKey)
	if err != nil {
		return nil, err
	}
	pages, err := newPages(config.Issuer)
	if err != nil {
		return nil, err
	}
	guard, err := newConsentGuard(config.Issuer)
	if err != nil {
		return nil, err
	}
	i := &Issuer{
		config:    config,
		scopes:    grantableScopes(config.Scopes),
		keys:      keys,
		store:     newStore(config.AccessTokenLifetime, config.RefreshTokenLifetime, config.RefreshGrace),
		clients:   newClientRegistry(config.Clients),
		documents: newDocumentFetcher(config),
		pages:     pages,
		guard:     guard,
	}
	i.handler = newHandler(i)
	return i, nil
}

// KeysURL returns the absolute URL of the public keys, the jwks_uri of the metadata.
func (i *Issuer) KeysURL() string { return i.config.Issuer + keysPath }

// RotateKeys makes a new signing key. The old public keys stay published if keepOld is true; if not, they are
// withdrawn, and what they signed can no longer be verified.
func (i *Issuer) RotateKeys(keepOld bool) error { return i.keys.rotate(keepOld) }

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
	c.Resources, c.Scopes, c.DefaultScopes = slices.Clone(c.Resources), slices.Clone(c.Scopes), slices.Clone(c.DefaultScopes)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = slog.New(newLimitedHandler(c.Logger.Handler()))
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) check() error {
	var problems []error
	refuse := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("local issuer: "+format, args...))
	}

	if err := checkIssuer(c.Issuer); err != nil {
		refuse("issuer %q: %w", c.Issuer, err)
	}
	if len(c.Resources) == 0 {
		refuse("no resources: name at least the URL of the MCP endpoint")
	}
	for _, resource := range c.Resources {
		if err := checkResource(resource, c.DangerouslyAllowPublicResource); err != nil {
			refuse("resource %q: %w", resource, err)
		}
	}
	for _, scope := range c.Scopes {
		if !isScopeToken(scope) {
			refuse("scope %q: it has characters that RFC 6749, section 3.3 does not allow", scope)
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
	// The lifetimes are announced in whole seconds (expires_in), and 0 would read as "unknown".
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
		refuse("client documents from loopback: they are allowed, but client documents are off; switch both on or both off")
	}
	seen := make(map[string]bool)
	for _, client := range c.Clients {
		if seen[client.ID] {
			refuse("client %q: it is there twice", client.ID)
		}
		seen[client.ID] = true
		if err := client.check(); err != nil {
			refuse("client %q: %w", client.ID, err)
		}
	}
	return errors.Join(problems...)
}

func (c Client) check() error {
	if c.ID == "" {
		return errors.New("it has no ID")
	}
	for _, grant := range c.GrantTypes {
		if !slices.Contains(supportedGrants(), oidc.GrantType(grant)) {
			return fmt.Errorf("its grant type %q is unknown", grant)
		}
	}
	grants := c.grants()
	if slices.Contains(grants, oidc.GrantTypeClientCredentials) && c.Secret == "" {
		return errors.New("client_credentials takes a secret")
	}
	if slices.Contains(grants, oidc.GrantTypeCode) && len(c.RedirectURIs) == 0 {
		return errors.New("authorization_code takes a redirect URI")
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return fmt.Errorf("redirect URI %q: %w", uri, err)
		}
	}
	return nil
}

func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case issuer != u.Scheme+"://"+u.Host:
		// Anything behind the host would move the well-known documents (RFC 8414, section 3.1) and invite the
		// slash that differs between metadata, token and configuration.
		return errors.New("it must be scheme, host and port only, without path or slash, such as http://localhost:3002")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("plain http is for loopback only; use https")
	}
	return nil
}

func checkResource(resource string, allowPublic bool) error {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case u.User != nil || strings.Contains(resource, "#"):
		return errors.New("it has a user name or a fragment")
	case !isLoopback(u.Hostname()) && !allowPublic:
		return errors.New("other computers can reach it, and here anyone can sign in as anyone; use a resource on localhost or a real provider")
	}
	return nil
}

// isLoopback reports whether host, a name or an address without a port, means this computer.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
