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
		{Code: ReasonOpaque, Meaning: "the token is not a JWT; `provider.introspection` enables " +
			"introspection of such tokens"},
		{Code: ReasonMalformed, Meaning: "the token is not a compact JWS whose payload is a JSON object " +
			"(RFC 7515, section 7.1)"},
		{Code: ReasonHeaderRefused, Meaning: "the header has `crit` or `b64`, which change how the token " +
			"must be read"},
		{Code: ReasonAlgorithmRefused, Meaning: "`alg` is not an accepted algorithm (RFC 8725, section 3.1)"},
		{Code: ReasonTypeRefused, Meaning: "the header `typ` is not that of an access token (RFC 9068, section 4), or " +
			"a claim identifies a refresh, ID or logout token"},
		{Code: ReasonClaimsMalformed, Meaning: "a claim has the wrong type, is repeated, or differs from a " +
			"known claim only in case; there are more than 256 claims; or the subject or client has a " +
			"lone surrogate"},
		{Code: ReasonIssuerMismatch, Meaning: "`iss` is not the configured issuer, byte for byte"},
		{Code: ReasonAudienceMismatch, Meaning: "`aud` does not contain this resource (RFC 8707)"},
		{Code: ReasonExpired, Meaning: "`exp` is in the past"},
		{Code: ReasonExpiryMissing, Meaning: "there is no `exp`; with `provider.introspection_without_exp` " +
			"an introspection response without it is accepted"},
		{Code: ReasonNotYetValid, Meaning: "`nbf` or `iat` is in the future: compare the clocks"},
		{Code: ReasonSubjectMissing, Meaning: "there is no `sub`"},
		{Code: ReasonIDToken, Meaning: "the token is an ID token, which identifies a user to a client, and " +
			"not an access token"},
		{Code: ReasonClaimMismatch, Meaning: "a claim of `provider.required_claims`, or the tenant, is missing or " +
			"has another value"},
		{Code: ReasonClientRefused, Meaning: "the token was issued to a client that is not in `provider.allowed_clients`"},
		{Code: ReasonSenderConstrained, Meaning: "the token is bound to a key (`cnf`), and a bearer request does not " +
			"prove possession of it"},
		{Code: ReasonKeyUnknown, Meaning: "the issuer publishes no key with that id and algorithm, or only " +
			"one for another use or issuer"},
		{Code: ReasonSignatureInvalid, Meaning: "the signature does not verify"},
		{Code: ReasonInactive, Meaning: "according to the issuer, the token is not active (RFC 7662)"},
	}
}
