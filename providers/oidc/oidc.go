// Package oidc is the adapter for any OpenID provider or OAuth 2.0 authorization server.
package oidc

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Settings are the settings of kind "oidc": any OpenID provider or OAuth 2.0 authorization server. The
// defaults are strict (RFC 9068: signed JWTs, meant for this resource); everything less strict must be set
// explicitly.
type Settings struct {
	Preset string `koanf:"preset" reload:"live" help:"defaults for one provider; every setting can be overridden"`

	Issuer               string   `koanf:"issuer" reload:"live" help:"issuer, exactly as in the tokens; {tid} means any of tenants"`
	Tenants              []string `koanf:"tenants" reload:"live" help:"accepted values of the claim that issuer names in braces"`
	DiscoveryURL         string   `koanf:"discovery_url" reload:"live" help:"metadata URL, if not at a well-known path under the issuer"`
	DiscoveryIssuer      string   `koanf:"discovery_issuer" reload:"live" help:"issuer in the metadata, if the tokens have another"`
	JWKSURL              string   `koanf:"jwks_url" reload:"live" help:"key set URL, instead of the one in the metadata"`
	AuthorizationServers []string `koanf:"authorization_servers" reload:"live" help:"where clients sign in, if not at issuer"`

	Audiences      []string `koanf:"audiences" reload:"live" help:"accepted values of aud; the resource if empty"`
	AudienceMode   string   `koanf:"audience_mode" reload:"live" values:"required,client_allow_list" help:"required, or client_allow_list for access tokens without aud"`
	AllowedClients []string `koanf:"allowed_clients" reload:"live" help:"accepted clients in audience_mode client_allow_list"`
	TokenTypes     []string `koanf:"token_types" reload:"live" help:"accepted typ headers; with JWT or absent, set required_claims"`
	RequiredClaims []string `koanf:"required_claims" reload:"live" help:"claims that a token must have, such as token_use=access"`
	IDTokenGuard   bool     `koanf:"id_token_guard" reload:"live" help:"refuse tokens that look like ID tokens"`
	Algorithms     []string `koanf:"algorithms" reload:"live" help:"accepted signature algorithms"`

	ScopeClaims      []string `koanf:"scope_claims" reload:"live" help:"claims that may hold the scopes; the first one present is used"`
	ScopeMap         []string `koanf:"scope_map" reload:"live" help:"names of scopes, provider=local, as in RESOURCE/mcp.use=mcp:use"`
	DefaultScopes    []string `koanf:"default_scopes" reload:"live" help:"scopes of a token that has no scope claim"`
	ScopesAdvertised []string `koanf:"scopes_advertised" reload:"live" help:"scopes to request at first sign-in, instead of scopes.initial"`
	ClientClaims     []string `koanf:"client_claims" reload:"live" help:"claims that may name the client; the first non-empty one is used"`
	SubjectClaim     string   `koanf:"subject_claim" reload:"live" help:"claim that names the caller"`

	Introspection      string           `koanf:"introspection" reload:"live" values:"off,opaque,always" help:"which tokens to introspect: off, opaque or always"`
	IntrospectionStyle string           `koanf:"introspection_style" reload:"live" values:"rfc7662,google_tokeninfo" help:"rfc7662 or google_tokeninfo"`
	IntrospectionURL   string           `koanf:"introspection_url" reload:"live" help:"endpoint, instead of the one in the metadata"`
	IntrospectionAuth  string           `koanf:"introspection_auth" reload:"live" values:"basic,post,private_key_jwt,none" help:"basic, post, private_key_jwt or none"`
	IntrospectionCache time.Duration    `koanf:"introspection_cache" reload:"live" help:"how long a response is cached; 0s: not at all"`
	IntrospectionNoExp bool             `koanf:"introspection_without_exp" reload:"live" help:"accept responses without exp"`
	ClientID           string           `koanf:"client_id" reload:"live" help:"this server's client at the provider, for introspection"`
	ClientSecret       providers.Secret `koanf:"client_secret" reload:"live" help:"its secret, for introspection_auth basic and post"`
	ClientKey          providers.Secret `koanf:"client_key" reload:"live" help:"its PEM private key, for private_key_jwt"`
	ClientKeyID        string           `koanf:"client_key_id" reload:"live" help:"kid of client_key, if the provider needs one"`

	Leeway             time.Duration `koanf:"leeway" reload:"live" help:"allowed clock difference"`
	MaxTokenBytes      int           `koanf:"max_token_bytes" reload:"live" help:"maximum length of a token, in bytes"`
	HTTPAllowedHosts   []string      `koanf:"http_allowed_hosts" reload:"live" help:"hosts allowed over plain http, in addition to loopback"`
	KeyRefetchInterval time.Duration `koanf:"key_refetch_interval" reload:"live" help:"minimum time between key fetches that tokens cause"`
	KeyMaxAge          time.Duration `koanf:"key_max_age" reload:"live" help:"how long a withdrawn key may stay in use"`
	KeyMaxStale        time.Duration `koanf:"key_max_stale" reload:"live" help:"how long keys are used while they cannot be renewed"`
}

// Values of settings with a fixed list of values.
const (
	audienceRequired  = "required"
	clientAllowList   = "client_allow_list"
	introspectNothing = "off"
	introspectOpaque  = "opaque"
	introspectAlways  = "always"
	styleRFC7662      = "rfc7662"
	styleGoogle       = "google_tokeninfo"
	authBasic         = "basic"
	authPost          = "post"
	authKey           = "private_key_jwt"
	authNone          = "none"
)

// Defaults returns the default settings.
func Defaults() *Settings {
	keys := token.KeyPolicy{}.WithDefaults()
	return &Settings{
		Tenants: []string{}, AuthorizationServers: []string{}, Audiences: []string{}, AllowedClients: []string{},
		RequiredClaims: []string{},
		ScopeMap:       []string{}, DefaultScopes: []string{}, ScopesAdvertised: []string{}, HTTPAllowedHosts: []string{},

		AudienceMode: audienceRequired,
		TokenTypes:   []string{"at+jwt"},
		IDTokenGuard: true,
		Algorithms:   []string{string(jose.RS256), string(jose.PS256), string(jose.ES256), string(jose.EdDSA)},
		ScopeClaims:  []string{"scope", "scp"},
		ClientClaims: []string{"client_id", "azp"},
		SubjectClaim: "sub",

		Introspection: introspectNothing, IntrospectionStyle: styleRFC7662, IntrospectionAuth: authBasic,
		IntrospectionCache: 30 * time.Second,

		Leeway: token.DefaultLeeway, MaxTokenBytes: token.DefaultMaxTokenBytes,
		KeyRefetchInterval: keys.RefetchInterval, KeyMaxAge: keys.MaxAge, KeyMaxStale: keys.MaxStale,
	}
}

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	rules := s.rules(info.Resource)
	if s.AudienceMode == clientAllowList {
		info.Logger.Warn("tokens of these clients are accepted, even those issued for another resource",
			"setting", "provider.audience_mode", "clients", s.AllowedClients)
	}
	if !s.IDTokenGuard {
		info.Logger.Warn("tokens that look like ID tokens are accepted", "setting", "provider.id_token_guard")
	}
	if s.acceptsOtherTypes(rules) {
		info.Logger.Warn("every JWT of the provider for this resource is accepted as an access token, refresh "+
			"tokens included, unless it looks like an ID token or has a claim with another token type",
			"setting", "provider.token_types", "accepted", s.TokenTypes, "fix", acceptsOtherTypesFix)
	}
	client := token.NewClient(nil, info.UserAgent)
	metadata := s.discovery(rules.Issuers, client)
	p := token.Parts{ScopeMap: rules.ScopeMap, Advertised: s.ScopesAdvertised, Metadata: s.metadata(info, rules)}
	if s.Introspection != introspectAlways {
		source := token.KeySource{URL: metadata.KeysURL, Timeout: metadata.Timeout(), Client: client,
			Issuer:      s.DiscoveryIssuer,
			Introspects: s.Introspection == introspectOpaque}
		if s.JWKSURL != "" {
			source.URL = token.StaticURL(s.JWKSURL)
		}
		p.Keys = token.NewKeySet(source, token.KeyPolicy{RefetchInterval: s.KeyRefetchInterval, MaxAge: s.KeyMaxAge,
			MaxStale: s.KeyMaxStale}, info.Logger)
		p.Verifier = token.NewVerifier(rules, p.Keys)
		go p.Keys.Run(ctx)
	}
	if s.Introspection != introspectNothing {
		protocol, err := s.introspectionProtocol()
		if err != nil {
			return nil, err
		}
		endpoint := token.StaticEndpoint(s.IntrospectionURL)
		if s.IntrospectionURL == "" {
			endpoint = token.NewEndpointResolver(metadata.IntrospectionURL, metadata.Timeout())
			go endpoint.Run(ctx)
		}
		if s.IntrospectionNoExp {
			rules.WithoutExpiry = s.IntrospectionCache
		}
		p.Introspector = token.NewIntrospector(ctx, protocol, endpoint, client, rules, s.IntrospectionCache,
			info.Logger)
	}
	return token.NewProvider(p), nil
}

// Describe implements [providers.Describer].
func (s *Settings) Describe(provider providers.Provider, info providers.ServerInfo) providers.Provider {
	opened, ok := provider.(*token.Provider)
	if !ok {
		return provider // no provider of Open
	}
	return opened.WithMetadata(s.metadata(info, s.rules(info.Resource)))
}

// acceptsOtherTypes reports whether neither the typ header nor a required claim distinguishes access tokens
// from other JWTs. Presets were compared with the tokens of their provider.
func (s *Settings) acceptsOtherTypes(rules token.Rules) bool {
	return s.Preset == "" && len(rules.RequiredClaims) == 0 && s.Introspection != introspectAlways &&
		slices.ContainsFunc(rules.TokenTypes, func(typ string) bool {
			return typ == "jwt" ||
				typ == token.AbsentType
		})
}

const acceptsOtherTypesFix = "set provider.required_claims to a claim and value that only access tokens " +
	"have, such as token_use=access"

func (s *Settings) metadata(info providers.ServerInfo, rules token.Rules) providers.Metadata {
	m := info.Metadata(s.authorizationServers(rules.Issuers)...)
	m.ScopesSupported = rules.ScopeMap.ToProvider(info.InitialScopes)
	if len(s.ScopesAdvertised) > 0 {
		m.ScopesSupported = s.ScopesAdvertised
	}
	return m
}

// rules converts the settings, which must be valid.
func (s *Settings) rules(resource providers.Resource) token.Rules {
	rules := token.Rules{
		Audiences: s.Audiences, AllowIDTokens: !s.IDTokenGuard,
		ScopeClaims: s.ScopeClaims, DefaultScopes: s.DefaultScopes, ClientClaims: s.ClientClaims,
		SubjectClaim: s.SubjectClaim,
		Leeway:       s.Leeway, MaxTokenBytes: s.MaxTokenBytes,
	}
	rules.Issuers, rules.IssuerClaims = token.ExpandTenants(s.Issuer, s.Tenants)
	rules.ScopeMap, _ = token.ParseScopeMap(s.ScopeMap)
	if len(rules.Audiences) == 0 {
		rules.Audiences = []string{resource.String()}
	}
	if s.AudienceMode == clientAllowList {
		rules.AllowedClients = s.AllowedClients
	}
	for _, entry := range s.RequiredClaims {
		name, value, _ := strings.Cut(entry, "=")
		rules.RequiredClaims = append(rules.RequiredClaims, token.RequiredClaim{Name: name, Value: value})
	}
	for _, alg := range s.Algorithms {
		rules.Algorithms = append(rules.Algorithms, jose.SignatureAlgorithm(alg))
	}
	for _, typ := range s.TokenTypes {
		rules.TokenTypes = append(rules.TokenTypes, strings.TrimPrefix(strings.ToLower(typ), "application/"))
	}
	return rules
}

func (s *Settings) discovery(issuers []string, client *http.Client) token.Discovery {
	d := token.Discovery{Issuers: []string{s.Issuer}, MetadataURLs: []string{s.DiscoveryURL}, Client: client,
		PlainHTTPHosts: token.PlainHTTPHosts(s.HTTPAllowedHosts)}
	if token.IsTemplate(s.Issuer) {
		d.Issuers = append(d.Issuers, issuers...) // the metadata of one tenant is accepted too
	}
	if s.DiscoveryIssuer != "" {
		d.Issuers = []string{s.DiscoveryIssuer}
	}
	if s.DiscoveryURL == "" {
		d.MetadataURLs = token.MetadataURLs(d.Issuers[0])
	}
	return d
}

func (s *Settings) authorizationServers(issuers []string) []string {
	if len(s.AuthorizationServers) > 0 {
		return s.AuthorizationServers
	}
	return slices.Clone(issuers)
}

func (s *Settings) introspectionProtocol() (token.IntrospectionProtocol, error) {
	if s.IntrospectionStyle == styleGoogle {
		return token.GoogleTokeninfo{}, nil
	}
	switch s.IntrospectionAuth {
	case authBasic:
		return token.RFC7662(token.BasicAuthentication(s.ClientID, s.ClientSecret)), nil
	case authPost:
		return token.RFC7662(token.PostAuthentication(s.ClientID, s.ClientSecret)), nil
	case authKey:
		signer, err := token.NewClientSigner(s.ClientKey, s.ClientKeyID)
		if err != nil {
			return nil, err
		}
		return token.RFC7662(token.KeyAuthentication(s.ClientID, s.Issuer, signer)), nil
	default:
		return token.RFC7662(token.NoAuthentication), nil
	}
}
