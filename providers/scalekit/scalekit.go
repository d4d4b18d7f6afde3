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

// Settings are the settings of kind "scalekit": an MCP server registered in a Scalekit environment. Everything follows from
// the environment and the id of the registration; no secret is needed to verify tokens.
type Settings struct {
	EnvironmentURL            string           `koanf:"environment_url" help:"the environment, such as https://acme.scalekit.com (Dashboard, Settings, API Credentials)"`
	ResourceID                string           `koanf:"resource_id" help:"the id of the MCP server there, res_ and digits (Dashboard, MCP Servers)"`
	ExpectedAudience          string           `koanf:"expected_audience" help:"the Server URL registered there, if you want it compared with resource; tokens are bound to resource_id in any case"`
	ProtectedResourceMetadata string           `koanf:"protected_resource_metadata" help:"the metadata JSON that the dashboard hands out, to serve its scopes and documentation link instead of ours"`
	Issuers                   []string         `koanf:"issuers" help:"issuers to accept besides the environment's own two, such as its address before a custom domain"`
	ClientID                  string           `koanf:"client_id" help:"API credential of the environment; only gatehouse doctor uses it"`
	ClientSecret              providers.Secret `koanf:"client_secret" help:"its secret; only gatehouse doctor uses it"`
	Leeway                    time.Duration    `koanf:"leeway" help:"how far the clocks may differ"`
	MaxTokenBytes             int              `koanf:"max_token_bytes" help:"longest token that is looked at, in bytes"`
	KeyRefetchInterval        time.Duration    `koanf:"key_refetch_interval" help:"least time between two fetches of the keys that tokens cause; until it is over, a token with an unknown key gets 503"`
	KeyMaxAge                 time.Duration    `koanf:"key_max_age" help:"how long a withdrawn key may stay in use"`
	KeyMaxStale               time.Duration    `koanf:"key_max_stale" help:"how long known keys are used while they cannot be renewed"`
}

// Defaults returns the settings before anything was configured.
func Defaults() *Settings {
	keys := token.KeyPolicy{}.WithDefaults()
	return &Settings{
		Issuers: []string{}, Leeway: token.DefaultLeeway, MaxTokenBytes: token.DefaultMaxTokenBytes,
		KeyRefetchInterval: keys.RefetchInterval, KeyMaxAge: keys.MaxAge, KeyMaxStale: keys.MaxStale,
	}
}

// environment is the environment's address as issuers begin with it. People paste it with a slash at the end.
func (s *Settings) environment() string { return strings.TrimSuffix(s.EnvironmentURL, "/") }

// authorizationServer is what clients are sent to. The environment itself knows neither dynamic registration nor client ID
// metadata documents.
func (s *Settings) authorizationServer() string {
	return s.environment() + resourcesPath + s.ResourceID
}

// keysURL is the same for all MCP servers of the environment.
func (s *Settings) keysURL() string { return s.environment() + "/keys" }

const resourcesPath = "/resources/"

// Derive implements [providers.Deriver]: whoever comes with the metadata from the dashboard has said his resource and its id.
func (s *Settings) Derive(set func(key, value, from string)) {
	// What is wrong with it is reported by the check.
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
	keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(s.keysURL()), Client: token.NewClient(nil, info.UserAgent)},
		token.KeyPolicy{RefetchInterval: s.KeyRefetchInterval, MaxAge: s.KeyMaxAge, MaxStale: s.KeyMaxStale}, info.Logger)
	go keys.Run(ctx)
	return token.NewProvider(token.Parts{Keys: keys, Verifier: token.NewVerifier(s.rules(), keys), Metadata: s.metadata(info)}), nil
}

func (s *Settings) rules() token.Rules {
	return token.Rules{
		// Tokens said the environment until 2026-09 and move to the second form one MCP server after the other.
		Issuers: append([]string{s.environment(), s.authorizationServer()}, s.Issuers...),
		// The Server URL is in aud too if one is registered, but a client may have a say in that one.
		Audiences:     []string{s.ResourceID},
		Algorithms:    []jose.SignatureAlgorithm{jose.RS256},
		TokenTypes:    []string{"jwt", "at+jwt"},
		ScopeClaims:   []string{"scope", "scopes"}, // the same twice; the SDKs disagree on which to read
		ClientClaims:  []string{"client_id"},
		Leeway:        s.Leeway,
		MaxTokenBytes: s.MaxTokenBytes,
	}
}

func (s *Settings) metadata(info providers.ServerInfo) providers.Metadata {
	m := info.Metadata(s.authorizationServer())
	if override, _ := parseMetadata(s.ProtectedResourceMetadata); override != nil { // the check has seen it
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
