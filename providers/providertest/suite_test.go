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

// sound is an adapter as an outsider would write it, with nothing but what is exported: the strict verifier over the
// issuer's keys.
func sound(t testing.TB) *providertest.Subject {
	issuer := providertest.NewIssuerFor(t)
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
			{Name: "a token for the issuer itself", Claims: map[string]any{"aud": issuer.URL()}, Want: token.ReasonAudienceMismatch},
		},
	}
}

type adapter struct {
	*token.Verifier
	info   providers.ServerInfo
	issuer *providertest.Issuer
	keys   *token.KeySet
}

// newAdapter is of keys, which verify by source.
func newAdapter(issuer *providertest.Issuer, info providers.ServerInfo, keys *token.KeySet, source oidc.KeySet) *adapter {
	rules := issuer.Rules(info.Resource.String())
	rules.Algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}
	return &adapter{Verifier: token.NewVerifier(rules, source), info: info, issuer: issuer, keys: keys}
}

func (a *adapter) Keys() providers.KeyStatus { return a.keys.Status() }
func (a *adapter) Metadata() providers.Metadata {
	return providers.Metadata{
		Resource: a.info.Resource.String(), AuthorizationServers: []string{a.issuer.URL()}, ScopesSupported: a.info.InitialScopes,
		BearerMethodsSupported: []string{"header"}, ResourceName: a.info.Name,
	}
}

func TestASoundAdapterPasses(t *testing.T) { providertest.Run(t, sound) }

func TestAHarnessIsToldWhatItForgot(t *testing.T) {
	rule := providertest.Rules()[0]
	for want, forget := range map[string]func(*providertest.Subject){
		"issuer, open and resource": func(s *providertest.Subject) { s.Open = nil },
		"no good token":             func(s *providertest.Subject) { s.Good = nil },
		"refetch interval":          func(s *providertest.Subject) { s.Issuer.KeyPolicy = token.KeyPolicy{} },
		`no rule "rotations"`:       func(s *providertest.Subject) { s.Except = map[string]string{"rotations": "a slip of the pen"} },
		"has no reason":             func(s *providertest.Subject) { s.Except = map[string]string{"rotation": ""} },
	} {
		s := sound(t)
		forget(s)
		if err := rule.Check(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// What was excepted is not tried again under another name.
func TestAnExceptionHoldsForTheRulesThatTryEverything(t *testing.T) {
	for _, rule := range providertest.Rules() {
		if rule.Name != "reasons" && rule.Name != "discretion" {
			continue
		}
		s := sound(t)
		forgiving(token.ReasonSenderConstrained)(t, s)
		if rule.Check(s) == nil {
			t.Errorf("%s does not see what this test is about", rule.Name)
		}
		s = sound(t)
		forgiving(token.ReasonSenderConstrained)(t, s)
		s.Except = map[string]string{"sender-constrained": "it knows how to check the proof"}
		if err := rule.Check(s); err != nil {
			t.Errorf("%s: %v", rule.Name, err)
		}
	}
}

func TestRulesHaveNamesDemandsAndSources(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range providertest.Rules() {
		if !regexp.MustCompile(`^[a-z-]+$`).MatchString(rule.Name) || rule.Demand == "" || rule.Source == "" || rule.Check == nil || seen[rule.Name] {
			t.Errorf("%+v", rule)
		}
		seen[rule.Name] = true
	}
}
