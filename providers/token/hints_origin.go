package token

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
)

// Where an issuer leaves no doubt about the product, a fix names what its pages call it.
const (
	unknownProduct = iota
	keycloak
	entra
	auth0
	okta
)

func productOf(issuer string) int {
	u, err := url.Parse(issuer)
	if err != nil {
		return unknownProduct
	}
	host := u.Hostname()
	switch {
	case strings.Contains(u.Path, "/realms/"):
		return keycloak
	case strings.HasPrefix(host, "login.microsoftonline."), host == "sts.windows.net", host == "sts.chinacloudapi.cn",
		strings.HasSuffix(host, ".ciamlogin.com"):
		return entra
	case strings.HasSuffix(host, ".auth0.com"):
		return auth0
	case strings.HasSuffix(host, ".okta.com"), strings.HasSuffix(host, ".oktapreview.com"):
		return okta
	}
	return unknownProduct
}

// guessIssuer distinguishes another name of the same provider from another provider.
func guessIssuer(e Explanation) (Hint, bool) {
	_, slash := guessSlash(e)
	if !e.failed(ReasonIssuerMismatch) || slash {
		return Hint{}, false
	}
	issuer := e.str("iss")
	cause := fmt.Sprintf("it is from another issuer: %s, accepted are %s",
		providers.Quote(issuer), QuoteEach(e.rules.Issuers))
	got, _ := url.Parse(issuer)
	isEntra := slices.ContainsFunc(e.rules.Issuers, func(want string) bool { return productOf(want) == entra })
	samePath := got != nil && len(got.Path) > 1 && slices.ContainsFunc(e.rules.Issuers, func(want string) bool {
		u, err := url.Parse(want)
		return err == nil && u.Path == got.Path
	})
	switch {
	case issuer == "":
		return Hint{"it names no issuer", "have the provider issue tokens with iss (RFC 9068, section 2.2); " +
			"where it cannot, as at Gitea, set provider.introspection=always"}, true
	case isEntra && got != nil && got.Hostname() == "sts.windows.net":
		return Hint{cause, "set requestedAccessTokenVersion (accessTokenAcceptedVersion) to 2 in the manifest " +
			"of this server's app registration: without it, Entra issues tokens of version 1.0 for it"}, true
	case samePath:
		return Hint{cause, "have the provider use one public address in all tokens (at Keycloak KC_HOSTNAME): " +
			"it names itself by the address at which the client reached it"}, true
	}
	return Hint{cause, "sign in at the configured provider; if this is the same provider under an older or a " +
		"custom address, set provider.issuer to the issuer in its metadata"}, true
}

// guessAudience never proposes to accept what is in the token: the audiences of the provider itself, of
// Microsoft Graph, or of the client are in the tokens for every other server, too.
func guessAudience(e Explanation) (Hint, bool) {
	_, slash := guessSlash(e)
	_, id := guessIDToken(e)
	if !e.failed(ReasonAudienceMismatch) || slash || id {
		return Hint{}, false
	}
	audience, _ := e.claims.strs("aud")
	if len(audience) == 0 {
		return Hint{"it has no audience, so it may be meant for another server",
			e.audienceFix() + "; a provider that cannot needs provider.audience_mode=client_allow_list, with " +
				"clients that are used for this server alone"}, true
	}
	cause := fmt.Sprintf("it is meant for another resource: %s, accepted are %s",
		QuoteEach(audience), QuoteEach(e.rules.Audiences))
	if whose := e.ownerOf(audience); whose != "" {
		cause += "; " + whose
	}
	return Hint{cause, e.audienceFix()}, true
}

// audienceFix is how the provider puts an accepted audience into tokens.
func (e Explanation) audienceFix() string {
	wanted := QuoteEach(e.rules.Audiences)
	switch productOf(e.str("iss")) {
	case keycloak:
		return "at Keycloak, add a mapper of type Audience with the Included Custom Audience " + wanted +
			" to a client scope, and have clients request that scope or make it a default of the client"
	case entra:
		return "at Entra, register this server as an application of its own, with the resource as its " +
			"Application ID URI (Expose an API), and request a scope of it; its tokens have the ID of that registration, " +
			wanted + ", in aud"
	case auth0:
		return "at Auth0, create an API with the identifier " + wanted + ", and have clients request it by the " +
			"resource or audience parameter"
	case okta:
		return "at Okta, use a custom authorization server with the audience " + wanted + ", and sign in there"
	}
	return "have the provider put " + wanted + " into aud: register this server there as a resource (an " +
		"API), or add an audience mapper, and have clients send the resource parameter"
}

// ownAudiences are audiences of providers' own services, by documentation.
var ownAudiences = map[string]string{
	"account":                               `"account" is Keycloak's account console, and in every token of the realm`,
	"realm-management":                      `"realm-management" is Keycloak's administration`,
	"00000003-0000-0000-c000-000000000000":  "this is Microsoft Graph",
	"https://graph.microsoft.com":           "this is Microsoft Graph",
	"https://graph.microsoft.com/":          "this is Microsoft Graph",
	"00000002-0000-0000-c000-000000000000":  "this is Azure AD Graph",
	"https://management.azure.com":          "this is Azure Resource Manager",
	"https://management.azure.com/":         "this is Azure Resource Manager",
	"https://management.core.windows.net/":  "this is Azure Resource Manager",
	"797f4846-ba00-4fd7-ba43-dac1f8f63013":  "this is Azure Resource Manager",
	"https://www.googleapis.com/oauth2/v3/": "this is Google's API",
}

// ownerOf says what an audience belongs to that is not this server's, or "".
func (e Explanation) ownerOf(audience []string) string {
	clients := []string{e.str("azp"), e.str("client_id"), e.str("appid"), e.str("cid")}
	issuer := strings.TrimSuffix(e.str("iss"), "/")
	for _, value := range audience {
		switch {
		case ownAudiences[value] != "":
			return ownAudiences[value]
		case value != "" && slices.Contains(clients, value):
			return "this is the client that requested it"
		case issuer != "" && (strings.TrimSuffix(value, "/") == issuer || strings.HasPrefix(value, issuer+"/")):
			return "this is the provider itself"
		}
	}
	return ""
}
