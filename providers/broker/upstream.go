package broker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/token"
)

// upstreamConfig is what an [Upstream] needs of the settings, which are valid.
type upstreamConfig struct {
	// Issuer is the issuer of the provider, or an issuer template, which needs Tenants.
	Issuer  string
	Tenants []string
	// DiscoveryURL is where the metadata is; a well-known path below Issuer if empty.
	DiscoveryURL     string
	HTTPAllowedHosts []string

	// RedirectURI is that of the client ClientID at the provider.
	RedirectURI string
	ClientID    string
	// ClientSecret or ClientKey, in PEM, authenticates the client.
	ClientSecret, ClientKey providers.Secret

	// Scopes and Params, as name=value, are those of the authorization request.
	Scopes, Params []string

	// SubjectClaim becomes the sub of tokens; sub if empty.
	SubjectClaim string
	Required     RequiredClaims
	Rules        Rules

	UserAgent string
	// Transport sends the requests to the provider; http.DefaultTransport if nil.
	Transport http.RoundTripper
	// Logger gets the log; slog.Default() if nil.
	Logger *slog.Logger
	// Now is the clock of what is remembered; time.Now if nil. Tokens are judged by the clock of the computer.
	Now func() time.Time
}

// Upstream signs people in at an OpenID provider, as one client that the operator has registered there. It is the
// [authserver.Authenticator] of kind "broker".
type Upstream struct {
	config  upstreamConfig
	issuers []string
	// tenants are the claims that the ID token of each issuer of a template must have.
	tenants      map[string][]token.RequiredClaim
	client       *http.Client // for requests with a code or a refresh token
	metadata     *metadataCache
	keys         *token.KeySet
	authenticate map[string]token.Authenticator // by authentication method
	state        clientState
	// needed are the claims that are read, besides those of every ID token.
	needed []string
	logger *slog.Logger
	// limited is for lines that anyone can cause who has not signed in.
	limited *slog.Logger
}

var _ authserver.Authenticator = (*Upstream)(nil)

// The methods of client authentication (RFC 8414, section 2).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authKey   = "private_key_jwt"
)

// newUpstream returns an Upstream. It makes no request: a provider that is down must not keep the server from starting.
func newUpstream(config upstreamConfig) (*Upstream, error) {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	u := &Upstream{config: config, logger: config.Logger, limited: authserver.LimitLog(config.Logger)}
	if u.config.SubjectClaim == "" {
		u.config.SubjectClaim = "sub"
	}
	if u.config.Now == nil {
		u.config.Now = time.Now
	}
	u.config.Scopes = providers.MergeScopes([]string{"openid"}, config.Scopes)
	u.issuers, u.tenants = token.ExpandTenants(config.Issuer, config.Tenants)
	u.needed = providers.MergeScopes(config.rulesClaims(), []string{u.config.SubjectClaim})

	fetcher := token.NewClient(config.Transport, config.UserAgent)
	u.client = token.NewClient(config.Transport, config.UserAgent)
	u.client.Timeout = exchangeTimeout
	discovery := u.discovery(fetcher)
	u.metadata = newMetadataCache(discovery.SignInMetadata, u.config.Now)
	u.keys = token.NewKeySet(token.KeySource{URL: u.keysURL, Timeout: metadataTimeout, Client: fetcher},
		token.KeyPolicy{}, config.Logger)

	switch {
	case config.ClientKey != "":
		signer, err := token.NewClientSigner(config.ClientKey, "")
		if err != nil {
			return nil, fmt.Errorf("provider.client_key: %w", err)
		}
		u.authenticate = map[string]token.Authenticator{authKey: token.KeyAuthentication(config.ClientID,
			u.issuers[0], signer)}
	case config.ClientSecret != "":
		u.authenticate = map[string]token.Authenticator{
			authBasic: token.BasicAuthentication(config.ClientID, config.ClientSecret),
			authPost:  token.PostAuthentication(config.ClientID, config.ClientSecret),
		}
	default:
		return nil, errors.New("the client at the provider has neither a secret nor a key")
	}
	return u, nil
}

// Run keeps the metadata and the keys of the provider up to date until ctx ends.
func (u *Upstream) Run(ctx context.Context) { u.keys.Run(ctx) }

// discovery reads the document of OpenID Connect Discovery first: that of RFC 8414 lacks the userinfo endpoint at some
// providers that have both.
func (u *Upstream) discovery(client *http.Client) token.Discovery {
	d := token.Discovery{Issuers: []string{u.config.Issuer}, Client: client,
		PlainHTTPHosts: token.PlainHTTPHosts(u.config.HTTPAllowedHosts)}
	if token.IsTemplate(u.config.Issuer) {
		d.Issuers = append(d.Issuers, u.issuers...) // the metadata of one tenant is accepted too
	}
	d.MetadataURLs = []string{u.config.DiscoveryURL}
	if u.config.DiscoveryURL == "" {
		d.MetadataURLs = token.MetadataURLs(u.config.Issuer)
		slices.Reverse(d.MetadataURLs)
	}
	return d
}

// keysURL reads the metadata again, because a provider may move its keys.
func (u *Upstream) keysURL(ctx context.Context) (string, error) {
	m, err := u.metadata.renew(ctx)
	return m.JWKSURI, err
}

// Host returns the host at which people sign in, for the consent page.
func (u *Upstream) Host() string {
	address, err := url.Parse(u.config.Issuer)
	if err != nil {
		return "" // valid settings have a URL
	}
	return address.Host
}

// Choices implements [authserver.Authenticator]: people sign in elsewhere.
func (u *Upstream) Choices() []authserver.Person { return nil }

// Begin implements [authserver.Authenticator]. Neither the resource nor the scopes of the client are in the request:
// providers refuse those that they do not know.
func (u *Upstream) Begin(
	ctx context.Context, a authserver.Attempt,
) (who *authserver.Person, address string, err error) {
	m, err := u.metadata.get(ctx)
	if err != nil {
		return nil, "", u.unavailable(err)
	}
	address, err = u.authorizeURL(m, a, nil)
	return nil, address, err
}

// authorizeURL returns the URL of an authorization request (OpenID Connect Core 1.0, section 3.1.2.1). more replaces
// parameters of the settings.
func (u *Upstream) authorizeURL(m token.PublishedMetadata, a authserver.Attempt, more url.Values) (string, error) {
	address, err := url.Parse(m.AuthorizationEndpoint)
	if err != nil {
		return "", u.unavailable(errors.New("the authorization endpoint is not a URL"))
	}
	query := address.Query()
	for _, param := range u.config.Params {
		name, value, _ := strings.Cut(param, "=")
		query.Set(name, value)
	}
	for name, values := range more {
		query[name] = values
	}
	// The settings cannot replace what binds the response to this request, or where it goes.
	for _, name := range []string{"resource", "request", "request_uri", "response_mode"} {
		query.Del(name)
	}
	challenge := sha256.Sum256([]byte(a.Verifier))
	query.Set("response_type", "code")
	query.Set("client_id", u.config.ClientID)
	query.Set("redirect_uri", u.config.RedirectURI)
	query.Set("scope", strings.Join(u.config.Scopes, " "))
	query.Set("state", a.State)
	query.Set("nonce", a.Nonce)
	query.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	query.Set("code_challenge_method", "S256")
	if isPlainHint(a.LoginHint) && !query.Has("login_hint") {
		query.Set("login_hint", a.LoginHint)
	}
	address.RawQuery = query.Encode()
	return address.String(), nil
}

// isPlainHint reports whether a login_hint looks like a user name or an e-mail address. Clients choose it, and some
// providers read other forms as tokens.
func isPlainHint(hint string) bool {
	return hint != "" && len(hint) <= 128 && !strings.ContainsFunc(hint, func(r rune) bool {
		isAlphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !isAlphanumeric && !strings.ContainsRune("@.-_+", r)
	})
}

// algorithms are the accepted signature algorithms of ID tokens. Symmetric ones would make the client secret a key.
func algorithms() []string {
	all := []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}
	names := make([]string, len(all))
	for i, alg := range all {
		names[i] = string(alg)
	}
	return names
}
