package broker

import (
	"slices"
	"strings"

	"gatehouse/providers"
)

// Rules say which scopes a person may have (provider.scope_rules). The zero value gives none.
type Rules struct{ rules []rule }

// rule gives scopes to the people who meet its condition.
type rule struct {
	everyone  bool // instead of a condition
	condition condition
	scopes    []string
}

// String returns the rule as it is written in a setting.
func (r rule) String() string {
	left := everyone
	if !r.everyone {
		left = r.condition.String()
	}
	return left + " > " + strings.Join(r.scopes, " ")
}

// String returns the rules as they are written in a setting.
func (r Rules) String() string {
	texts := make([]string, len(r.rules))
	for i, one := range r.rules {
		texts[i] = one.String()
	}
	return strings.Join(texts, ", ")
}

// Scopes returns all scopes that the rules name, each once.
func (r Rules) Scopes() []string {
	var scopes []string
	for _, one := range r.rules {
		scopes = providers.MergeScopes(scopes, one.scopes)
	}
	return scopes
}

// Claims returns the claims that the rules read, each once.
func (r Rules) Claims() []string {
	var claims []string
	for _, one := range r.rules {
		if !one.everyone {
			claims = providers.MergeScopes(claims, []string{one.condition.claim})
		}
	}
	return claims
}

// NameClaims reports whether a person needs a claim to have a scope: there are rules, and none is for everyone.
func (r Rules) NameClaims() bool {
	return len(r.rules) > 0 && !slices.ContainsFunc(r.rules, func(one rule) bool { return one.everyone })
}

// UseEmail reports whether a rule reads an e-mail address.
func (r Rules) UseEmail() bool { return slices.ContainsFunc(r.Claims(), isEmailClaim) }

// scopesFor returns the scopes of all rules that the claims meet, each once, in the order of the rules.
func (r Rules) scopesFor(values *claimValues) []string {
	var scopes []string
	for _, one := range r.rules {
		if one.everyone || values.meets(one.condition) {
			scopes = providers.MergeScopes(scopes, one.scopes)
		}
	}
	return scopes
}

// RequiredClaims are conditions that everyone must meet to sign in (provider.required_claims).
type RequiredClaims []condition

// Claims returns the claims that the conditions read, each once.
func (r RequiredClaims) Claims() []string {
	var claims []string
	for _, c := range r {
		claims = providers.MergeScopes(claims, []string{c.claim})
	}
	return claims
}

// UseEmail reports whether a condition reads an e-mail address.
func (r RequiredClaims) UseEmail() bool { return slices.ContainsFunc(r.Claims(), isEmailClaim) }

// firstUnmet returns the claim of the first condition that is not met, or "".
func (r RequiredClaims) firstUnmet(values *claimValues) string {
	for _, c := range r {
		if !values.meets(c) {
			return c.claim
		}
	}
	return ""
}
