package broker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"time"

	"gatehouse/providers/authserver"
	"gatehouse/providers/token"
)

const (
	// renewTimeout bounds the request with a refresh token, and judgeTimeout the requests for keys and userinfo. The
	// client waits for both; some wait 10 s.
	renewTimeout = 6 * time.Second
	judgeTimeout = 4 * time.Second
	// dismissTimeout bounds the request that revokes a refresh token.
	dismissTimeout = 5 * time.Second
)

// Renew implements [authserver.Authenticator]. Only an error response that says so ends the sign-in; everything else is
// an outage. A caller that hangs up does not end the request: the provider may have replaced the refresh token by then,
// and the caller must store the new one.
func (u *Upstream) Renew(ctx context.Context, p authserver.Person) (authserver.Renewal, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewTimeout)
	defer cancel()
	m, err := u.metadata.get(ctx)
	if err != nil {
		return authserver.Renewal{}, u.unavailable(err)
	}
	t, err := u.requestTokens(ctx, m, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.Credential}})
	if err != nil {
		return authserver.Renewal{}, u.renewError(err)
	}
	credential := cmp.Or(u.bounded(t.refresh), p.Credential)
	return authserver.Renewal{
		Credential: credential,
		Judge: func(ctx context.Context) (authserver.Person, error) {
			ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
			defer cancel()
			who, err := u.judge(ctx, m, t, p)
			if err != nil {
				return authserver.Person{}, err
			}
			who.Credential = credential
			return who, nil
		},
	}, nil
}

// renewError returns the error of Renew. Of all responses, these four errors are about the person (RFC 6749, section
// 5.2; OpenID Connect Core 1.0, section 3.1.2.6).
func (u *Upstream) renewError(err error) error {
	failure, ok := errors.AsType[*tokenError](err)
	if !ok {
		return u.unavailable(err)
	}
	switch failure.code {
	case errorInvalidGrant, errorInteractionRequired, errorLoginRequired, errorConsentRequired:
		return gone(refused(ReasonAccountGone, codeDenied, textDenied, failure.Error()))
	}
	outage := u.unavailable(failure)
	if failure.isClient() {
		outage.Reason = ReasonProviderClientRefused
	}
	return outage
}

// judge returns the person p by the current claims.
func (u *Upstream) judge(
	ctx context.Context, m token.PublishedMetadata, t tokens, p authserver.Person,
) (authserver.Person, error) {
	claims, known, err := u.currentClaims(ctx, m, t, p)
	switch {
	case err != nil:
		return authserver.Person{}, err
	case !known && p.Details[detailRules] != u.config.rulesDigest():
		// What the person had by earlier rules may be what the operator has taken away.
		return authserver.Person{}, gone(refused(ReasonRulesChanged, codeDenied, textDenied,
			"the rules have changed since the provider has last said the claims of the person"))
	case !known:
		return p, nil
	}
	if err := u.checkSame(p, claims); err != nil {
		return authserver.Person{}, err
	}
	current := p
	if current.Scopes, err = u.scopes(claims); err != nil {
		return authserver.Person{}, u.judgeError(err)
	}
	current.Details = maps.Clone(p.Details)
	current.Details[detailRules] = u.config.rulesDigest()
	return current, nil
}

// currentClaims returns the claims after a refresh: those of the new ID token, and else of the userinfo endpoint.
// known is false if the provider has neither, or not the claims that it had at the sign-in: it has confirmed the person
// and said nothing about the claims.
func (u *Upstream) currentClaims(
	ctx context.Context, m token.PublishedMetadata, t tokens, p authserver.Person,
) (claims token.ClaimSet, known bool, err error) {
	if t.id != "" {
		if claims, err = u.verifyIDToken(ctx, t, nil); err != nil {
			return token.ClaimSet{}, false, err
		}
		// A nonce is optional here (OpenID Connect Core 1.0, section 12.2).
		if claims.Has("nonce") {
			if nonce, ok := claims.Text("nonce"); !ok || nonce != p.Details[detailNonce] {
				return token.ClaimSet{}, false, invalidIDToken("its nonce is not that of the sign-in")
			}
		}
		if lacks(claims, u.needed) {
			claims, _, err = u.addUserinfo(ctx, m, t, claims)
		}
		return claims, err == nil, err
	}
	if !hasUserinfo(m, t) {
		return token.ClaimSet{}, false, nil
	}
	if claims, err = u.userinfo(ctx, m, t); err != nil {
		return token.ClaimSet{}, false, u.unavailable(err)
	}
	if err := u.checkSame(p, claims); err != nil { // also if the claims are not used
		return token.ClaimSet{}, false, err
	}
	// The endpoint need not have the claims of ID tokens: that one is missing says something only if the endpoint was
	// needed at the sign-in.
	if lacks(claims, u.config.rulesClaims()) && p.Details[detailSource] != sourceUserinfo {
		return token.ClaimSet{}, false, nil
	}
	return claims, true, nil
}

// checkSame returns an error unless claims are those of the person who signed in. A userinfo response has no iss, and
// need not have the tenant or provider.subject_claim.
func (u *Upstream) checkSame(p authserver.Person, claims token.ClaimSet) error {
	if own, _ := claims.Text("sub"); own != p.Details[detailSubject] {
		return changed()
	}
	for _, name := range []string{detailIssuer, detailTenant} {
		value, ok := claims.Text(name)
		if was := p.Details[name]; ok && was != "" && value != was {
			return changed()
		}
	}
	if !claims.Has(u.config.SubjectClaim) {
		return nil
	}
	subject, err := u.subject(claims, p.Details[detailIssuer])
	if err == nil && subject != p.Subject {
		return changed()
	}
	return err
}

func changed() *authserver.SignInError {
	return gone(refused(authserver.ReasonAccountChanged, codeDenied, textDenied,
		"the provider named another person or tenant"))
}

// judgeError returns the error for a person who could not sign in now. A person whom the rules refuse is refused for
// good; claims that cannot be used are a fault of the provider.
func (u *Upstream) judgeError(err error) error {
	failure, ok := errors.AsType[*authserver.SignInError](err)
	if ok && (failure.Reason == authserver.ReasonAccountNotAllowed || failure.Reason == ReasonAccountOverage) {
		return gone(failure)
	}
	return err
}

// Dismiss implements [authserver.Authenticator]: it revokes the refresh token (RFC 7009), if the provider can do that.
func (u *Upstream) Dismiss(ctx context.Context, p authserver.Person) {
	if p.Credential == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dismissTimeout)
	defer cancel()
	m, err := u.metadata.get(ctx)
	if err != nil || m.RevocationEndpoint == "" {
		return
	}
	status, _, err := u.post(ctx, m, m.RevocationEndpoint, url.Values{"token": {p.Credential},
		"token_type_hint": {"refresh_token"}})
	if err != nil || status >= 300 {
		u.logger.Info("the provider did not revoke a refresh token", "status", status, "error", err,
			"reason", ReasonProviderUnavailable)
	}
}
