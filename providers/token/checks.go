package token

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// check is one check of the verifier. Verification stops at the first that fails; an explanation applies all.
type check struct {
	// names are the members that it reads. An explanation shows the first, or the one that is present.
	names func(Rules) []string
	// want describes the accepted values.
	want func(Rules) string
	// test returns why the token is refused, or nil. It stores what it reads in id, which is nil for headers.
	test func(v *Verifier, members rawObject, id *providers.Identity) error
}

func members(names ...string) func(Rules) []string { return func(Rules) []string { return names } }

func fixed(text string) func(Rules) string { return func(Rules) string { return text } }

func headerChecks() []check {
	return []check{
		{members("crit", "b64"), fixed("absent"), checkExtensions},
		{members("alg"), func(r Rules) string { return fmt.Sprint(r.Algorithms) }, checkAlgorithm},
		{members("typ"), func(r Rules) string { return fmt.Sprint(r.TokenTypes) }, checkType},
	}
}

// claimChecks returns the checks in the order of verification: issuer and audience, times, type, and then
// content.
func claimChecks() []check {
	return []check{
		{members("iss"), func(r Rules) string { return oneOf(r.Issuers) }, checkIssuer},
		{members("aud"), func(r Rules) string { return oneOf(slices.Concat(r.Audiences, r.AllowedClients)) },
			checkAudience},
		{members("exp"), fixed("a time in the future"), checkExpiry},
		{members("nbf"), fixed("a time in the past, or absent"), checkNotBefore},
		{members("iat"), fixed("a time in the past, or absent"), checkIssuedAt},
		{members(typeClaims...), fixed("that of an access token, or absent"), checkTypeClaims},
		{func(r Rules) []string { return []string{r.SubjectClaim} }, fixed("a caller"), checkSubject},
		{requiredNames, requiredWords, checkRequiredClaims},
		{func(r Rules) []string { return r.ScopeClaims }, fixed("scopes"), readScopes},
		{func(r Rules) []string { return r.ClientClaims }, fixed("the client that the token was issued to"),
			readClient},
		{members("nonce", "at_hash", "c_hash"), fixed("absent, as in access tokens"), checkNoIDToken},
		{members("events"), fixed("absent"), checkNoEvents},
		{members("cnf"), fixed("absent"), checkNotBound},
		{allowedNames, func(r Rules) string { return oneOf(r.AllowedClients) }, checkClient},
	}
}

// checkExtensions refuses headers that change the meaning of the rest (RFC 7515, section 4.1.11; RFC 7797).
// No extension is supported, and an empty crit is not allowed either.
func checkExtensions(_ *Verifier, header rawObject, _ *providers.Identity) error {
	for _, name := range []string{"crit", "b64"} {
		if header.has(name) {
			return providers.Invalidf(ReasonHeaderRefused, "the header has %q", name)
		}
	}
	return nil
}

func checkAlgorithm(v *Verifier, header rawObject, _ *providers.Identity) error {
	alg, err := header.str("alg")
	if err != nil || !slices.Contains(v.rules.Algorithms, jose.SignatureAlgorithm(alg)) {
		return providers.Invalidf(ReasonAlgorithmRefused, "alg is %s, accepted are %v", quoted(alg),
			v.rules.Algorithms)
	}
	return nil
}

func checkType(v *Verifier, header rawObject, _ *providers.Identity) error {
	typ, err := header.str("typ")
	if err != nil {
		return providers.Invalidf(ReasonTypeRefused, "typ is not a string")
	}
	kind := strings.TrimPrefix(strings.ToLower(typ), "application/")
	present := header.has("typ")
	if !present {
		kind = AbsentType
	}
	if !slices.Contains(v.rules.TokenTypes, kind) || present && kind == AbsentType {
		return providers.Invalidf(ReasonTypeRefused, "typ is %s, accepted are %v", quoted(kind),
			v.rules.TokenTypes)
	}
	return nil
}

func checkIssuer(v *Verifier, claims rawObject, id *providers.Identity) error {
	issuer, err := claims.str("iss")
	if err != nil {
		return providers.Invalidf(ReasonClaimsMalformed, "iss: %v", err)
	}
	if issuer == "" || !slices.Contains(v.rules.Issuers, issuer) {
		return providers.Invalidf(ReasonIssuerMismatch, "iss is %s, accepted are %q", quoted(issuer),
			v.rules.Issuers)
	}
	id.Issuer = issuer
	return nil
}

func checkAudience(v *Verifier, claims rawObject, id *providers.Identity) error {
	audience, err := claims.strs("aud")
	if err != nil {
		return providers.Invalidf(ReasonClaimsMalformed, "aud: %v", err)
	}
	if !v.acceptsAudience(audience) {
		return providers.Invalidf(ReasonAudienceMismatch, "aud is %s, accepted are %q", quotedList(audience),
			v.acceptedAudiences)
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
			slices.ContainsFunc(v.audiences, func(accepted audience) bool { return accepted.equals(got) })
	})
}

// checkExpiry applies RFC 7519, section 4.1.4.
func checkExpiry(v *Verifier, claims rawObject, id *providers.Identity) error {
	now := v.rules.Now()
	expiry, ok, err := claims.time("exp")
	switch {
	case err != nil:
		return providers.Invalidf(ReasonClaimsMalformed, "exp: %v", err)
	case !ok && v.rules.WithoutExpiry > 0:
		// Both times are of this server's clock, so there is no leeway.
		id.Expiry = now.Add(v.rules.WithoutExpiry)
		id.ExpiryWithLeeway = id.Expiry
		return nil
	case !ok:
		return providers.Invalidf(ReasonExpiryMissing, "the token has no exp")
	case !now.Before(expiry.Add(v.rules.Leeway)):
		return providers.Invalidf(ReasonExpired, "it expired %s ago", now.Sub(expiry).Round(time.Second))
	}
	id.Expiry = expiry
	return nil
}

// checkNotBefore applies RFC 7519, section 4.1.5.
func checkNotBefore(v *Verifier, claims rawObject, _ *providers.Identity) error {
	_, err := startTime(v, claims, "nbf")
	return err
}

// checkIssuedAt applies RFC 7519, section 4.1.6.
func checkIssuedAt(v *Verifier, claims rawObject, id *providers.Identity) (err error) {
	id.IssuedAt, err = startTime(v, claims, "iat")
	return err
}

// startTime returns the time in a claim, which must be in the past. It is the zero time if there is none.
func startTime(v *Verifier, claims rawObject, name string) (time.Time, error) {
	now := v.rules.Now()
	start, ok, err := claims.time(name)
	if err != nil {
		return time.Time{}, providers.Invalidf(ReasonClaimsMalformed, "%s: %v", name, err)
	}
	if ok && start.After(now.Add(v.rules.Leeway)) {
		return time.Time{}, providers.Invalidf(ReasonNotYetValid, "%s is %s in the future", name,
			start.Sub(now).Round(time.Second))
	}
	return start, nil
}

func checkSubject(v *Verifier, claims rawObject, id *providers.Identity) error {
	subject, err := claims.firstString([]string{v.rules.SubjectClaim})
	if err != nil {
		return providers.Invalidf(ReasonClaimsMalformed, "%v", err)
	}
	if strings.TrimSpace(subject) == "" {
		return providers.Invalidf(ReasonSubjectMissing, "%q is missing or empty", v.rules.SubjectClaim)
	}
	if !wellFormed(subject) {
		return providers.Invalidf(ReasonClaimsMalformed, "%q contains a lone surrogate or U+FFFD",
			v.rules.SubjectClaim)
	}
	id.Subject = subject
	return nil
}

func checkRequiredClaims(v *Verifier, claims rawObject, id *providers.Identity) error {
	for _, required := range slices.Concat(v.rules.RequiredClaims, v.rules.IssuerClaims[id.Issuer]) {
		if !required.metBy(claims) {
			got, _, _ := claims.lookup(required.Name)
			return providers.Invalidf(ReasonClaimMismatch, "%s is %s, it must be %q", required.Name,
				quotedValue(got), required.Value)
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

// readScopes sets Scopes, or leaves it nil if the token has no scope claim.
func readScopes(v *Verifier, claims rawObject, id *providers.Identity) error {
	scopes, present, err := claims.firstScopes(v.rules.ScopeClaims)
	if err != nil {
		return providers.Invalidf(ReasonClaimsMalformed, "%v", err)
	}
	if present {
		id.Scopes = append([]string{}, scopes...) // not nil
	}
	return nil
}

func readClient(v *Verifier, claims rawObject, id *providers.Identity) error {
	client, err := claims.firstString(v.rules.ClientClaims)
	if err != nil {
		return providers.Invalidf(ReasonClaimsMalformed, "%v", err)
	}
	if !wellFormed(client) {
		return providers.Invalidf(ReasonClaimsMalformed, "the client contains a lone surrogate or U+FFFD")
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

// checkNoIDToken refuses ID tokens, which the same issuer signs. c_hash, the hash of an authorization code,
// is in ID tokens only (OpenID Connect Core, section 3.3.2.11), also where access tokens have nonce and
// at_hash.
func checkNoIDToken(v *Verifier, claims rawObject, id *providers.Identity) error {
	if _, present := claims.claim("c_hash"); present {
		return providers.Invalidf(ReasonIDToken, "it has \"c_hash\", which only ID tokens have")
	}
	if v.rules.AllowIDTokens {
		return nil
	}
	for _, name := range []string{"nonce", "at_hash"} {
		if _, present := claims.claim(name); present {
			return providers.Invalidf(ReasonIDToken, "it has %q, which ID tokens have", name)
		}
	}
	// RFC 9068, section 2.2 requires client_id. An ID token may have neither nonce nor hashes.
	if id.Client == "" && id.Scopes == nil && !v.rules.namesTokenType() {
		return providers.Invalidf(ReasonIDToken, "it names neither a client nor scopes; access tokens name "+
			"at least one of them")
	}
	return nil
}

func checkNoEvents(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if _, present := claims.claim("events"); present {
		return providers.Invalidf(ReasonTypeRefused,
			"it has \"events\", which logout and other security event tokens have (RFC 8417)")
	}
	return nil
}

func checkNotBound(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if _, present := claims.claim("cnf"); present {
		return providers.Invalidf(ReasonSenderConstrained,
			"it has \"cnf\", and proof of possession is not supported")
	}
	return nil
}

func checkClient(v *Verifier, _ rawObject, id *providers.Identity) error {
	if len(v.rules.AllowedClients) > 0 && !slices.Contains(v.rules.AllowedClients, id.Client) {
		return providers.Invalidf(ReasonClientRefused, "the client is %s, allowed are %q", quoted(id.Client),
			v.rules.AllowedClients)
	}
	return nil
}

func oneOf(values []string) string { return strings.Join(values, " or ") }
