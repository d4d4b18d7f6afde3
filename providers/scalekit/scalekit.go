// Package scalekit is the adapter for MCP servers registered in a Scalekit environment.
package scalekit

import (
	"context"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Settings are the settings of kind "scalekit": an MCP server registered in a Scalekit environment.
// Everything follows from the environment and the id of the registration; no secret is needed to verify
// tokens.
type Settings struct {
	EnvironmentURL   string   `koanf:"environment_url" reload:"live" help:"URL of the environment, such as https://acme.scalekit.com"`
	ResourceID       string   `koanf:"resource_id" reload:"live" help:"id of the MCP server in the environment: res_ and digits"`
	ExpectedAudience string   `koanf:"expected_audience" reload:"live" help:"registered Server URL, to compare with resource"`
	Issuers          []string `koanf:"issuers" reload:"live" help:"accepted issuers in addition to the environment's own two"`

	ProtectedResourceMetadata string `koanf:"protected_resource_metadata" reload:"live" help:"metadata JSON from the dashboard"`

	ClientID     string           `koanf:"client_id" reload:"live" help:"API credential of the environment; used by doctor only"`
	ClientSecret providers.Secret `koanf:"client_secret" reload:"live" help:"secret of client_id; used by doctor only"`

	Leeway             time.Duration `koanf:"leeway" reload:"live" help:"allowed clock difference"`
	MaxTokenBytes      int           `koanf:"max_token_bytes" reload:"live" help:"maximum length of a token, in bytes"`
	KeyRefetchInterval time.Duration `koanf:"key_refetch_interval" reload:"live" help:"minimum time between key fetches that tokens cause"`
	KeyMaxAge          time.Duration `koanf:"key_max_age" reload:"live" help:"how long a withdrawn key may stay in use"`
	KeyMaxStale        time.Duration `koanf:"key_max_stale" reload:"live" help:"how long keys are used while they cannot be renewed"`
}

// Defaults returns the default settings.
func Defaults() *Settings {
	keys := token.KeyPolicy{}.WithDefaults()
	return &Settings{
		Issuers: []string{}, Leeway: token.DefaultLeeway, MaxTokenBytes: token.DefaultMaxTokenBytes,
		KeyRefetchInterval: keys.RefetchInterval, KeyMaxAge: keys.MaxAge, KeyMaxStale: keys.MaxStale,
	}
}

// environment returns the environment's URL without the slash at the end that users may paste.
func (s *Settings) environment() string { return strings.TrimSuffix(s.EnvironmentURL, "/") }

// authorizationServer returns where clients sign in. The environment itself supports neither dynamic
// registration nor client ID metadata documents.
func (s *Settings) authorizationServer() string {
	return s.environment() + resourcesPath + s.ResourceID
}

// keysURL returns the key set URL, which is the same for all MCP servers of the environment.
func (s *Settings) keysURL() string { return s.environment() + "/keys" }

const resourcesPath = "/resources/"

// Derive implements [providers.Deriver]. The metadata from the dashboard contains the resource and its id.
func (s *Settings) Derive(set func(key, value, from string)) {
	// Validate reports errors.
	if metadata, _ := parseMetadata(s.ProtectedResourceMetadata); metadata != nil {
		set("resource", metadata.Resource, "provider.protected_resource_metadata")
		for _, server := range metadata.AuthorizationServers {
			if _, id, ok := strings.Cut(server, resourcesPath); ok {
				set("provider.resource_id", id, "provider.protected_resource_metadata")
			}
		}
	}
	switch {
	case strings.HasPrefix(s.ExpectedAudience, "res_"):
		set("provider.resource_id", s.ExpectedAudience, "provider.expected_audience")
	case s.ExpectedAudience != "":
		set("resource", s.ExpectedAudience, "provider.expected_audience")
	}
}

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	source := token.KeySource{URL: token.StaticURL(s.keysURL()), Client: token.NewClient(nil, info.UserAgent)}
	policy := token.KeyPolicy{RefetchInterval: s.KeyRefetchInterval, MaxAge: s.KeyMaxAge,
		MaxStale: s.KeyMaxStale}
	keys := token.NewKeySet(source, policy, info.Logger)
	go keys.Run(ctx)
	verifier := token.NewVerifier(s.rules(), keys)
	return token.NewProvider(token.Parts{Keys: keys, Verifier: verifier, Metadata: s.metadata(info)}), nil
}

// Describe implements [providers.Describer].
func (s *Settings) Describe(provider providers.Provider, info providers.ServerInfo) providers.Provider {
	opened, ok := provider.(*token.Provider)
	if !ok {
		return provider // no provider of Open
	}
	return opened.WithMetadata(s.metadata(info))
}

func (s *Settings) rules() token.Rules {
	return token.Rules{
		// The issuer was the environment until 2026-09; MCP servers are migrated to the second form one by one.
		Issuers: append([]string{s.environment(), s.authorizationServer()}, s.Issuers...),
		// aud also contains the Server URL if one is registered, but a client may be able to change that.
		Audiences:     []string{s.ResourceID},
		Algorithms:    []jose.SignatureAlgorithm{jose.RS256},
		TokenTypes:    []string{"jwt", "at+jwt"},
		ScopeClaims:   []string{"scope", "scopes"}, // both have the same scopes; the SDKs differ in which they read
		ClientClaims:  []string{"client_id"},
		Leeway:        s.Leeway,
		MaxTokenBytes: s.MaxTokenBytes,
	}
}

func (s *Settings) metadata(info providers.ServerInfo) providers.Metadata {
	m := info.Metadata(s.authorizationServer())
	if override, _ := parseMetadata(s.ProtectedResourceMetadata); override != nil { // validated
		m.ResourceDocumentation = override.ResourceDocumentation
		if override.ResourceName != "" {
			m.ResourceName = override.ResourceName
		}
		if len(override.ScopesSupported) > 0 {
			m.ScopesSupported = override.ScopesSupported
		}
	}
	return m
}
