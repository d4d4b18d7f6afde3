package providers

import (
	"context"

	"github.com/go-jose/go-jose/v4"
)

// Acme are the settings of kind "acme". Its access tokens say typ JWT, are for an API that the customer registers, and
// name the client in azp.
type Acme struct {
	Tenant string `koanf:"tenant" help:"the address of your tenant, as its tokens say it in iss"`
	API    string `koanf:"api" help:"the id under which this server is registered at Acme"`

	// KeyPolicy is for programs, not for configuration.
	KeyPolicy KeyPolicy
}

// Check implements [Settings].
func (s *Acme) Check(_ Resource, report func(key, reason, wayOut string)) {
	if err := PlainHTTPHosts(nil).CheckIdentifier(s.Tenant); err != nil {
		report("tenant", err.Error(), "copy the address from Acme's dashboard"+schemeHint(s.Tenant))
	}
	if s.API == "" {
		report("api", "without it, tokens for any API of the tenant would be good here", "copy the id from Acme's dashboard")
	}
}

// Open implements [Settings].
func (s *Acme) Open(ctx context.Context, site Site) (Provider, error) {
	keys := NewKeySet(KeySource{URL: fixedURL(s.Tenant + "/keys"), Client: newFetchClient(nil, site.UserAgent)}, s.KeyPolicy, site.Logger)
	go keys.Run(ctx)
	verifier := NewVerifier(Rules{
		Issuers:      []string{s.Tenant},
		Audiences:    []string{s.API},
		Algorithms:   []jose.SignatureAlgorithm{jose.ES256},
		TokenTypes:   []string{"jwt"},
		ScopeClaims:  []string{"scope"},
		ClientClaims: []string{"azp"},
	}, keys)
	return &acme{Verifier: verifier, keys: keys, metadata: site.Metadata(s.Tenant)}, nil
}

type acme struct {
	*Verifier
	keys     *KeySet
	metadata Metadata
}

func (p *acme) Metadata() Metadata { return p.metadata }
func (p *acme) Keys() KeyStatus    { return p.keys.Status() }
