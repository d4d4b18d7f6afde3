package authserver

import (
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// use is what an authorization server is for: demos and tests, in which alice and bob sign in without a password, or
// people who sign in at another provider. All that differs between the two is here, and [New] chooses one.
type use struct {
	signIn Authenticator
	// paths are those of the handler.
	paths   []string
	wording wording
	// registration are the rules of dynamic registration, documents those of client ID metadata documents.
	registration, documents clientRules
	// configured are the grant types that clients of the configuration may have.
	configured []oidc.GrantType
	// claims are those of tokens, for the metadata.
	claims []string
	// clientIDs returns the ids of dynamic registration.
	clientIDs func(Config) clientIDs
	// complete sets the parts of an issuer that differ.
	complete func(*Issuer)
}

func (c Config) use() use {
	if c.SignIn == nil {
		return demoUse()
	}
	return providerUse(c)
}

func demoUse() use {
	rules := demoRules()
	return use{
		signIn: demo{}, paths: Paths(), wording: demoWording(),
		registration: rules, documents: rules, claims: append(commonClaims(), "name"),
		configured: append(slices.Clone(rules.grants), oidc.GrantTypeTokenExchange),
		clientIDs:  func(Config) clientIDs { return newDemoIDs(rules) },
		complete: func(i *Issuer) {
			i.guard.forDemo(i.config.Issuer)
			i.requests, i.departure = newMemoryRequests(i.config.Keys), byRedirect{}
			i.lifetime, i.makeRoom, i.recheck = slidingLifetime(i.config.RefreshTokenLifetime), keepAll, noRecheck{}
			i.consents = newConsents(i.config.RefreshTokenLifetime)
			i.access = newRememberedTokens(i.config.AccessTokenLifetime, i.consents)
		},
	}
}

func providerUse(c Config) use {
	rules := signInRules(c.ClientPolicy)
	return use{
		signIn: c.SignIn, paths: ProviderPaths(), wording: providerWording(),
		registration: rules, documents: rules.ofDocuments(), claims: commonClaims(),
		configured: append(slices.Clone(rules.grants), oidc.GrantTypeBearer),
		clientIDs: func(c Config) clientIDs {
			return sealedIDs{keys: c.Keys, issuer: c.Issuer, rules: rules, lifetime: c.ClientPolicy.RegistrationLifetime,
				now: c.Now}
		},
		complete: func(i *Issuer) {
			i.guard.forProvider(i.config.Issuer)
			i.requests = newSealedRequests(i.config.Keys, i.config.Issuer, i.transactions.fits)
			i.departure = byPage{i.pages}
			i.lifetime, i.makeRoom = absoluteLifetime(i.config.Sessions), i.limitGrants
			i.recheck, i.access = newProviderRecheck(i), namedTokens{i}
		},
	}
}

func commonClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash"}
}
