package token

import "strings"

// An issuer template describes issuers that differ only in the tenant: https://login.example/{tid}/v2.0. The
// braces contain the claim that names the tenant. A template needs a list of accepted tenants: at providers
// where anyone can create a tenant, it would accept everyone otherwise.

// IsTemplate reports whether issuer has one part in braces.
func IsTemplate(issuer string) bool { return templateClaim(issuer) != "" }

// templateClaim returns the name in the braces, or "" if issuer is not a template.
func templateClaim(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "{")
	name, after, closed := strings.Cut(rest, "}")
	if !closed || strings.ContainsAny(name, "{/") || strings.ContainsAny(after, "{}") {
		return ""
	}
	return name
}

// fillTemplate replaces the braces by tenant.
func fillTemplate(issuer, tenant string) string {
	prefix, rest, _ := strings.Cut(issuer, "{")
	_, suffix, _ := strings.Cut(rest, "}")
	return prefix + tenant + suffix
}

// ExpandTenants returns the issuers of an issuer template, and the claims that tokens of each must have: the
// one that names the tenant must agree with the issuer. An issuer that is not a template is returned as it
// is.
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
