package token

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/providers"
)

// Hint is a probable cause of a refusal, and how to fix it.
type Hint struct{ Cause, Fix string }

// Hints returns probable causes of a refusal, the most probable first. A cause comes before its consequences:
// an ID token is for another audience too, but the audience is not what is wrong with it.
func (e Explanation) Hints() []Hint {
	var hints []Hint
	for _, guess := range []func(Explanation) (Hint, bool){
		guessShape, guessExpired, guessOtherToken, guessIDToken, guessSlash, guessIssuer, guessAudience,
		guessClock, guessNoExpiry, guessAlgorithm, guessType, guessIntrospectedType, guessTenant, guessBoundKey,
		guessUnfitKey, guessUnknownKey, guessSignature,
	} {
		if hint, ok := guess(e); ok {
			hints = append(hints, hint)
		}
	}
	if len(hints) == 0 && !e.OK() {
		first := e.Findings[slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Reason != "" })]
		hints = append(hints, Hint{Cause: first.Detail, Fix: fixFor(first.Reason)})
	}
	return hints
}

func (e Explanation) failed(reasons ...providers.Reason) bool {
	return slices.ContainsFunc(e.Findings,
		func(f Finding) bool { return slices.Contains(reasons, f.Reason) && f.Reason != "" })
}

func (e Explanation) str(name string) string {
	text, _ := e.claims.str(name)
	return text
}

// guessShape names tokens that are no signed JWT by their form.
func guessShape(e Explanation) (Hint, bool) {
	if e.shape != (Hint{}) &&
		e.failed(ReasonOpaque, ReasonMalformed, ReasonInactive, ReasonAlgorithmRefused, ReasonSignatureInvalid) {
		return e.shape, true
	}
	return Hint{"it is an opaque token: only the issuer can read it", fixFor(ReasonOpaque)}, e.failed(ReasonOpaque)
}

func guessExpired(e Explanation) (Hint, bool) {
	return Hint{"it has expired", fixFor(ReasonExpired)}, e.failed(ReasonExpired)
}

// guessIDToken recognizes ID tokens whether or not provider.id_token_guard is on: their audience is the
// client. A token without expiry is not an ID token.
func guessIDToken(e Explanation) (Hint, bool) {
	audience, _ := e.claims.strs("aud")
	azp := e.str("azp")
	forItsClient := e.failed(ReasonAudienceMismatch) && len(audience) == 1 && azp != "" && audience[0] == azp
	statesType := slices.Contains([]string{"id", "idtoken", "serializedid"}, e.statedType())
	if name := e.loneIDTokenClaim(); name != "" && !statesType {
		return Hint{"it has " + name + ": it is an ID token, or the provider puts " + name + " into access tokens, too",
			"send the access token of the same token response; if this is the access token, as at Azure AD B2C and " +
				"at Keycloak before 25, set provider.id_token_guard=false, and provider.required_claims to a claim " +
				"and value that only access tokens have"}, true
	}
	return Hint{"it is an ID token, which tells a client who signed in and gives no access",
			"send the access token of the same token response"},
		e.failed(ReasonIDToken) && !e.failed(ReasonExpiryMissing) || !e.OK() && (forItsClient || statesType)
}

// loneIDTokenClaim returns the claim for which alone the token is refused as an ID token, or "": for
// everything else it would be an access token for this server, with a client or scopes.
func (e Explanation) loneIDTokenClaim() string {
	for _, f := range e.Findings {
		if f.Reason != "" && f.Reason != ReasonIDToken {
			return ""
		}
	}
	client, _ := e.claims.firstString(e.rules.ClientClaims)
	_, hasScopes, _ := e.claims.firstScopes(e.rules.ScopeClaims)
	if _, fromCode := e.claims.claim("c_hash"); fromCode || client == "" && !hasScopes || !e.failed(ReasonIDToken) {
		return ""
	}
	for _, name := range []string{"nonce", "at_hash"} {
		if _, has := e.claims.claim(name); has {
			return name
		}
	}
	return ""
}

// statedType returns the type that a claim of the token states, normalized by [normalizeType], or "" if there
// is none or it is that of an access token.
func (e Explanation) statedType() string {
	_, value, _ := e.claims.otherType()
	return normalizeType(value)
}

// guessOtherToken recognizes refresh, logout and event tokens by the type that they state.
func guessOtherToken(e Explanation) (Hint, bool) {
	const fix = "send the access token of the same token response"
	_, isEvent := e.claims.claim("events")
	switch stated := e.statedType(); {
	case strings.HasPrefix(stated, "refresh") || stated == "offline":
		return Hint{"it is a refresh token, which is for the provider's token endpoint only", fix}, true
	case strings.HasPrefix(stated, "logout") || isEvent && e.failed(ReasonTypeRefused):
		return Hint{"it is a logout or security event token, which notifies a client and gives no access", fix},
			true
	}
	return Hint{}, false
}

func guessSlash(e Explanation) (Hint, bool) {
	issuer := e.str("iss")
	if e.failed(ReasonIssuerMismatch) {
		for _, want := range e.rules.Issuers {
			if strings.TrimSuffix(want, "/") == strings.TrimSuffix(issuer, "/") {
				return Hint{fmt.Sprintf("its issuer differs from the configured one only by a slash at the end: %s, "+
					"want %s",
					providers.Quote(issuer), providers.Quote(want)), "write the issuer exactly as the tokens have it"}, true
			}
		}
	}
	audience, _ := e.claims.strs("aud")
	if e.failed(ReasonAudienceMismatch) {
		for _, got := range audience {
			for _, want := range e.rules.Audiences {
				if strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/") {
					return Hint{fmt.Sprintf("its audience differs from the accepted one only by a slash at the end: %s, "+
						"want %s",
						providers.Quote(got), providers.Quote(want)),
						"register the resource at the provider exactly as it is configured here, " +
							"or set resource to what is registered there"}, true
				}
			}
		}
	}
	return Hint{}, false
}

func guessClock(e Explanation) (Hint, bool) {
	return Hint{"it is not valid yet", fixFor(ReasonNotYetValid)}, e.failed(ReasonNotYetValid)
}

// guessNoExpiry distinguishes JWTs, which only their expiry limits, from tokens that are active at the
// provider.
func guessNoExpiry(e Explanation) (Hint, bool) {
	if e.header == nil {
		return Hint{"it is active at the provider, but the introspection response has no exp",
				"have the provider add exp to its introspection responses, or set provider.introspection_without_exp: " +
					"then a response is used for provider.introspection_cache"},
			e.failed(ReasonExpiryMissing)
	}
	return Hint{"it has no exp and would never expire", fixFor(ReasonExpiryMissing)}, e.failed(ReasonExpiryMissing)
}

// guessIntrospectedType recognizes introspection responses with another token type, such as DPoP.
func guessIntrospectedType(e Explanation) (Hint, bool) {
	i := slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Reason == ReasonTypeRefused })
	if _, known := guessOtherToken(e); known || e.header != nil || e.statedType() != "" || i < 0 {
		return Hint{}, false
	}
	return Hint{"the provider does not report it as a bearer access token: " + e.Findings[i].Detail,
		"have the provider issue bearer tokens to this client, without DPoP or certificates"}, true
}

func guessAlgorithm(e Explanation) (Hint, bool) {
	alg, err := e.header.str("alg")
	cause := "it is signed by " + providers.Quote(alg) + ", which is not accepted here"
	return Hint{cause, fixFor(ReasonAlgorithmRefused)},
		e.failed(ReasonAlgorithmRefused) && err == nil && e.shape == (Hint{})
}

func guessType(e Explanation) (Hint, bool) {
	typ, err := e.header.str("typ")
	present := e.header.has("typ")
	name := typ
	if !present {
		name = AbsentType
	}
	accepted := slices.Contains(e.rules.TokenTypes, strings.TrimPrefix(strings.ToLower(name), "application/"))
	return Hint{fmt.Sprintf("its typ is %s, which is not accepted for access tokens here",
			providers.Quote(name)),
			fmt.Sprintf("if all access tokens of the provider are like this one, add %s to provider.token_types, "+
				"with a required claim that distinguishes them from ID tokens", providers.Quote(name))},
		e.failed(ReasonTypeRefused) && e.header != nil && err == nil && !accepted
}

// guessTenant recognizes issuer templates whose braces name no claim of the tokens: Microsoft Entra's
// metadata has {tenantid}, and its tokens have tid.
func guessTenant(e Explanation) (Hint, bool) {
	if !e.failed(ReasonClaimMismatch) {
		return Hint{}, false
	}
	for _, required := range e.rules.IssuerClaims[e.str("iss")] {
		if e.claims.has(required.Name) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(e.claims.members())) {
			if e.str(name) == required.Value {
				return Hint{fmt.Sprintf("provider.issuer names the claim %s in its braces, which the token does not "+
					"have; its claim %s has the tenant", providers.Quote(required.Name), providers.Quote(name)),
					fmt.Sprintf("write {%s} in provider.issuer", quotedUnlessPlain(name))}, true
			}
		}
	}
	return Hint{}, false
}

func guessBoundKey(e Explanation) (Hint, bool) {
	return Hint{"it is signed by a key that the provider binds to another issuer than that of the token",
			"if the provider's metadata has that issuer and its tokens correctly have another, write it in " +
				"provider.discovery_issuer (at Microsoft Entra, tokens of version 1.0 with keys of version 2.0); " +
				"if not, the token is from another tenant or cloud"},
		e.keyRefused(keyBound)
}

func guessUnknownKey(e Explanation) (Hint, bool) {
	return Hint{"it is signed by a key that the issuer does not publish",
			fixFor(ReasonKeyUnknown)},
		e.failed(ReasonKeyUnknown) && !e.keyRefused(keyBound) && !e.keyRefused(keyUnfit)
}

func guessUnfitKey(e Explanation) (Hint, bool) {
	i := slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Reason == ReasonKeyUnknown })
	if !e.keyRefused(keyUnfit) || e.keyRefused(keyBound) {
		return Hint{}, false
	}
	return Hint{e.Findings[i].Detail,
		"have the provider sign tokens with a key that it publishes for signatures (use sig) by that " +
			"algorithm"}, true
}

// keyRefused reports whether the key was refused with a message that contains part.
func (e Explanation) keyRefused(part string) bool {
	return slices.ContainsFunc(e.Findings,
		func(f Finding) bool { return f.Reason == ReasonKeyUnknown && strings.Contains(f.Detail, part) })
}

func guessSignature(e Explanation) (Hint, bool) {
	return Hint{"it was changed after it was signed, or another key signed it under the id of one of the " +
			"issuer's keys",
			fixFor(ReasonSignatureInvalid)},
		e.failed(ReasonSignatureInvalid)
}
