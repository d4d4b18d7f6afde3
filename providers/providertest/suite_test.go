package providertest_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// soundAdapter is an adapter as another module would write it, with exported identifiers only: the strict
// verifier over the issuer's keys.
func soundAdapter(t testing.TB) *providertest.Subject {
	return soundAdapterFor(t, providertest.NewIssuer(t, providertest.WithKeys()))
}

// soundAdapterFor is [soundAdapter] for an issuer without keys.
func soundAdapterFor(t testing.TB, issuer *providertest.Issuer) *providertest.Subject {
	es, ed := issuer.AddKey(jose.ES256), issuer.AddKey(jose.EdDSA)
	return &providertest.Subject{
		Issuer: issuer, Resource: mustResource(t),
		Open: func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
			keys := token.NewKeySet(token.KeySource{
				URL:    func(context.Context) (string, error) { return issuer.KeysURL(), nil },
				Client: issuer.Client(),
			}, issuer.KeyPolicy, info.Logger)
			go keys.Run(ctx)
			return newAdapter(issuer, info, keys, keys), nil
		},
		Good: []providertest.Variety{
			{Name: "ES256", Header: map[string]any{"kid": es}},
			{Name: "EdDSA", Header: map[string]any{"kid": ed}},
		},
		Refused: []providertest.NearMiss{
			{Name: "a token for the issuer itself", Claims: map[string]any{"aud": issuer.URL()},
				Want: token.ReasonAudienceMismatch},
		},
	}
}

type adapter struct {
	*token.Verifier
	info   providers.ServerInfo
	issuer *providertest.Issuer
	keys   *token.KeySet
}

// newAdapter reports the status of keys, and verifies by source.
func newAdapter(issuer *providertest.Issuer, info providers.ServerInfo, keys *token.KeySet,
	source oidc.KeySet) *adapter {
	rules := issuer.Rules(info.Resource.String())
	rules.Algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}
	return &adapter{Verifier: token.NewVerifier(rules, source), info: info, issuer: issuer, keys: keys}
}

func (a *adapter) Keys() providers.KeyStatus { return a.keys.Status() }
func (a *adapter) Metadata() providers.Metadata {
	return providers.Metadata{
		Resource: a.info.Resource.String(), AuthorizationServers: []string{a.issuer.URL()},
		ScopesSupported:        a.info.InitialScopes,
		BearerMethodsSupported: []string{"header"}, ResourceName: a.info.Name,
	}
}

func TestSoundAdapterPasses(t *testing.T) {
	t.Parallel()
	providertest.Run(t, soundAdapter)
}

func TestHarnessMustBeComplete(t *testing.T) {
	t.Parallel()
	rule := providertest.Rules()[0]
	for want, remove := range map[string]func(*providertest.Subject){
		"Issuer, Open and Resource": func(s *providertest.Subject) { s.Open = nil },
		"Good is empty":             func(s *providertest.Subject) { s.Good = nil },
		"RefetchInterval": func(s *providertest.Subject) {
			s.Issuer.KeyPolicy = token.KeyPolicy{}
		},
		`"rotations", which is not a rule`: func(s *providertest.Subject) {
			s.Except = map[string]string{"rotations": "a typo"}
		},
		"no reason for rotation": func(s *providertest.Subject) {
			s.Except = map[string]string{"rotation": ""}
		},
	} {
		s := soundAdapter(t)
		remove(s)
		if err := rule.Check(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to contain %q", err, want)
		}
	}
}

// The rules "reasons" and "no-leaks" use the attacks of all rules, but not of the excepted ones.
func TestExceptAlsoAppliesToRulesOverAllAttacks(t *testing.T) {
	t.Parallel()
	for _, rule := range providertest.Rules() {
		if rule.Name != "reasons" && rule.Name != "no-leaks" {
			continue
		}
		s := soundAdapter(t)
		ignoring(token.ReasonSenderConstrained)(t, s)
		if rule.Check(s) == nil {
			t.Errorf("%s does not notice the defect", rule.Name)
		}
		s = soundAdapter(t)
		ignoring(token.ReasonSenderConstrained)(t, s)
		s.Except = map[string]string{"sender-constrained": "it checks the proof of possession"}
		if err := rule.Check(s); err != nil {
			t.Errorf("%s: %v", rule.Name, err)
		}
	}
}

func TestRulesHaveNameDemandAndSource(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, rule := range providertest.Rules() {
		if !regexp.MustCompile(`^[a-z-]+$`).MatchString(rule.Name) || rule.Demand == "" || rule.Source == "" ||
			rule.Check == nil || seen[rule.Name] {
			t.Errorf("%+v", rule)
		}
		seen[rule.Name] = true
	}
}
