package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	maxConfidentialClients = 1000 // registered dynamically: the limit of those used, and of those unused
	maxClientName          = 200  // runes
)

var (
	errUnknownClient = errors.New("unknown client")
	errDocumentsOff  = errors.New("client ID metadata documents are disabled")
)

// client is a client of any origin.
type client struct {
	id           string
	name         string
	origin       clientOrigin
	secret       *[sha256.Size]byte // digest; nil for a public client
	redirectURIs []string
	grantTypes   []oidc.GrantType
}

// clientOrigin is how a client became known. The consent page shows by whom its name is verified.
type clientOrigin int

const (
	preregistered clientOrigin = iota // by the operator
	dynamic                           // by dynamic registration; the name is not verified
	document                          // by the host of the client_id
	unregistered                      // by a client_id of another process; not verified
)

func (c *client) public() bool { return c.secret == nil }

func (c *client) mayUseGrant(grant oidc.GrantType) bool { return slices.Contains(c.grantTypes, grant) }

// secretMatches compares secrets in constant time. A public client must not send one; an empty secret is
// allowed, because go-sdk first tries Basic with an empty secret when it knows no method.
func (c *client) secretMatches(secret string) bool {
	if c.public() {
		return secret == ""
	}
	digest := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(digest[:], c.secret[:]) == 1
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

// clientRegistry holds the clients of the operator, and the confidential clients that registered dynamically.
// Registration is open, so the latter are bounded, and those that have authenticated are kept separately: new
// registrations only evict others that were never used.
type clientRegistry struct {
	fixed map[string]*client
	ids   clientIDs // public clients that register dynamically are not stored

	mu     sync.Mutex
	unused *expiringMap[string, *client]
	used   *expiringMap[string, *client] // the least recently used is evicted first
}

func newClientRegistry(clients []Client) *clientRegistry {
	r := &clientRegistry{
		fixed:  make(map[string]*client),
		ids:    newClientIDs(),
		unused: newExpiringMap[string, *client](0, maxConfidentialClients),
		used:   newExpiringMap[string, *client](0, maxConfidentialClients),
	}
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
			digest := sha256.Sum256([]byte(c.Secret))
			known.secret = &digest
		}
		r.fixed[c.ID] = known
	}
	return r
}

func (r *clientRegistry) add(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unused.put(time.Time{}, c.id, c)
}

func (r *clientRegistry) find(id string) (*client, bool) {
	if c, ok := r.fixed[id]; ok {
		return c, true
	}
	if c, ok := r.ids.read(id); ok {
		return c, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.used.get(time.Time{}, id); ok {
		return c, true
	}
	return r.unused.get(time.Time{}, id)
}

// authenticated records that a client has authenticated.
func (r *clientRegistry) authenticated(c *client) {
	if c.origin != dynamic || c.public() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unused.remove(c.id)
	r.used.put(time.Time{}, c.id, c)
}

// findClient returns the registered client with that id, or the client of the metadata document at that URL.
// The error is errUnknownClient, errDocumentsOff or a [documentError].
func (i *Issuer) findClient(id string) (*client, error) {
	if c, ok := i.clients.find(id); ok {
		return c, nil
	}
	if strings.HasPrefix(id, "https://") {
		if !i.config.ClientDocuments {
			return nil, errDocumentsOff
		}
		return i.documents.find(id)
	}
	return nil, errUnknownClient
}

// authenticate returns the client if the secret is right. Errors are those of the token endpoint (RFC 6749,
// section 5.2), the same for an unknown client and for a wrong secret.
func (i *Issuer) authenticate(id, secret string) (*client, error) {
	c, err := i.findClient(id)
	if unreachable := new(documentError); errors.As(err, unreachable) && unreachable.temporary {
		// Not invalid_client, which makes clients discard their registration.
		return nil, op.NewStatusError(oidc.ErrServerError().WithDescription(
			"the client ID metadata document is unavailable"), http.StatusServiceUnavailable)
	}
	if err != nil || !c.secretMatches(secret) {
		return nil, invalidClient("client authentication failed")
	}
	i.clients.authenticated(c)
	return c, nil
}

// VerifyClient implements [op.Server].
func (s *server) VerifyClient(_ context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	c, err := s.authenticate(r.Data.ClientID, r.Data.ClientSecret)
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

// check sets defaults and drops unsupported grant types. The error is invalid_redirect_uri or
// invalid_client_metadata (RFC 7591, section 3.2.2).
func (m *clientMetadata) check() error {
	if utf8.RuneCountInString(m.ClientName) > maxClientName || len(m.Scope) > maxRedirectURILength {
		return invalidMetadata("client_name or scope is too long")
	}
	if len(m.RedirectURIs) > maxRedirectURIs {
		return invalidRedirectURI("too many redirect URIs")
	}
	total := 0
	for _, uri := range m.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return invalidRedirectURI(err.Error())
		}
		total += len(uri)
	}
	if total > maxRedirectURIBytes {
		return invalidRedirectURI("the redirect URIs are too long together")
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []oidc.GrantType{oidc.GrantTypeCode}
	}
	m.GrantTypes = slices.DeleteFunc(m.GrantTypes,
		func(g oidc.GrantType) bool { return !slices.Contains(supportedGrants(), g) })
	slices.Sort(m.GrantTypes)
	m.GrantTypes = slices.Compact(m.GrantTypes)
	m.ResponseTypes = nil
	switch {
	case len(m.GrantTypes) == 0:
		return invalidMetadata("none of the grant types is supported")
	case slices.Contains(m.GrantTypes, oidc.GrantTypeCode):
		m.ResponseTypes = []string{string(oidc.ResponseTypeCode)}
		if len(m.RedirectURIs) == 0 {
			return invalidRedirectURI("authorization_code requires a redirect URI")
		}
	}
	if m.ApplicationType != "web" && m.ApplicationType != "native" {
		m.ApplicationType = applicationType(m.RedirectURIs)
	}
	m.ClientName = stripNonPrintable(m.ClientName)
	return nil
}

// checkRegistration applies the rules of /register: those of check, and that of the authentication method,
// whose default it sets. Errors are those of check.
func (m *clientMetadata) checkRegistration() error {
	if err := m.check(); err != nil {
		return err
	}
	switch m.TokenEndpointAuthMethod {
	case "":
		m.TokenEndpointAuthMethod = oidc.AuthMethodBasic // RFC 7591, section 2
	case oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost:
	default:
		return invalidMetadata("the token_endpoint_auth_method is not supported")
	}
	if m.TokenEndpointAuthMethod == oidc.AuthMethodNone &&
		slices.Contains(m.GrantTypes, oidc.GrantTypeClientCredentials) {
		return invalidMetadata("client_credentials requires a client that authenticates")
	}
	return nil
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
