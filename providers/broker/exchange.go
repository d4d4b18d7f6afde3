package broker

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/token"
)

// maxCodeBytes bounds an authorization code. Microsoft Entra's have about 1 KiB.
const maxCodeBytes = 8 << 10

// Finish implements [authserver.Authenticator]. The code is used at most once, also if the response to its exchange is
// lost: providers end what they issued for a code that is used twice.
func (u *Upstream) Finish(ctx context.Context, a authserver.Attempt, response url.Values) (authserver.Person, error) {
	m, err := u.metadata.get(ctx)
	if err != nil {
		return authserver.Person{}, u.unavailable(err)
	}
	code, err := u.readResponse(m, response)
	if err != nil {
		return authserver.Person{}, err
	}
	t, err := u.requestTokens(ctx, m, url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"redirect_uri": {u.config.RedirectURI}, "code_verifier": {a.Verifier}})
	if err != nil {
		return authserver.Person{}, u.exchangeError(err)
	}
	claims, err := u.verifyIDToken(ctx, t, &a.Nonce)
	if err != nil {
		return authserver.Person{}, err
	}
	source := sourceIDToken
	if lacks(claims, u.needed) {
		if claims, source, err = u.addUserinfo(ctx, m, t, claims); err != nil {
			return authserver.Person{}, err
		}
	}
	who, err := u.person(claims)
	if err != nil {
		return authserver.Person{}, err
	}
	who.Time = u.config.Now()
	who.Credential = u.bounded(t.refresh)
	who.Details[detailNonce] = a.Nonce
	who.Details[detailSource] = source
	who.Details[detailRules] = u.config.rulesDigest()
	u.state.signedIn(who.Credential != "")
	if who.Credential == "" {
		u.logger.Info("the provider issued no refresh token: the sign-in lasts for provider.session_without_refresh",
			"fix", "request offline_access in provider.upstream_scopes, or what the provider needs in its place in "+
				"provider.authorize_params, such as access_type=offline, prompt=consent")
	}
	return who, nil
}

// readResponse returns the code of an authorization response. iss is checked first: without it, the response of another
// provider, error or code, would be believed (RFC 9207, section 2.4).
func (u *Upstream) readResponse(m token.PublishedMetadata, response url.Values) (code string, err error) {
	for _, name := range []string{"code", "error", "iss"} {
		if len(response[name]) > 1 {
			return "", refused(ReasonProviderError, codeServerError, textError, "the response has the parameter "+name+" twice")
		}
	}
	switch issuer := response.Get("iss"); {
	case issuer == "" && m.IssParameter:
		return "", refused(ReasonProviderIssuerMismatch, codeServerError, textError,
			"the response has no iss, which the metadata announces")
	case issuer != "" && !slices.Contains(u.issuers, issuer):
		return "", refused(ReasonProviderIssuerMismatch, codeServerError, textError,
			"the iss of the response is not the issuer of the provider")
	}
	if response.Has("error") {
		return "", u.responseError(response.Get("error"), response.Get("error_description"))
	}
	code = response.Get("code")
	if code == "" || len(code) > maxCodeBytes {
		return "", refused(ReasonProviderError, codeServerError, textError, "the response has no code, or a very long one")
	}
	return code, nil
}

// responseError returns the error for an authorization response with an error. The description of the provider goes to
// the log only: it may contain anything. The browser brings the response, so it says nothing about the provider: the
// reason is none of providerProblems.
func (u *Upstream) responseError(code, description string) error {
	u.limited.Info("the provider answered a sign-in with an error", "error", providers.Quote(code),
		"description", providers.Quote(description))
	known := knownCode(code)
	detail := "the response has an unknown error"
	if known != "" {
		detail = "the response has the error " + known
	}
	switch known {
	case codeDenied, errorLoginRequired, errorInteractionRequired, errorConsentRequired, "account_selection_required":
		return refused(ReasonProviderDenied, codeDenied, textDenied, detail)
	case codeUnavailable:
		return refused(ReasonProviderError, codeUnavailable, textUnavailable, detail)
	}
	return refused(ReasonProviderError, codeServerError, textError, detail)
}

// exchangeError returns the error for a person whose code was not exchanged.
func (u *Upstream) exchangeError(err error) error {
	failure, ok := errors.AsType[*tokenError](err)
	if !ok {
		return u.unavailable(err)
	}
	if failure.isClient() {
		return refused(ReasonProviderClientRefused, codeServerError, textError, failure.Error())
	}
	switch failure.code {
	case errorInvalidGrant:
		return refused(ReasonProviderCodeRefused, codeServerError, textError, failure.Error())
	case errorInteractionRequired, errorLoginRequired, errorConsentRequired, codeDenied:
		return refused(ReasonProviderDenied, codeDenied, textDenied, failure.Error())
	case codeUnavailable, "slow_down":
		return u.unavailable(failure)
	}
	return refused(ReasonProviderError, codeServerError, textError, failure.Error())
}
