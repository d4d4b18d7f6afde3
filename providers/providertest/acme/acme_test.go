package acme_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/acme"
	"gatehouse/providers/token"
)

func acmeHarness(t testing.TB) *providertest.Subject {
	issuer := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	settings := &acme.Settings{Tenant: issuer.URL(), API: "api-123", KeyPolicy: issuer.KeyPolicy}
	resource, err := providers.ParseResource("https://mcp.example.com/mcp")
	if err != nil {
		t.Fatal(err)
	}
	// The differences from a token of RFC 9068, which is what the issuer signs by default.
	header := map[string]any{"typ": "JWT"}
	claims := map[string]any{"aud": "api-123", "client_id": nil, "azp": "web"}
	client := func(id *providers.Identity) { id.Client = "web" }
	return &providertest.Subject{
		Issuer: issuer, Open: settings.Open, Resource: resource,
		Good: []providertest.Variety{
			{Name: "of a person", Header: header, Claims: claims, Want: client},
			{Name: "of a machine", Header: header,
				Claims: map[string]any{"aud": "api-123", "client_id": nil, "sub": "job-7"}},
		},
		Refused: []providertest.NearMiss{
			{Name: "for another API of the tenant", Claims: map[string]any{"aud": "api-1234"},
				Want: token.ReasonAudienceMismatch},
		},
	}
}

// The example of CONTRIBUTING.md conforms.
func TestConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, acmeHarness)
}
