package signins

import "gatehouse/providers"

// The reasons that an authorization server and the adapter of its provider give, and that readiness and alerts name.
const (
	ReasonStoreUnavailable providers.Reason = "store_unavailable"
	ReasonClientRefused    providers.Reason = "provider_client_refused"
	ReasonReplayed         providers.Reason = "sign_in_replayed"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonStoreUnavailable, Meaning: "the store of sign-ins could not be reached, or has answered with an " +
			"error; nothing ends"},
		{Code: ReasonClientRefused, Meaning: "the provider where people sign in refuses this program as a client: its id " +
			"or its secret is wrong, or the secret has expired; nothing ends"},
		{Code: ReasonReplayed, Meaning: "a code was used twice, or a replaced refresh token after its grace period: it may " +
			"have been stolen, so the sign-in ends"},
	}
}
