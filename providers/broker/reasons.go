package broker

import (
	"slices"

	"gatehouse/providers"
)

// The reasons for which a person cannot sign in at the provider, or a sign-in ends; [Reasons] documents them.
const (
	ReasonProviderUnavailable    providers.Reason = "provider_unavailable"
	ReasonProviderDenied         providers.Reason = "provider_denied"
	ReasonProviderError          providers.Reason = "provider_error"
	ReasonProviderIssuerMismatch providers.Reason = "provider_issuer_mismatch"
	ReasonProviderCodeRefused    providers.Reason = "provider_code_refused"
	ReasonProviderClientRefused  providers.Reason = "provider_client_refused"
	ReasonIDTokenInvalid         providers.Reason = "id_token_invalid"
	ReasonAccountUnnamed         providers.Reason = "account_unnamed"
	ReasonAccountOverage         providers.Reason = "account_overage"
	ReasonAccountGone            providers.Reason = "account_gone"
	ReasonRulesChanged           providers.Reason = "rules_changed"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc { return slices.Concat(signInReasons(), assertionReasons()) }

func signInReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonProviderUnavailable, Meaning: "the provider at which people sign in could not be reached, or its " +
			"response cannot be used; nothing ends"},
		{Code: ReasonProviderDenied, Meaning: "the provider did not let the person sign in (`access_denied`, or " +
			"interaction is required)"},
		{Code: ReasonProviderError, Meaning: "the provider answered the sign-in with another error; the log line has the " +
			"details"},
		{Code: ReasonProviderIssuerMismatch, Meaning: "the response of a sign-in is not that of the provider: `iss` is " +
			"missing or has another value (RFC 9207)"},
		{Code: ReasonProviderCodeRefused, Meaning: "the provider refused the code of a sign-in: it has expired, was used " +
			"before, or belongs to another sign-in"},
		{Code: ReasonProviderClientRefused, Meaning: "the provider refuses `provider.client_id` or its secret: the " +
			"operator must act; nothing ends"},
		{Code: ReasonIDTokenInvalid, Meaning: "the ID token is missing or invalid: signature, `iss`, `aud`, `azp`, `exp`, " +
			"`iat`, `nonce` or `at_hash`"},
		{Code: ReasonAccountUnnamed, Meaning: "there is no usable `provider.subject_claim`"},
		{Code: ReasonAccountOverage, Meaning: "the provider left out a claim that the rules need, because the account has " +
			"too many groups (`_claim_names`); use app roles"},
		{Code: ReasonAccountGone, Meaning: "at a refresh, the provider said that the person must sign in again, or may " +
			"not; the sign-in ends"},
		{Code: ReasonRulesChanged, Meaning: "`provider.scope_rules` or `provider.required_claims` have changed since the " +
			"sign-in, and the provider does not say the claims again at a refresh; the sign-in ends"},
	}
}
