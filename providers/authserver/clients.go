package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const maxClientName = 200 // runes

// client is a client of any origin.
type client struct {
	id     string
	name   string
	origin clientOrigin
	// secret reports in constant time whether a secret is that of the client; nil if it has none.
	secret       func(string) bool
	redirectURIs []string
	grantTypes   []oidc.GrantType
	// keys are those with which the client of a document may authenticate; nil if it has none. requiresKeys means that
	// it has to.
	keys         *publishedKeys
	requiresKeys bool
}

// clientOrigin is how a client became known. The consent page shows by whom its name is verified.
type clientOrigin int

const (
	preregistered clientOrigin = iota // by the operator
	dynamic                           // by dynamic registration; the name is not verified
	document                          // by the host of the client_id
	unregistered                      // by a client_id of another process; not verified
)

func (c *client) public() bool { return c.secret == nil && !c.requiresKeys }

func (c *client) mayUseGrant(grant oidc.GrantType) bool { return slices.Contains(c.grantTypes, grant) }

// secretMatches reports whether the secret is right. A public client must not send one; an empty secret is
// allowed, because go-sdk first tries Basic with an empty secret when it knows no method.
func (c *client) secretMatches(secret string) bool {
	if c.public() {
		return secret == ""
	}
	return c.secret != nil && c.secret(secret)
}

// isSecret returns a function that compares secrets in constant time. It keeps a digest only.
func isSecret(secret string) func(string) bool {
	want := sha256.Sum256([]byte(secret))
	return func(presented string) bool {
		digest := sha256.Sum256([]byte(presented))
		return subtle.ConstantTimeCompare(digest[:], want[:]) == 1
	}
}

// host returns the host of the client ID metadata document, or "".
func (c *client) host() string {
	u, err := url.Parse(c.id)
	if c.origin != document || err != nil {
		return ""
	}
	return u.Host
}

func (c Client) grants() []oidc.GrantType {
	if len(c.GrantTypes) == 0 {
		return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
	}
	var grants []oidc.GrantType
	for _, grant := range c.GrantTypes {
		grants = append(grants, oidc.GrantType(grant))
	}
	return grants
}

// clientRegistry finds clients that need no request to another host.
type clientRegistry struct {
	fixed  map[string]*client // of the operator
	ids    clientIDs          // of clients that register dynamically
	denied []string           // client ids or their short forms, and hosts of documents
}

// clientIDs issues and reads the ids of clients that register dynamically. Registration is open, so what it costs must
// be bounded.
type clientIDs interface {
	// issue returns the id of a new client. Its metadata must have passed [clientRules.checkRegistration]. The error is
	// invalid_client_metadata.
	issue(m clientMetadata) (registration, error)
	// read returns the client of an id, after applying the rules of /register again. The error is a [clientError].
	read(ctx context.Context, id string) (*client, error)
	// used notes that a client has authenticated.
	used(c *client)
}

// registration is what a client gets for its metadata. A public client has no secret.
type registration struct {
	id, secret string
	// secretExpires is the end of the secret in seconds since 1970; 0 if it does not end.
	secretExpires int64
}

func newClientRegistry(clients []Client, ids clientIDs, denied []string) *clientRegistry {
	r := &clientRegistry{fixed: make(map[string]*client), ids: ids, denied: denied}
	for _, c := range clients {
		known := &client{
			id:           c.ID,
			name:         c.Name,
			redirectURIs: slices.Clone(c.RedirectURIs),
			grantTypes:   c.grants(),
		}
		if known.name == "" {
			known.name = c.ID
		}
		if c.Secret != "" {
			known.secret = isSecret(c.Secret)
		}
		r.fixed[c.ID] = known
	}
	return r
}

func (r *clientRegistry) find(ctx context.Context, id string) (*client, error) {
	if c, ok := r.fixed[id]; ok {
		return c, nil
	}
	return r.ids.read(ctx, id)
}

// denies reports whether the operator denies the client with that id, or of the document at that URL. An entry may
// be the short form of the id: it is what the operator finds in log and audit.
func (r *clientRegistry) denies(id string) bool {
	return slices.ContainsFunc(r.denied, func(entry string) bool {
		return entry == id || entry == displayClientID(id) || isHostOf(entry, id)
	})
}

// isHostOf reports whether host, with or without a port, is that of an https URL.
func isHostOf(host, address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" &&
		(strings.EqualFold(host, u.Host) || strings.EqualFold(host, u.Hostname()))
}

// findClient returns the registered client with that id, or the client of the metadata document at that URL.
// The error is a [clientError] or a [documentError].
func (i *Issuer) findClient(ctx context.Context, id string) (*client, error) {
	if i.clients.denies(id) {
		return nil, errDeniedClient()
	}
	if _, known := i.clients.fixed[id]; !known && strings.HasPrefix(id, "https://") {
		if !i.config.ClientDocuments {
			return nil, errDocumentsOff()
		}
		return i.fetcher.find(ctx, id)
	}
	return i.clients.find(ctx, id)
}

// authenticate returns the client if the secret is right. Errors are those of the token endpoint (RFC 6749,
// section 5.2), the same for an unknown client and for a wrong secret.
func (i *Issuer) authenticate(ctx context.Context, id, secret string) (*client, error) {
	c, err := i.findClient(ctx, id)
	if err != nil {
		return nil, tokenEndpointError(err)
	}
	if !c.secretMatches(secret) {
		i.config.Logger.InfoContext(ctx, "client authentication failed", slog.String("client_id", displayClientID(c.id)),
			slog.String("reason", string(reasonClientAuthentication)))
		return nil, errAuthentication()
	}
	i.clients.ids.used(c)
	return c, nil
}

// authenticateClient returns the client that a secret, an assertion, or for a public client nothing, authenticates.
func (i *Issuer) authenticateClient(ctx context.Context, c *op.ClientCredentials) (*client, error) {
	if c.ClientAssertion != "" {
		return i.authenticateByAssertion(ctx, c.ClientID, c.ClientAssertion)
	}
	return i.authenticate(ctx, c.ClientID, c.ClientSecret)
}

// VerifyClient implements [op.Server].
func (s *server) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	c, err := s.authenticateClient(ctx, r.Data)
	if err != nil {
		return nil, err
	}
	return opClient{c}, nil
}

// opClient is the library's view of a client. It has no redirect URIs: only [Issuer.authorize] reads them.
type opClient struct{ *client }

func (c opClient) GetID() string                       { return c.id }
func (c opClient) RedirectURIs() []string              { return nil }
func (c opClient) PostLogoutRedirectURIs() []string    { return nil }
func (c opClient) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (c opClient) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c opClient) GrantTypes() []oidc.GrantType         { return c.grantTypes }
func (c opClient) LoginURL(string) string               { return consentPath }
func (c opClient) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeJWT }
func (c opClient) IDTokenLifetime() time.Duration       { return 0 }
func (c opClient) DevMode() bool                        { return true }
func (c opClient) IsScopeAllowed(string) bool           { return true }
func (c opClient) IDTokenUserinfoClaimsAssertion() bool { return false }
func (c opClient) ClockSkew() time.Duration             { return 0 }
func (c opClient) AuthMethod() oidc.AuthMethod {
	if c.public() {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodBasic
}
func (c opClient) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c opClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// clientMetadata are the supported members of RFC 7591, section 2. Registration requests and client ID
// metadata documents share them; other members are ignored, as section 2 requires.
type clientMetadata struct {
	RedirectURIs            []string         `json:"redirect_uris,omitempty"`
	TokenEndpointAuthMethod oidc.AuthMethod  `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes              []oidc.GrantType `json:"grant_types,omitempty"`
	ResponseTypes           []string         `json:"response_types,omitempty"`
	ClientName              string           `json:"client_name,omitempty"`
	Scope                   string           `json:"scope,omitempty"`
	ApplicationType         string           `json:"application_type,omitempty"`
}

func applicationType(redirectURIs []string) string {
	for _, uri := range redirectURIs {
		if u, err := url.Parse(uri); err != nil || u.Scheme != "https" || isLoopback(u.Hostname()) {
			return "native"
		}
	}
	return "web"
}

// stripNonPrintable removes control and format characters: a bidirectional override in a name could reorder
// the text around it on the consent page.
func stripNonPrintable(name string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, name))
}

func invalidMetadata(description string) *oidc.Error {
	return (&oidc.Error{ErrorType: "invalid_client_metadata"}).WithDescription("%s", description)
}

func invalidRedirectURI(description string) *oidc.Error {
	return (&oidc.Error{ErrorType: "invalid_redirect_uri"}).WithDescription("%s", description)
}
