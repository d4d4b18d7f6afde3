package token

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// check is one rule of the verifier. Verification stops at the first that fails; an explanation goes through all.
type check struct {
	// names are the members that it looks at, the first for people.
	names func(Rules) []string
	// want says for people what is accepted.
	want func(Rules) string
	// test reports what is wrong. What it learns goes into id, which is nil for headers.
	test func(v *Verifier, members rawObject, id *providers.Identity) error
}

func named(names ...string) func(Rules) []string { return func(Rules) []string { return names } }

func words(text string) func(Rules) string { return func(Rules) string { return text } }

func headerChecks() []check {
	return []check{
		{named("crit", "b64"), words("absent"), checkExtensions},
		{named("alg"), func(r Rules) string { return fmt.Sprint(r.Algorithms) }, checkAlgorithm},
		{named("typ"), func(r Rules) string { return fmt.Sprint(r.TokenTypes) }, checkType},
	}
}

// claimChecks are in the order in which a token meets them: whose it is and for whom, when, and then what it is.
func claimChecks() []check {
	return []check{
		{named("iss"), func(r Rules) string { return oneOf(r.Issuers) }, checkIssuer},
		{named("aud"), func(r Rules) string { return oneOf(slices.Concat(r.Audiences, r.AllowedClients)) }, checkAudience},
		{named("exp"), words("a time ahead"), checkExpiry},
		{named("nbf"), words("a time past, or absent"), checkStart("nbf")},
		{named("iat"), words("a time past, or absent"), checkStart("iat")},
		{named(typeClaims...), words("an access token's, or absent"), checkTypeClaims},
		{func(r Rules) []string { return []string{r.SubjectClaim} }, words("somebody"), checkSubject},
		{requiredNames, requiredWords, checkRequiredClaims},
		{func(r Rules) []string { return r.ScopeClaims }, words("scopes"), readScopes},
		{func(r Rules) []string { return r.ClientClaims }, words("the client that the token was issued to"), readClient},
		{named("nonce", "at_hash", "c_hash"), words("absent, as in access tokens"), checkNoIDToken},
		{named("events"), words("absent"), checkNoEvents},
		{named("cnf"), words("absent"), checkNotBound},
		{allowedNames, func(r Rules) string { return oneOf(r.AllowedClients) }, checkClient},
	}
}

// checkExtensions refuses what changes how the rest must be read (RFC 7515, section 4.1.11; RFC 7797). No extension is
// understood here, and an empty crit is not allowed either.
func checkExtensions(_ *Verifier, header rawObject, _ *providers.Identity) error {
	for _, name := range []string{"crit", "b64"} {
		if header.has(name) {
			return providers.Invalidf(providers.HeaderRefused, "the header has %q", name)
		}
	}
	return nil
}

func checkAlgorithm(v *Verifier, header rawObject, _ *providers.Identity) error {
	alg, err := header.str("alg")
	if err != nil || !slices.Contains(v.rules.Algorithms, jose.SignatureAlgorithm(alg)) {
		return providers.Invalidf(providers.AlgorithmRefused, "alg is %s, accepted are %v", quoted(alg), v.rules.Algorithms)
	}
	return nil
}

func checkType(v *Verifier, header rawObject, _ *providers.Identity) error {
	typ, err := header.str("typ")
	if err != nil {
		return providers.Invalidf(providers.TypeRefused, "typ is not a string")
	}
	kind := strings.TrimPrefix(strings.ToLower(typ), "application/")
	present := header.has("typ")
	if !present {
		kind = AbsentType
	}
	if !slices.Contains(v.rules.TokenTypes, kind) || present && kind == AbsentType {
		return providers.Invalidf(providers.TypeRefused, "typ is %s, accepted are %v", quoted(kind), v.rules.TokenTypes)
	}
	return nil
}

func checkIssuer(v *Verifier, claims rawObject, id *providers.Identity) error {
	issuer, err := claims.str("iss")
	if err != nil {
		return providers.Invalidf(providers.ClaimsMalformed, "iss: %v", err)
	}
	if issuer == "" || !slices.Contains(v.rules.Issuers, issuer) {
		return providers.Invalidf(providers.IssuerMismatch, "iss is %s, accepted are %q", quoted(issuer), v.rules.Issuers)
	}
	id.Issuer = issuer
	return nil
}

func checkAudience(v *Verifier, claims rawObject, id *providers.Identity) error {
	audience, err := claims.strs("aud")
	if err != nil {
		return providers.Invalidf(providers.ClaimsMalformed, "aud: %v", err)
	}
	if !v.acceptsAudience(audience) {
		return providers.Invalidf(providers.AudienceMismatch, "aud is %s, accepted are %q", quotedList(audience), v.accepted)
	}
	id.Audience = audience
	return nil
}

func (v *Verifier) acceptsAudience(values []string) bool {
	if len(values) == 0 {
		return len(v.rules.AllowedClients) > 0
	}
	return slices.ContainsFunc(values, func(got string) bool {
		return slices.Contains(v.rules.AllowedClients, got) ||
			slices.ContainsFunc(v.audiences, func(ours audience) bool { return ours.is(got) })
	})
}

// checkExpiry applies RFC 7519, section 4.1.4.
func checkExpiry(v *Verifier, claims rawObject, id *providers.Identity) error {
	now := v.rules.Now()
	expiry, ok, err := claims.time("exp")
	switch {
	case err != nil:
		return providers.Invalidf(providers.ClaimsMalformed, "exp: %v", err)
	case !ok && v.rules.WithoutExpiry > 0:
		// Both times are of this clock: no leeway.
		id.Expiry = now.Add(v.rules.WithoutExpiry)
		id.ExpiryWithLeeway = id.Expiry
		return nil
	case !ok:
		return providers.Invalidf(providers.ExpiryMissing, "the token has no exp")
	case !now.Before(expiry.Add(v.rules.Leeway)):
		return providers.Invalidf(providers.TokenExpired, "it expired %s ago", now.Sub(expiry).Round(time.Second))
	}
	id.Expiry = expiry
	return nil
}

// checkStart applies RFC 7519, sections 4.1.5 and 4.1.6.
func checkStart(name string) func(*Verifier, rawObject, *providers.Identity) error {
	return func(v *Verifier, claims rawObject, _ *providers.Identity) error {
		now := v.rules.Now()
		start, ok, err := claims.time(name)
		if err != nil {
			return providers.Invalidf(providers.ClaimsMalformed, "%s: %v", name, err)
		}
		if ok && start.After(now.Add(v.rules.Leeway)) {
			return providers.Invalidf(providers.TokenNotYetValid, "%s is %s ahead", name, start.Sub(now).Round(time.Second))
		}
		return nil
	}
}

func checkSubject(v *Verifier, claims rawObject, id *providers.Identity) error {
	subject, err := claims.firstString([]string{v.rules.SubjectClaim})
	if err != nil {
		return providers.Invalidf(providers.ClaimsMalformed, "%v", err)
	}
	if strings.TrimSpace(subject) == "" {
		return providers.Invalidf(providers.SubjectMissing, "%q names nobody", v.rules.SubjectClaim)
	}
	if !wellFormed(subject) {
		return providers.Invalidf(providers.ClaimsMalformed, "%q has half a character in it", v.rules.SubjectClaim)
	}
	id.Subject = subject
	return nil
}

func checkRequiredClaims(v *Verifier, claims rawObject, id *providers.Identity) error {
	for _, required := range slices.Concat(v.rules.RequiredClaims, v.rules.IssuerClaims[id.Issuer]) {
		if !required.metBy(claims) {
			got, _, _ := claims.lookup(required.Name)
			return providers.Invalidf(providers.ClaimMismatch, "%s is %s, it must be %q", required.Name, quotedValue(got), required.Value)
		}
	}
	return nil
}

func requiredNames(r Rules) []string {
	var names []string
	for _, required := range r.RequiredClaims {
		names = append(names, required.Name)
	}
	for _, claims := range r.IssuerClaims {
		for _, required := range claims {
			if !slices.Contains(names, required.Name) {
				names = append(names, required.Name)
			}
		}
	}
	return names
}

func requiredWords(r Rules) string {
	var values []string
	for _, required := range r.RequiredClaims {
		values = append(values, required.Name+"="+required.Value)
	}
	if len(r.IssuerClaims) > 0 {
		values = append(values, "the tenant of iss")
	}
	return strings.Join(values, ", ")
}

// readScopes leaves Scopes nil if there is no scope claim at all.
func readScopes(v *Verifier, claims rawObject, id *providers.Identity) error {
	scopes, present, err := claims.firstScopes(v.rules.ScopeClaims)
	if err != nil {
		return providers.Invalidf(providers.ClaimsMalformed, "%v", err)
	}
	if present {
		id.Scopes = append([]string{}, scopes...) // not nil
	}
	return nil
}

func readClient(v *Verifier, claims rawObject, id *providers.Identity) error {
	client, err := claims.firstString(v.rules.ClientClaims)
	if err != nil {
		return providers.Invalidf(providers.ClaimsMalformed, "%v", err)
	}
	if !wellFormed(client) {
		return providers.Invalidf(providers.ClaimsMalformed, "the client has half a character in its name")
	}
	id.Client = client
	return nil
}

func allowedNames(r Rules) []string {
	if len(r.AllowedClients) == 0 {
		return nil
	}
	return r.ClientClaims
}

// checkNoIDToken refuses what is signed by the same issuer and says who signed in, but opens nothing. c_hash,
// the hash of an authorization code, is in ID tokens only (OpenID Connect Core, section 3.3.2.11), also where
// access tokens have nonce and at_hash.
func checkNoIDToken(v *Verifier, claims rawObject, id *providers.Identity) error {
	if _, present := claims.claim("c_hash"); present {
		return providers.Invalidf(providers.IDToken, "it has \"c_hash\", as only ID tokens have")
	}
	if v.rules.AllowIDTokens {
		return nil
	}
	for _, name := range []string{"nonce", "at_hash"} {
		if _, present := claims.claim(name); present {
			return providers.Invalidf(providers.IDToken, "it has %q, as ID tokens have", name)
		}
	}
	// RFC 9068, section 2.2 requires client_id. An ID token without nonce and hashes looks like this.
	if id.Client == "" && id.Scopes == nil && !v.rules.namesTokenType() {
		return providers.Invalidf(providers.IDToken, "it names neither a client nor scopes, as access tokens do")
	}
	return nil
}

func checkNoEvents(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if _, present := claims.claim("events"); present {
		return providers.Invalidf(providers.TypeRefused, "it has \"events\", as logout and other security event tokens have (RFC 8417)")
	}
	return nil
}

func checkNotBound(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if _, present := claims.claim("cnf"); present {
		return providers.Invalidf(providers.SenderConstrained, "it has \"cnf\", and proof of possession is not supported")
	}
	return nil
}

func checkClient(v *Verifier, _ rawObject, id *providers.Identity) error {
	if len(v.rules.AllowedClients) > 0 && !slices.Contains(v.rules.AllowedClients, id.Client) {
		return providers.Invalidf(providers.ClientRefused, "the client is %s, allowed are %q", quoted(id.Client), v.rules.AllowedClients)
	}
	return nil
}

func oneOf(values []string) string { return strings.Join(values, " or ") }
