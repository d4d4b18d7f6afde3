package providers

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// OIDC are the settings of kind "oidc": any OpenID provider or OAuth 2.0 authorization server that signs its access
// tokens as JWTs. The defaults are strict (RFC 9068); whatever loosens them has to be named.
type OIDC struct {
	Issuer               string        `koanf:"issuer" help:"the provider's issuer identifier, exactly as its tokens say it, slash included"`
	DiscoveryURL         string        `koanf:"discovery_url" help:"where its metadata is, if not at a well-known place below the issuer; for a back channel"`
	JWKSURL              string        `koanf:"jwks_url" help:"where its keys are, instead of asking its metadata; for a back channel"`
	AuthorizationServers []string      `koanf:"authorization_servers" help:"what clients are sent to, if not the issuer; the first counts"`
	Audiences            []string      `koanf:"audiences" help:"values of which a token's aud must have one; the resource if empty"`
	TokenTypes           []string      `koanf:"token_types" help:"accepted typ headers: at+jwt, and if your provider needs it JWT or absent"`
	Algorithms           []string      `koanf:"algorithms" help:"accepted signature algorithms"`
	ScopeClaims          []string      `koanf:"scope_claims" help:"claims that may hold the scopes; the first that is there counts"`
	ClientClaims         []string      `koanf:"client_claims" help:"claims that may name the client; the first that is there counts"`
	Leeway               time.Duration `koanf:"leeway" help:"how far the clocks may differ"`
	MaxTokenBytes        int           `koanf:"max_token_bytes" help:"longest token that is looked at, in bytes"`
	HTTPAllowedHosts     []string      `koanf:"http_allowed_hosts" help:"hosts that may be asked over plain http, for a back channel inside one network; this computer always may"`
	KeyRefetchInterval   time.Duration `koanf:"key_refetch_interval" help:"least time between two fetches of the keys, whatever tokens arrive"`
	KeyMaxAge            time.Duration `koanf:"key_max_age" help:"how long a withdrawn key may stay in use"`
	KeyMaxStale          time.Duration `koanf:"key_max_stale" help:"how long known keys are used while they cannot be renewed"`
}

func defaultOIDC() *OIDC {
	return &OIDC{
		AuthorizationServers: []string{}, Audiences: []string{}, HTTPAllowedHosts: []string{},
		TokenTypes:    []string{"at+jwt"},
		Algorithms:    []string{string(jose.RS256), string(jose.PS256), string(jose.ES256), string(jose.EdDSA)},
		ScopeClaims:   []string{"scope", "scp"},
		ClientClaims:  []string{"client_id", "azp"},
		Leeway:        DefaultLeeway,
		MaxTokenBytes: DefaultMaxTokenBytes,

		KeyRefetchInterval: 30 * time.Second, KeyMaxAge: 10 * time.Minute, KeyMaxStale: 24 * time.Hour,
	}
}

// Check implements [Settings].
func (s *OIDC) Check(resource Resource, report func(key, reason, wayOut string)) {
	hosts := httpHosts(s.HTTPAllowedHosts)
	if s.Issuer == "" {
		report("issuer", "nobody said who issues the tokens", "write the issuer as the provider's metadata says it, such as https://login.example.com/realms/main")
	} else if reason := hosts.refusesIdentifier(s.Issuer); reason != "" {
		report("issuer", reason, "write it as the provider's metadata says it"+schemeHint(s.Issuer))
	}
	for _, u := range []struct{ key, value string }{{"discovery_url", s.DiscoveryURL}, {"jwks_url", s.JWKSURL}} {
		if reason := hosts.refuses(u.value); u.value != "" && reason != "" {
			report(u.key, reason, "use https; a host inside your own network may be named in provider.http_allowed_hosts"+schemeHint(u.value))
		}
	}
	for _, server := range s.AuthorizationServers {
		if reason := httpHosts(nil).refusesIdentifier(server); reason != "" {
			report("authorization_servers", strconv.Quote(server)+": "+reason, "clients need an https address"+schemeHint(server))
		}
	}
	for _, audience := range s.Audiences {
		if strings.TrimSpace(audience) == "" {
			report("audiences", "an entry is empty", "remove it; without any, the resource "+resource.String()+" is the audience")
		}
	}
	for _, alg := range s.Algorithms {
		if !slices.Contains(asymmetric, jose.SignatureAlgorithm(alg)) {
			report("algorithms", strconv.Quote(alg)+" is not an asymmetric signature algorithm", "use those of RS256, PS256, ES256, ES384 and EdDSA that the provider signs with")
		}
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"algorithms", s.Algorithms}, {"token_types", s.TokenTypes}, {"scope_claims", s.ScopeClaims}} {
		if len(list.values) == 0 {
			report(list.key, "nothing is left, so that no token could be accepted", "leave it out for the default")
		}
	}
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"leeway", s.Leeway, time.Second, 5 * time.Minute},
		{"key_refetch_interval", s.KeyRefetchInterval, time.Second, time.Hour},
		{"key_max_age", s.KeyMaxAge, 2 * time.Second, 24 * time.Hour},
		{"key_max_stale", s.KeyMaxStale, s.KeyMaxAge, 30 * 24 * time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			report(d.key, "it is not between "+d.least.String()+" and "+d.most.String(), "leave it out for the default")
		}
	}
	checkMaxTokenBytes(s.MaxTokenBytes, report)
}

// Open implements [Settings].
func (s *OIDC) Open(ctx context.Context, site Site) (Provider, error) {
	client := newFetchClient(nil)
	source := KeySource{URL: fixedURL(s.JWKSURL), Client: client}
	if s.JWKSURL == "" {
		source.URL = discovery{
			issuer: s.Issuer, places: s.metadataPlaces(), client: client, hosts: httpHosts(s.HTTPAllowedHosts),
		}.keysURL
	}
	keys := NewKeySet(source, KeyPolicy{RefetchInterval: s.KeyRefetchInterval, MaxAge: s.KeyMaxAge, MaxStale: s.KeyMaxStale}, site.Logger)
	go keys.Run(ctx)

	rules := Rules{
		Issuers: []string{s.Issuer}, Audiences: s.Audiences,
		ScopeClaims: s.ScopeClaims, ClientClaims: s.ClientClaims,
		Leeway: s.Leeway, MaxTokenBytes: s.MaxTokenBytes,
	}
	if len(rules.Audiences) == 0 {
		rules.Audiences = []string{site.Resource.String()}
	}
	for _, alg := range s.Algorithms {
		rules.Algorithms = append(rules.Algorithms, jose.SignatureAlgorithm(alg))
	}
	for _, typ := range s.TokenTypes {
		rules.TokenTypes = append(rules.TokenTypes, strings.TrimPrefix(strings.ToLower(typ), "application/"))
	}
	servers := s.AuthorizationServers
	if len(servers) == 0 {
		servers = []string{s.Issuer}
	}
	return &remote{keys: keys, verifier: NewVerifier(rules, keys), metadata: site.metadata(servers...)}, nil
}

// metadataPlaces are where the metadata of the issuer may be, in the order in which they are tried: RFC 8414 between host
// and path (section 3.1), RFC 8414 behind the path, which some providers do, and OpenID Connect Discovery (section 4).
func (s *OIDC) metadataPlaces() []string {
	if s.DiscoveryURL != "" {
		return []string{s.DiscoveryURL}
	}
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base := strings.TrimSuffix(s.Issuer, "/")
	places := []string{base + oauth, base + openid}
	if u, err := url.Parse(base); err == nil && u.Path != "" {
		places = slices.Insert(places, 0, u.Scheme+"://"+u.Host+oauth+u.Path)
	}
	return places
}

// remote is a provider whose keys are fetched over the network.
type remote struct {
	keys     *KeySet
	verifier *Verifier
	metadata Metadata
}

func (p *remote) Verify(ctx context.Context, token string) (*Identity, error) {
	return p.verifier.Verify(ctx, token)
}
func (p *remote) Metadata() Metadata { return p.metadata }
func (p *remote) Keys() KeyStatus    { return p.keys.Status() }

// httpHosts are the hosts besides this computer that may be asked over plain http.
type httpHosts []string

// refusesIdentifier says why an issuer identifier must not be used, or "" (RFC 8414, section 2).
func (h httpHosts) refusesIdentifier(issuer string) string {
	if strings.ContainsAny(issuer, "?#") {
		return "it contains a query or a fragment"
	}
	return h.refuses(issuer)
}

// refuses says why an address must not be asked, or "".
func (h httpHosts) refuses(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return "it is not an https URL"
	case u.User != nil:
		return "it contains a user name"
	case u.Scheme == "http" && !IsLoopback(u.Hostname()) && !slices.Contains(h, u.Host) && !slices.Contains(h, u.Hostname()):
		return "it is plain http outside this computer, where anybody on the way could put keys of his own in"
	}
	return ""
}

// schemeHint guesses what an address without its scheme was meant to be.
func schemeHint(address string) string {
	if address == "" || strings.Contains(address, "://") {
		return ""
	}
	host, _, _ := strings.Cut(address, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if IsLoopback(host) {
		return "; did you mean http://" + address + "?"
	}
	if strings.Contains(host, ".") {
		return "; did you mean https://" + address + "?"
	}
	return ""
}
