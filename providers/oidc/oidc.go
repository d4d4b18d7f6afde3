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

// Settings are the settings of kind "oidc": any OpenID provider or OAuth 2.0 authorization server. The defaults are strict
// (RFC 9068: signed JWTs, meant for this resource); whatever loosens them has to be named.
type Settings struct {
	Preset string `koanf:"preset" help:"settings that fit one provider, to begin with; every one can be overridden"`

	Issuer               string   `koanf:"issuer" help:"the provider's issuer identifier, exactly as its tokens say it, slash included; {tid} in it stands for each of the tenants"`
	Tenants              []string `koanf:"tenants" help:"the values that the claim in the braces of the issuer may have"`
	DiscoveryURL         string   `koanf:"discovery_url" help:"where its metadata is, if not at a well-known place below the issuer; for a back channel"`
	DiscoveryIssuer      string   `koanf:"discovery_issuer" help:"the issuer that its metadata names, if its tokens name another"`
	JWKSURL              string   `koanf:"jwks_url" help:"where its keys are, instead of asking its metadata; for a back channel"`
	AuthorizationServers []string `koanf:"authorization_servers" help:"what clients are sent to, if not the issuer; the first counts"`

	Audiences      []string `koanf:"audiences" help:"values of which a token's aud must have one; the resource if empty"`
	AudienceMode   string   `koanf:"audience_mode" help:"required, or client_allow_list for providers that put no audience into access tokens"`
	AllowedClients []string `koanf:"allowed_clients" help:"the clients whose tokens are accepted in mode client_allow_list, with aud missing or naming one of them"`
	TokenTypes     []string `koanf:"token_types" help:"accepted typ headers: at+jwt, and if your provider needs it JWT or absent, which ID and refresh tokens may have too; then name in required_claims what only access tokens have"`
	RequiredClaims []string `koanf:"required_claims" help:"claims that a token must have, such as token_use=access"`
	IDTokenGuard   bool     `koanf:"id_token_guard" help:"refuse tokens that look like ID tokens: with nonce or at_hash (c_hash is always refused), or without client and scopes unless required_claims names typ, type, token_use, token_type or tokenType"`
	Algorithms     []string `koanf:"algorithms" help:"accepted signature algorithms"`

	ScopeClaims      []string `koanf:"scope_claims" help:"claims that may hold the scopes, as text, a list, or the names in an object; dots lead into objects, also through names with dots; the first that is there counts"`
	ScopeMap         []string `koanf:"scope_map" help:"what the provider calls our scopes, theirs=ours, such as api://demo/mcp.use=mcp:use; clients are told to ask for the first name of each"`
	DefaultScopes    []string `koanf:"default_scopes" help:"the scopes of a token that has no scope claim at all"`
	ScopesAdvertised []string `koanf:"scopes_advertised" help:"what metadata and the first challenge tell clients to ask for, instead of scopes.initial; challenges for more scopes name those that belong to no tool"`
	ClientClaims     []string `koanf:"client_claims" help:"claims that may name the client; the first that is not empty counts"`
	SubjectClaim     string   `koanf:"subject_claim" help:"the claim that names the caller"`

	Introspection      string           `koanf:"introspection" help:"ask the provider about tokens (RFC 7662): off, opaque for those that are no JWTs, or always"`
	IntrospectionStyle string           `koanf:"introspection_style" help:"rfc7662, or google_tokeninfo"`
	IntrospectionURL   string           `koanf:"introspection_url" help:"where to ask, instead of asking the metadata"`
	IntrospectionAuth  string           `koanf:"introspection_auth" help:"how this server proves who it is: basic, post, private_key_jwt, or none"`
	IntrospectionCache time.Duration    `koanf:"introspection_cache" help:"how long an answer may be used again, never past the token's end; 0s for not at all"`
	IntrospectionNoExp bool             `koanf:"introspection_without_exp" help:"accept answers about active tokens that have no exp, each for introspection_cache"`
	ClientID           string           `koanf:"client_id" help:"this server's own client at the provider, for introspection"`
	ClientSecret       providers.Secret `koanf:"client_secret" help:"its secret, for introspection_auth basic and post"`
	ClientKey          providers.Secret `koanf:"client_key" help:"its private key in PEM, for introspection_auth private_key_jwt"`
	ClientKeyID        string           `koanf:"client_key_id" help:"the key's id at the provider, if it wants one"`

	Leeway             time.Duration `koanf:"leeway" help:"how far the clocks may differ"`
	MaxTokenBytes      int           `koanf:"max_token_bytes" help:"longest token that is looked at, in bytes"`
	HTTPAllowedHosts   []string      `koanf:"http_allowed_hosts" help:"hosts that may be asked over plain http, for a back channel inside one network; this computer always may"`
	KeyRefetchInterval time.Duration `koanf:"key_refetch_interval" help:"least time between two fetches of the keys that tokens cause; until it is over, a token with an unknown key gets 503"`
	KeyMaxAge          time.Duration `koanf:"key_max_age" help:"how long a withdrawn key may stay in use"`
	KeyMaxStale        time.Duration `koanf:"key_max_stale" help:"how long known keys are used while they cannot be renewed"`
}

// The values of settings that are one of a few words.
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

// Defaults returns the settings before anything was configured.
func Defaults() *Settings {
	keys := token.KeyPolicy{}.WithDefaults()
	return &Settings{
		Tenants: []string{}, AuthorizationServers: []string{}, Audiences: []string{}, AllowedClients: []string{}, RequiredClaims: []string{},
		ScopeMap: []string{}, DefaultScopes: []string{}, ScopesAdvertised: []string{}, HTTPAllowedHosts: []string{},

		AudienceMode: audienceRequired,
		TokenTypes:   []string{"at+jwt"},
		IDTokenGuard: true,
		Algorithms:   []string{string(jose.RS256), string(jose.PS256), string(jose.ES256), string(jose.EdDSA)},
		ScopeClaims:  []string{"scope", "scp"},
		ClientClaims: []string{"client_id", "azp"},
		SubjectClaim: "sub",

		Introspection: introspectNothing, IntrospectionStyle: styleRFC7662, IntrospectionAuth: authBasic, IntrospectionCache: 30 * time.Second,

		Leeway: token.DefaultLeeway, MaxTokenBytes: token.DefaultMaxTokenBytes,
		KeyRefetchInterval: keys.RefetchInterval, KeyMaxAge: keys.MaxAge, KeyMaxStale: keys.MaxStale,
	}
}

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	rules := s.rules(info.Resource)
	if s.AudienceMode == clientAllowList {
		info.Logger.Warn("tokens of these clients are accepted although they need not be meant for this resource", "setting", "provider.audience_mode", "clients", s.AllowedClients)
	}
	if !s.IDTokenGuard {
		info.Logger.Warn("tokens that look like ID tokens are accepted", "setting", "provider.id_token_guard")
	}
	if s.admitsOtherTypes(rules) {
		info.Logger.Warn("every JWT of the provider for this resource is accepted as an access token, refresh tokens included, "+
			"unless it looks like an ID token or says in a claim that it is another token",
			"setting", "provider.token_types", "accepted", s.TokenTypes, "fix", admitsOtherTypesFix)
	}
	client := token.NewClient(nil, info.UserAgent)
	metadata := s.discovery(rules.Issuers, client)
	p := token.Parts{ScopeMap: rules.ScopeMap, Advertised: s.ScopesAdvertised, Metadata: s.metadata(info, rules)}
	if s.Introspection != introspectAlways {
		source := token.KeySource{URL: metadata.KeysURL, Timeout: metadata.Timeout(), Client: client, Issuer: s.DiscoveryIssuer,
			Introspects: s.Introspection == introspectOpaque}
		if s.JWKSURL != "" {
			source.URL = token.StaticURL(s.JWKSURL)
		}
		p.Keys = token.NewKeySet(source, token.KeyPolicy{RefetchInterval: s.KeyRefetchInterval, MaxAge: s.KeyMaxAge, MaxStale: s.KeyMaxStale}, info.Logger)
		p.Verifier = token.NewVerifier(rules, p.Keys)
		go p.Keys.Run(ctx)
	}
	if s.Introspection != introspectNothing {
		style, err := s.introspectionStyle()
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
		p.Introspector = token.NewIntrospector(ctx, style, endpoint, client, rules, s.IntrospectionCache, info.Logger)
	}
	return token.NewProvider(p), nil
}

// admitsOtherTypes reports whether nothing but the absence of what other tokens have tells access tokens from
// them: neither the typ header nor a required claim. Presets were compared with the tokens of their provider.
func (s *Settings) admitsOtherTypes(rules token.Rules) bool {
	return s.Preset == "" && len(rules.RequiredClaims) == 0 && s.Introspection != introspectAlways &&
		slices.ContainsFunc(rules.TokenTypes, func(typ string) bool { return typ == "jwt" || typ == token.AbsentType })
}

const admitsOtherTypesFix = "name in provider.required_claims a claim and value that only access tokens have, such as token_use=access"

func (s *Settings) metadata(info providers.ServerInfo, rules token.Rules) providers.Metadata {
	m := info.Metadata(s.authorizationServers(rules.Issuers)...)
	m.ScopesSupported = rules.ScopeMap.ToProvider(info.InitialScopes)
	if len(s.ScopesAdvertised) > 0 {
		m.ScopesSupported = s.ScopesAdvertised
	}
	return m
}

// rules are the settings as the verifier wants them. What they say was checked.
func (s *Settings) rules(resource providers.Resource) token.Rules {
	rules := token.Rules{
		Audiences: s.Audiences, AllowIDTokens: !s.IDTokenGuard,
		ScopeClaims: s.ScopeClaims, DefaultScopes: s.DefaultScopes, ClientClaims: s.ClientClaims, SubjectClaim: s.SubjectClaim,
		Leeway: s.Leeway, MaxTokenBytes: s.MaxTokenBytes,
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
	d := token.Discovery{Issuers: []string{s.Issuer}, MetadataURLs: []string{s.DiscoveryURL}, Client: client, PlainHTTPHosts: token.PlainHTTPHosts(s.HTTPAllowedHosts)}
	if token.IsTemplate(s.Issuer) {
		d.Issuers = append(d.Issuers, issuers...) // the metadata of one tenant will do as well
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

func (s *Settings) introspectionStyle() (token.IntrospectionProtocol, error) {
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
