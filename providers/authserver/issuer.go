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
	"context"
	"net/http"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

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
