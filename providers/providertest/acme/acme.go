// Package acme is the example of CONTRIBUTING.md: the adapter of an identity provider that does not exist.
package acme

import (
	"context"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Settings are the settings of kind "acme". The access tokens of Acme have typ JWT, an audience that the
// customer registers, and the client in azp.
type Settings struct {
	Tenant string `koanf:"tenant" reload:"live" help:"URL of the tenant: iss of its tokens"`
	API    string `koanf:"api" reload:"live" help:"id under which this server is registered at Acme"`

	// KeyPolicy is for tests and has no configuration key.
	KeyPolicy token.KeyPolicy
}

// Validate implements [providers.Settings].
func (s *Settings) Validate(_ providers.Resource, report func(providers.Problem)) {
	if err := token.PlainHTTPHosts(nil).CheckIdentifier(s.Tenant); err != nil {
		report(providers.Problem{Key: "tenant", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix:    "copy the address from Acme's dashboard" + token.SchemeHint(s.Tenant)})
	}
	if s.API == "" {
		report(providers.Problem{Key: "api", Code: providers.CodeMissing,
			Reason: "api is required: without it, tokens for any API of the tenant would be accepted",
			Fix:    "copy the id from Acme's dashboard"})
	}
}

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	keys := token.NewKeySet(token.KeySource{
		URL:    token.StaticURL(s.Tenant + "/keys"),
		Client: token.NewClient(nil, info.UserAgent),
	}, s.KeyPolicy, info.Logger)
	go keys.Run(ctx)
	verifier := token.NewVerifier(token.Rules{
		Issuers:      []string{s.Tenant},
		Audiences:    []string{s.API},
		Algorithms:   []jose.SignatureAlgorithm{jose.ES256},
		TokenTypes:   []string{"jwt"},
		ScopeClaims:  []string{"scope"},
		ClientClaims: []string{"azp"},
	}, keys)
	return token.NewProvider(token.Parts{Keys: keys, Verifier: verifier, Metadata: info.Metadata(s.Tenant)}), nil
}
