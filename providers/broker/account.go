package broker

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/rawjson"
	"gatehouse/providers/token"
)

// The names in [authserver.Person.Details].
const (
	detailIssuer  = "iss"
	detailSubject = "sub"   // at the provider, also if Person.Subject is another claim
	detailTenant  = "tid"   // if the provider has tenants
	detailNonce   = "nonce" // of the sign-in; an ID token at a refresh has the same or none
	detailSource  = "claims"
	detailRules   = "rules" // by which the scopes were given; see upstreamConfig.rulesDigest
)

// The values of detailSource: where the claims that the rules need were found at the sign-in.
const (
	sourceIDToken  = "id_token"
	sourceUserinfo = "userinfo"
)

// Claims of Microsoft Entra: the tenant, and what takes the place of groups if there are too many (Microsoft identity
// platform, ID token claims reference: groups overage claim).
const (
	claimTenant    = "tid"
	claimNames     = "_claim_names" // OpenID Connect Core 1.0, section 5.6.2
	claimHasGroups = "hasgroups"
)

// maxSubjectBytes is the maximum of OpenID Connect Core 1.0, section 2, for sub.
const maxSubjectBytes = 255

// person returns the person of a verified ID token, without Time and Credential.
func (u *Upstream) person(claims token.ClaimSet) (authserver.Person, error) {
	scopes, err := u.scopes(claims)
	if err != nil {
		return authserver.Person{}, err
	}
	issuer, _ := claims.Text("iss")
	subject, err := u.subject(claims, issuer)
	if err != nil {
		return authserver.Person{}, err
	}
	own, _ := claims.Text("sub")
	who := authserver.Person{Subject: subject, Scopes: scopes,
		Details: map[string]string{detailIssuer: issuer, detailSubject: own}}
	if tenant, ok := claims.Text(claimTenant); ok {
		who.Details[detailTenant] = tenant
	}
	return who, nil
}

// scopes returns the scopes that the rules give, at least one.
func (u *Upstream) scopes(claims token.ClaimSet) ([]string, error) {
	if claim := u.overage(claims); claim != "" {
		return nil, refused(ReasonAccountOverage, codeDenied, textOverage,
			"the provider left out the claim "+claim+", because the account has too many values; use app roles")
	}
	values := newClaimValues(claims)
	unmet := u.config.Required.firstUnmet(values)
	scopes := u.config.Rules.scopesFor(values)
	for _, note := range values.notes {
		u.logger.Warn("a claim of a person has no effect", "reason", authserver.ReasonAccountNotAllowed, "detail", note)
	}
	switch {
	case unmet != "":
		return nil, refused(authserver.ReasonAccountNotAllowed, codeDenied, textNotAllowed,
			"the account does not meet provider.required_claims: "+unmet)
	case len(scopes) == 0:
		return nil, refused(authserver.ReasonAccountNotAllowed, codeDenied, textNotAllowed,
			"no rule of provider.scope_rules gives the account a scope")
	}
	return scopes, nil
}

// subject returns the sub of the person's tokens. With several tenants it begins with that of the person: the subjects
// of two tenants may be equal.
func (u *Upstream) subject(claims token.ClaimSet, issuer string) (string, error) {
	subject, ok := claims.Text(u.config.SubjectClaim)
	switch {
	case !ok || subject == "":
		return "", refused(ReasonAccountUnnamed, codeServerError, textError,
			"the claim "+u.config.SubjectClaim+" is missing or not a string")
	case len(subject) > maxSubjectBytes || !utf8.ValidString(subject) || strings.ContainsFunc(subject,
		func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "", refused(ReasonAccountUnnamed, codeServerError, textError, "the claim "+u.config.SubjectClaim+
			" has more than "+strconv.Itoa(maxSubjectBytes)+" bytes or characters that cannot be printed")
	}
	for _, tenant := range u.tenants[issuer] {
		subject = tenant.Value + "/" + subject
	}
	return subject, nil
}

// overage returns the first claim that the rules need and that the provider left out because it has too many values.
func (u *Upstream) overage(claims token.ClaimSet) string {
	var elsewhere token.ClaimSet
	if raw, ok, _ := claims.Lookup(claimNames); ok {
		elsewhere, _ = token.ParseClaimSet(raw)
	}
	hasGroups, _, _ := claims.Lookup(claimHasGroups)
	for _, name := range u.config.rulesClaims() {
		first, _, _ := strings.Cut(name, ".")
		left := elsewhere.Has(name) || elsewhere.Has(first) || name == "groups" && isTrue(hasGroups)
		if left && !claims.Has(name) {
			return name
		}
	}
	return ""
}

// isTrue reports whether a value is true, as a boolean or a string.
func isTrue(raw json.RawMessage) bool {
	text, _ := rawjson.Text(raw)
	return string(raw) == "true" || text == "true"
}

// rulesClaims returns the claims that the rules and the required claims read.
func (c upstreamConfig) rulesClaims() []string {
	names := providers.MergeScopes(c.Required.Claims(), c.Rules.Claims())
	if slices.ContainsFunc(names, isEmailClaim) {
		names = providers.MergeScopes(names, []string{claimEmailVerified})
	}
	return names
}

// rulesDigest identifies the rules and the required claims.
func (c upstreamConfig) rulesDigest() string {
	text := c.Rules.String()
	for _, required := range c.Required {
		text += "\n" + required.String()
	}
	digest := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(digest[:12])
}

// lacks reports whether one of these claims is not there.
func lacks(claims token.ClaimSet, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return !claims.Has(name) })
}
