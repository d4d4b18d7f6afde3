package authserver

import "gatehouse/providers"

// The reasons why a code or refresh token is refused, or a sign-in ends.
const (
	ReasonUnknownToken     providers.Reason = "sign_in_unknown"
	ReasonOutdatedToken    providers.Reason = "refresh_token_outdated"
	ReasonRequestMismatch  providers.Reason = "token_request_mismatch"
	ReasonReplayed         providers.Reason = "sign_in_replayed"
	ReasonRevoked          providers.Reason = "sign_in_revoked"
	ReasonAccountChanged   providers.Reason = "account_changed"
	ReasonScopesNotAllowed providers.Reason = "scopes_not_allowed"
	ReasonSignInTooOld     providers.Reason = "sign_in_too_old"
	ReasonTooManySignIns   providers.Reason = "too_many_sign_ins"
	ReasonEndedByOperator  providers.Reason = "sign_in_ended_by_operator"
	ReasonRecheckPending   providers.Reason = "recheck_pending"
	ReasonRecheckFailed    providers.Reason = "recheck_failed"
	ReasonStoreUnavailable providers.Reason = "store_unavailable"
	ReasonRecordUnreadable providers.Reason = "record_unreadable"
)

func grantReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonUnknownToken, Meaning: "a code or refresh token is forged, expired or of another client, or its " +
			"sign-in has ended"},
		{Code: ReasonOutdatedToken, Meaning: "a refresh token came again within `provider.refresh_grace`, after at least " +
			"three others had replaced it; nothing ends"},
		{Code: ReasonRequestMismatch, Meaning: "a token request does not fit the authorization request (`redirect_uri`, " +
			"`code_verifier`, `resource`, `scope`); its code or refresh token stays valid"},
		{Code: ReasonReplayed, Meaning: "a code was used twice, or a replaced refresh token after its grace period: it " +
			"may have been stolen"},
		{Code: ReasonRevoked, Meaning: "the client has revoked its token"},
		{Code: ReasonAccountChanged, Meaning: "at a refresh, the provider named another person or tenant; the sign-in ends"},
		{Code: ReasonScopesNotAllowed, Meaning: "by `provider.scope_rules`, the person may have none of the scopes " +
			"that the client requests"},
		{Code: ReasonSignInTooOld, Meaning: "the person signed in before `provider.revoke_before`"},
		{Code: ReasonTooManySignIns, Meaning: "the person has signed in to the same client again too often; the oldest " +
			"sign-in ends"},
		{Code: ReasonEndedByOperator, Meaning: "an operator has ended the sign-in"},
		{Code: ReasonRecheckPending, Meaning: "another request is asking the provider whether the person may still sign " +
			"in, and takes long"},
		{Code: ReasonRecheckFailed, Meaning: "the provider could not be asked whether the person may still sign in, or " +
			"its answer was not usable; beyond `provider.recheck_max_stale`, refreshes wait"},
		{Code: ReasonStoreUnavailable, Meaning: "`provider.store` could not be reached, or has answered with an error"},
		{Code: ReasonRecordUnreadable, Meaning: "a record of `provider.store` does not open with the keys of " +
			"`provider.secrets_file`: a secret was removed too early, or the record was edited"},
	}
}
