package token

import "gatehouse/providers"

// fixFor returns what to do about a refusal for which no more specific cause is known.
func fixFor(reason providers.Reason) string {
	switch reason {
	case ReasonTooLong:
		return "have the provider put fewer claims into the token, such as groups; or raise " +
			"provider.max_token_bytes, if the proxy in front allows longer headers, too"
	case ReasonOpaque:
		return "have the provider issue JWTs for this resource (at Auth0, Zitadel, Clerk and Logto by naming " +
			"the API or switching them on), or set provider.introspection to opaque"
	case ReasonMalformed:
		return "send the access token as the provider issued it: something may have cut it off, wrapped it or " +
			"encoded it again"
	case ReasonHeaderRefused:
		return "have the provider issue plain JWTs, without the header parameters crit and b64; no setting accepts them"
	case ReasonAlgorithmRefused:
		return "have the provider sign with one of the accepted algorithms, or add its asymmetric one to " +
			"provider.algorithms; unsigned tokens, and those signed with a shared secret, are never accepted"
	case ReasonTypeRefused:
		return "send the access token of the same token response: this one states that it is of another type"
	case ReasonClaimsMalformed:
		return "have the provider write the claim as RFC 7519 and RFC 9068 define it; a mapper, rule or hook " +
			"there may have added or changed it"
	case ReasonIssuerMismatch:
		return "sign in at the provider that provider.issuer names, or set provider.issuer to the provider of your tokens"
	case ReasonAudienceMismatch:
		return "register this server at the provider, and have it put the accepted audience into aud"
	case ReasonExpired:
		return "sign in again; if fresh tokens are refused too, compare the clocks of the issuer and of this computer"
	case ReasonExpiryMissing:
		return "have the provider issue access tokens that expire"
	case ReasonNotYetValid:
		return "compare the clocks of the issuer and of this computer, and synchronize both by NTP"
	case ReasonSubjectMissing:
		return "set provider.subject_claim to the claim that identifies the caller and is never assigned again, " +
			"such as oid at Entra; at Keycloak add the client scope basic to the client, which adds sub"
	case ReasonIDToken:
		return "send the access token of the same token response"
	case ReasonClaimMismatch:
		return "sign in in the tenant, and with the kind of client, that the required claims describe; change " +
			"provider.required_claims only to what all access tokens of the provider have and its other tokens lack"
	case ReasonClientRefused:
		return "sign in with one of the allowed clients; add another to provider.allowed_clients only if its " +
			"tokens are for this server alone, because their audience is not checked"
	case ReasonSenderConstrained:
		return "have the provider issue bearer tokens to this client: switch off DPoP or certificate-bound tokens for it"
	case ReasonKeyUnknown:
		return "sign in again, in case the provider has replaced its keys; if that does not help, compare " +
			"provider.issuer and provider.jwks_url with the environment in which the client signs in"
	case ReasonSignatureInvalid:
		return "get a new token from the provider, and check whether a proxy or a copy truncates or rewrites it"
	case ReasonInactive:
		return "sign in again: the token has expired or was revoked, or is of another environment; some " +
			"providers also call tokens inactive whose audience does not include the client that asks " +
			"(provider.client_id)"
	}
	return ""
}
