package token

import "strings"

// An issuer template stands for many issuers that differ in one place, the tenant: https://login.example/{tid}/v2.0. What
// is in the braces is the claim of the token that names the tenant. A template is only good together with the list of
// tenants that are let in: whoever may open a tenant of his own at the provider would be let in otherwise.

// IsTemplate reports whether issuer has one part in braces.
func IsTemplate(issuer string) bool { return templateClaim(issuer) != "" }

// templateClaim is the name in the braces, or "".
func templateClaim(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "{")
	name, after, closed := strings.Cut(rest, "}")
	if !closed || strings.ContainsAny(name, "{/") || strings.ContainsAny(after, "{}") {
		return ""
	}
	return name
}

// fillTemplate puts tenant in the place of the braces.
func fillTemplate(issuer, tenant string) string {
	prefix, rest, _ := strings.Cut(issuer, "{")
	_, suffix, _ := strings.Cut(rest, "}")
	return prefix + tenant + suffix
}

// ExpandTenants returns the issuers that an issuer or a template stands for, and what their tokens must say besides: the claim
// that names the tenant must agree with the issuer.
func ExpandTenants(issuer string, tenants []string) (issuers []string, claims map[string][]RequiredClaim) {
	if !IsTemplate(issuer) {
		return []string{issuer}, nil
	}
	claims = map[string][]RequiredClaim{}
	for _, tenant := range tenants {
		one := fillTemplate(issuer, tenant)
		issuers = append(issuers, one)
		claims[one] = []RequiredClaim{{Name: templateClaim(issuer), Value: tenant}}
	}
	return issuers, claims
}
