package providertest

import (
	"context"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Rules returns the rules of [Issuer.Provider].
func (i *Issuer) Rules(resource string) token.Rules {
	return token.Rules{
		Issuers:      []string{i.URL()},
		Audiences:    []string{resource},
		Algorithms:   []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA},
		TokenTypes:   []string{"at+jwt"},
		ScopeClaims:  []string{"scope", "scp"},
		ClientClaims: []string{"client_id", "azp"},
	}
}

// Keys returns a key set that is fetched from this issuer, and refreshed in the background until t ends.
func (i *Issuer) Keys(t testing.TB) *token.KeySet {
	t.Helper()
	keys := token.NewKeySet(token.KeySource{
		URL:    func(context.Context) (string, error) { return i.KeysURL(), nil },
		Client: i.Client(),
	}, i.KeyPolicy, i.Logger)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keys.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return keys
}

// Provider returns the strict verifier over this issuer's keys. It also implements [providers.KeyReporter].
func (i *Issuer) Provider(t testing.TB, resource providers.Resource,
	initialScopes ...string) providers.Provider {
	t.Helper()
	keys := i.Keys(t)
	return &provider{
		Verifier: token.NewVerifier(i.Rules(resource.String()), keys),
		keys:     keys,
		metadata: providers.Metadata{
			Resource:               resource.String(),
			AuthorizationServers:   []string{i.URL()},
			ScopesSupported:        initialScopes,
			BearerMethodsSupported: []string{"header"},
		},
	}
}

type provider struct {
	*token.Verifier
	keys     *token.KeySet
	metadata providers.Metadata
}

func (p *provider) Metadata() providers.Metadata { return p.metadata }

func (p *provider) Keys() providers.KeyStatus { return p.keys.Status() }
