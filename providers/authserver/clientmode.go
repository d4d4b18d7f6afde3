package authserver

import (
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// clientMode is what differs between the clients of the demo and those with which people sign in at another provider.
type clientMode struct {
	// rules are those of dynamic registration, documents those of client ID metadata documents.
	rules, documents clientRules
	// configured are the grant types that clients of the configuration may have.
	configured []oidc.GrantType
	// claims are those of tokens, for the metadata.
	claims []string
}

func (c Config) clientMode() clientMode {
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash"}
	if c.SignIn == nil {
		rules := demoRules()
		return clientMode{rules: rules, documents: rules, claims: append(claims, "name"),
			configured: append(slices.Clone(rules.grants), oidc.GrantTypeTokenExchange)}
	}
	rules := signInRules(c.ClientPolicy)
	return clientMode{rules: rules, documents: rules.ofDocuments(), claims: claims,
		configured: append(slices.Clone(rules.grants), oidc.GrantTypeBearer)}
}

// clientIDs returns the ids of dynamic registration.
func (c Config) clientIDs() clientIDs {
	if c.SignIn == nil {
		return newDemoIDs(demoRules())
	}
	return sealedIDs{keys: c.Keys, issuer: c.Issuer, rules: signInRules(c.ClientPolicy),
		lifetime: c.ClientPolicy.RegistrationLifetime, now: c.Now}
}
