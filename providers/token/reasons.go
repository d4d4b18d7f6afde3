package token

import "gatehouse/providers"

// The reasons for which a token is rejected; [Reasons] documents them.
const (
	ReasonTooLong           providers.Reason = "token_too_long"
	ReasonOpaque            providers.Reason = "token_opaque"
	ReasonMalformed         providers.Reason = "token_malformed"
	ReasonHeaderRefused     providers.Reason = "header_refused"
	ReasonAlgorithmRefused  providers.Reason = "algorithm_refused"
	ReasonTypeRefused       providers.Reason = "type_refused"
	ReasonClaimsMalformed   providers.Reason = "claims_malformed"
	ReasonIssuerMismatch    providers.Reason = "issuer_mismatch"
	ReasonAudienceMismatch  providers.Reason = "audience_mismatch"
	ReasonExpired           providers.Reason = "token_expired"
	ReasonExpiryMissing     providers.Reason = "expiry_missing"
	ReasonNotYetValid       providers.Reason = "token_not_yet_valid"
	ReasonSubjectMissing    providers.Reason = "subject_missing"
	ReasonIDToken           providers.Reason = "id_token"
	ReasonClaimMismatch     providers.Reason = "claim_mismatch"
	ReasonClientRefused     providers.Reason = "client_refused"
	ReasonSenderConstrained providers.Reason = "sender_constrained"
	ReasonKeyUnknown        providers.Reason = "key_unknown"
	ReasonSignatureInvalid  providers.Reason = "signature_invalid"
	ReasonInactive          providers.Reason = "token_inactive"
)

// Reasons returns the reasons of this package, with their meanings, in the order of the checks.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonTooLong, Meaning: "the token is longer than `provider.max_token_bytes`"},
		{Code: ReasonOpaque, Meaning: "the token is not a JWT; with `provider.introspection` the issuer is asked about it"},
		{Code: ReasonMalformed, Meaning: "the token is not a compact JWS with a JSON object inside (RFC 7515, section 7.1)"},
		{Code: ReasonHeaderRefused, Meaning: "`crit`, `b64` or another header that changes how the token must be read"},
		{Code: ReasonAlgorithmRefused, Meaning: "`alg` is not on the list (RFC 8725, section 3.1)"},
		{Code: ReasonTypeRefused, Meaning: "the header `typ` is not that of an access token (RFC 9068, section 4), or " +
			"a claim identifies a refresh, ID or logout token"},
		{Code: ReasonClaimsMalformed, Meaning: "a claim of the wrong type, repeated, or in another case; more than " +
			"256 claims; or a lone surrogate in the subject or client"},
		{Code: ReasonIssuerMismatch, Meaning: "`iss` is not the configured issuer, byte for byte"},
		{Code: ReasonAudienceMismatch, Meaning: "`aud` does not contain this resource (RFC 8707)"},
		{Code: ReasonExpired, Meaning: "`exp` is past"},
		{Code: ReasonExpiryMissing, Meaning: "there is no `exp`; `provider.introspection_without_exp` accepts an " +
			"introspection response without it"},
		{Code: ReasonNotYetValid, Meaning: "`nbf` or `iat` is in the future: compare the clocks"},
		{Code: ReasonSubjectMissing, Meaning: "there is no `sub`"},
		{Code: ReasonIDToken, Meaning: "an ID token, which identifies a user to a client and is no access token"},
		{Code: ReasonClaimMismatch, Meaning: "a claim of `provider.required_claims`, or the tenant, is missing or " +
			"has another value"},
		{Code: ReasonClientRefused, Meaning: "the token was issued to a client that is not in `provider.allowed_clients`"},
		{Code: ReasonSenderConstrained, Meaning: "the token is bound to a key (`cnf`), and a bearer request does not " +
			"prove possession of it"},
		{Code: ReasonKeyUnknown, Meaning: "the issuer publishes no key with that id and algorithm, or only one that " +
			"is not for such tokens"},
		{Code: ReasonSignatureInvalid, Meaning: "the signature does not verify"},
		{Code: ReasonInactive, Meaning: "according to the issuer, the token is not active (RFC 7662)"},
	}
}
