package token

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/providers"
)

// Hint is one explanation of why a token is refused, and what to do about it.
type Hint struct{ Cause, Fix string }

// Hints returns explanations of a refusal, the likeliest first. A cause that makes others follow stands before them: an
// ID token is for another audience too, but that is not what is wrong with it.
func (e Explanation) Hints() []Hint {
	var hints []Hint
	for _, guess := range []func(Explanation) (Hint, bool){
		guessOpaque, guessExpired, guessOtherToken, guessIDToken, guessSlash, guessIssuer, guessNoAudience, guessOtherResource,
		guessClock, guessNoExpiry, guessType, guessIntrospectedType, guessTenant, guessBound, guessKey, guessSignature,
	} {
		if hint, ok := guess(e); ok {
			hints = append(hints, hint)
		}
	}
	if len(hints) == 0 && !e.OK() {
		first := e.Findings[slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Reason != "" })]
		hints = append(hints, Hint{Cause: first.Detail, Fix: "see " + string(first.Reason) + " in server/README.md"})
	}
	return hints
}

func (e Explanation) failed(reasons ...providers.Reason) bool {
	return slices.ContainsFunc(e.Findings, func(f Finding) bool { return slices.Contains(reasons, f.Reason) && f.Reason != "" })
}

func (e Explanation) str(name string) string {
	text, _ := e.claims.str(name)
	return text
}

func guessOpaque(e Explanation) (Hint, bool) {
	return Hint{"it is an opaque token: only the issuer can say what it is for",
			"have the provider issue JWTs for this resource (at Auth0, Zitadel, Clerk and Logto by naming the API or switching them on), or set provider.introspection to opaque"},
		e.failed(providers.TokenOpaque)
}

func guessExpired(e Explanation) (Hint, bool) {
	return Hint{"it has expired", "sign in again; if fresh tokens are refused too, compare the clocks of the issuer and of this computer"}, e.failed(providers.TokenExpired)
}

// guessIDToken looks for what ID tokens have, whatever the guard is set to: an audience that is the client. What has no end
// is no ID token either.
func guessIDToken(e Explanation) (Hint, bool) {
	audience, _ := e.claims.strs("aud")
	azp := e.str("azp")
	forItsClient := e.failed(providers.AudienceMismatch) && len(audience) == 1 && azp != "" && audience[0] == azp
	says := slices.Contains([]string{"id", "idtoken", "serializedid"}, e.ownType())
	return Hint{"it is an ID token, which says who signed in and opens nothing", "send the access token that came beside it"},
		e.failed(providers.IDToken) && !e.failed(providers.ExpiryMissing) || !e.OK() && (forItsClient || says)
}

// ownType is what the token calls itself, as [normalizeType] writes it, if that is not an access token; empty
// otherwise.
func (e Explanation) ownType() string {
	_, value, _ := e.claims.otherType()
	return normalizeType(value)
}

// guessOtherToken names tokens other than ID tokens that are no access tokens, by what they say of
// themselves.
func guessOtherToken(e Explanation) (Hint, bool) {
	const fix = "send the access token of the same token response"
	_, isEvent := e.claims.claim("events")
	switch own := e.ownType(); {
	case strings.HasPrefix(own, "refresh") || own == "offline":
		return Hint{"it is a refresh token, which is for the provider's token endpoint only", fix}, true
	case strings.HasPrefix(own, "logout") || isEvent && e.failed(providers.TypeRefused):
		return Hint{"it is a logout or security event token, which tells a client what happened and opens nothing", fix}, true
	}
	return Hint{}, false
}

func guessSlash(e Explanation) (Hint, bool) {
	issuer := e.str("iss")
	if e.failed(providers.IssuerMismatch) {
		for _, want := range e.rules.Issuers {
			if strings.TrimSuffix(want, "/") == strings.TrimSuffix(issuer, "/") {
				return Hint{fmt.Sprintf("its issuer differs from the configured one only by a slash at the end: %s, want %s", providers.Quote(issuer), providers.Quote(want)),
					"write the issuer exactly as the tokens have it"}, true
			}
		}
	}
	audience, _ := e.claims.strs("aud")
	if e.failed(providers.AudienceMismatch) {
		for _, got := range audience {
			for _, want := range e.rules.Audiences {
				if strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/") {
					return Hint{fmt.Sprintf("its audience differs from the accepted one only by a slash at the end: %s, want %s", providers.Quote(got), providers.Quote(want)),
						"register the resource at the provider exactly as it is spelled here, or spell resource as it is registered there"}, true
				}
			}
		}
	}
	return Hint{}, false
}

func guessIssuer(e Explanation) (Hint, bool) {
	_, slash := guessSlash(e)
	issuer := e.str("iss")
	hint := Hint{fmt.Sprintf("it is from another issuer: %s, accepted are %s", providers.Quote(issuer), QuoteEach(e.rules.Issuers)),
		"if that is the same provider under an older or a custom address, configure the issuer that its tokens name; if not, the client signed in somewhere else"}
	return hint, e.failed(providers.IssuerMismatch) && !slash
}

func guessNoAudience(e Explanation) (Hint, bool) {
	audience, _ := e.claims.strs("aud")
	return Hint{"it has no audience: nothing says that it is meant for this server",
			"let the provider put " + QuoteEach(e.rules.Audiences) + " into aud (at Keycloak by an audience mapper, at others by the resource or audience parameter); a provider that cannot needs provider.audience_mode=client_allow_list"},
		e.failed(providers.AudienceMismatch) && len(audience) == 0
}

func guessOtherResource(e Explanation) (Hint, bool) {
	audience, _ := e.claims.strs("aud")
	_, id := guessIDToken(e)
	_, slash := guessSlash(e)
	return Hint{fmt.Sprintf("it is meant for something else: %s, accepted are %s", QuoteEach(audience), QuoteEach(e.rules.Audiences)),
			"get a token for this resource; if your provider names it so, add that to provider.audiences"},
		e.failed(providers.AudienceMismatch) && len(audience) > 0 && !id && !slash
}

func guessClock(e Explanation) (Hint, bool) {
	return Hint{"it is from the future", "compare the clocks of the issuer and of this computer"}, e.failed(providers.TokenNotYetValid)
}

// guessNoExpiry tells JWTs, whose end is all that limits them, from tokens that the provider itself calls
// active.
func guessNoExpiry(e Explanation) (Hint, bool) {
	if e.header == nil {
		return Hint{"the provider says that it is active, and not until when",
				"have the provider add exp to its introspection answers, or set provider.introspection_without_exp: " +
					"then an answer is good for provider.introspection_cache"},
			e.failed(providers.ExpiryMissing)
	}
	return Hint{"it has no exp, so that it would be good for ever", "have the provider issue access tokens that end"}, e.failed(providers.ExpiryMissing)
}

// guessIntrospectedType is about answers that name a type of their own, such as DPoP.
func guessIntrospectedType(e Explanation) (Hint, bool) {
	i := slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Reason == providers.TypeRefused })
	if _, known := guessOtherToken(e); known || e.header != nil || e.ownType() != "" || i < 0 {
		return Hint{}, false
	}
	return Hint{"the provider does not call it a bearer access token: " + e.Findings[i].Detail,
		"have the provider issue bearer tokens to this client, without DPoP or certificates"}, true
}

func guessType(e Explanation) (Hint, bool) {
	typ, err := e.header.str("typ")
	present := e.header.has("typ")
	name := typ
	if !present {
		name = AbsentType
	}
	return Hint{fmt.Sprintf("its typ is %s, which is not accepted for access tokens here", providers.Quote(name)),
			fmt.Sprintf("if the provider's access tokens are all like this one, add %s to provider.token_types, with a required claim that tells them from ID tokens", providers.Quote(name))},
		e.failed(providers.TypeRefused) && e.header != nil && err == nil && !slices.Contains(e.rules.TokenTypes, strings.TrimPrefix(strings.ToLower(name), "application/"))
}

// guessTenant knows issuer templates whose braces name no claim of the tokens. Microsoft Entra's metadata write {tenantid},
// and its tokens have tid.
func guessTenant(e Explanation) (Hint, bool) {
	if !e.failed(providers.ClaimMismatch) {
		return Hint{}, false
	}
	for _, required := range e.rules.IssuerClaims[e.str("iss")] {
		if e.claims.has(required.Name) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(e.claims.members())) {
			if e.str(name) == required.Value {
				return Hint{fmt.Sprintf("provider.issuer names the claim %s in its braces, which the token does not have; its claim %s has the tenant", providers.Quote(required.Name), providers.Quote(name)),
					fmt.Sprintf("write {%s} in provider.issuer", quotedUnlessPlain(name))}, true
			}
		}
	}
	return Hint{}, false
}

func guessBound(e Explanation) (Hint, bool) {
	return Hint{"it is signed by a key that the provider binds to another issuer than the token names",
			"if the provider's metadata name that issuer, and its tokens are right to name another, write it in provider.discovery_issuer (at Microsoft Entra, tokens of version 1.0 with keys of version 2.0); if not, the token is from another tenant or cloud"},
		e.signedBy(keyBound)
}

func guessKey(e Explanation) (Hint, bool) {
	return Hint{"it is signed by a key that the issuer does not publish",
		"is it from another environment of the same provider? After a rotation, sign in again"}, e.failed(providers.KeyUnknown) && !e.signedBy(keyBound) && !e.signedBy(keyUnfit)
}

// signedBy reports whether the signature was refused with a detail of that form.
func (e Explanation) signedBy(format string) bool {
	return slices.ContainsFunc(e.Findings, func(f Finding) bool { return f.Reason == providers.KeyUnknown && strings.Contains(f.Detail, format) })
}

func guessSignature(e Explanation) (Hint, bool) {
	return Hint{"it was changed after it was signed, or signed by somebody else under the id of one of the issuer's keys",
		"get it anew from the provider, and look whether something on the way cuts or rewrites it"}, e.failed(providers.SignatureInvalid)
}
