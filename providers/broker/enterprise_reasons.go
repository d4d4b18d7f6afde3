package broker

import "gatehouse/providers"

// The reasons why an identity assertion is refused. An outage of its issuer has [providers.ReasonKeysUnavailable].
const (
	ReasonAssertionMalformed  providers.Reason = "assertion_malformed"
	ReasonAssertionType       providers.Reason = "assertion_type_refused"
	ReasonAssertionAlgorithm  providers.Reason = "assertion_algorithm_refused"
	ReasonAssertionIncomplete providers.Reason = "assertion_claim_missing"
	ReasonAssertionClaim      providers.Reason = "assertion_claim_malformed"
	ReasonAssertionIssuer     providers.Reason = "assertion_issuer_unknown"
	ReasonAssertionAudience   providers.Reason = "assertion_audience_mismatch"
	ReasonAssertionExpired    providers.Reason = "assertion_expired"
	ReasonAssertionFuture     providers.Reason = "assertion_not_yet_valid"
	ReasonAssertionLifetime   providers.Reason = "assertion_lifetime"
	ReasonAssertionBound      providers.Reason = "assertion_sender_constrained"
	ReasonAssertionSignature  providers.Reason = "assertion_signature_invalid"
)

func assertionReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonAssertionMalformed, Meaning: "an identity assertion is not a compact JWS of JSON objects, has a " +
			"member twice or in another case, or has the header `crit` or `b64`"},
		{Code: ReasonAssertionType, Meaning: "the header `typ` of an identity assertion is not `oauth-id-jag+jwt`"},
		{Code: ReasonAssertionAlgorithm, Meaning: "`alg` of an identity assertion is not an asymmetric algorithm"},
		{Code: ReasonAssertionIncomplete, Meaning: "an identity assertion lacks a claim or header that it must have"},
		{Code: ReasonAssertionClaim, Meaning: "a claim or header of an identity assertion has another type, or is too long"},
		{Code: ReasonAssertionIssuer, Meaning: "`iss` of an identity assertion is not in `provider.enterprise_issuers`"},
		{Code: ReasonAssertionAudience, Meaning: "`aud` of an identity assertion is not this authorization server alone"},
		{Code: ReasonAssertionExpired, Meaning: "an identity assertion has expired"},
		{Code: ReasonAssertionFuture, Meaning: "`iat` or `nbf` of an identity assertion is in the future: compare " +
			"the clocks"},
		{Code: ReasonAssertionLifetime, Meaning: "an identity assertion is valid for more than 5 minutes"},
		{Code: ReasonAssertionBound, Meaning: "an identity assertion is bound to a key (`cnf`), which is not supported"},
		{Code: ReasonAssertionSignature, Meaning: "no key of its issuer verifies the signature of an identity assertion"},
	}
}
