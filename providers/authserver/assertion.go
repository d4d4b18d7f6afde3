package authserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	records "gatehouse/providers/authserver/store"
)

// assertionProfile is the value of authorization_grant_profiles_supported.
const assertionProfile = "urn:ietf:params:oauth:grant-profile:id-jag"

// The reasons why a verified identity assertion is refused. Those of [AssertionVerifier] are its own.
const (
	reasonAssertionClient   providers.Reason = "assertion_client_mismatch"
	reasonAssertionResource providers.Reason = "assertion_resource_mismatch"
	reasonAssertionScope    providers.Reason = "assertion_scope_missing"
	reasonAssertionReplayed providers.Reason = "assertion_replayed"
	reasonAssertionRevoked  providers.Reason = "assertion_revoked"
	reasonNotEnterprise     providers.Reason = "assertion_client_not_allowed"
)

func assertionReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: reasonNotEnterprise, Meaning: "a client that is not in `provider.enterprise_clients` sent an identity " +
			"assertion"},
		{Code: reasonAssertionClient, Meaning: "the identity assertion is for another client than the one that sent it"},
		{Code: reasonAssertionResource, Meaning: "the identity assertion is for no resource of this server, or for several"},
		{Code: reasonAssertionScope, Meaning: "no scope of the identity assertion is in `provider.enterprise_scopes` and " +
			"in the request"},
		{Code: reasonAssertionReplayed, Meaning: "the identity assertion was used before"},
		{Code: reasonAssertionRevoked, Meaning: "the identity assertion was issued before `provider.revoke_before`"},
	}
}

// checkEnterprise returns the problems of the configuration of identity assertions.
func (c Config) checkEnterprise() (problems []error) {
	policy := c.ClientPolicy
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Assertions == nil && len(policy.EnterpriseClients) > 0 {
		refuse("clients may use identity assertions, but nothing verifies them")
	}
	for _, id := range policy.EnterpriseClients {
		known := slices.ContainsFunc(c.Clients, func(known Client) bool { return known.ID == id && known.Secret != "" })
		isDocument := checkDocumentURL(id) == nil && c.ClientDocuments
		if !known && !isDocument {
			refuse("client %q may use identity assertions, but has neither a secret nor a document that is fetched", id)
		}
	}
	for _, scope := range policy.EnterpriseScopes {
		if !slices.Contains(c.Scopes, scope) {
			refuse("scope %q of identity assertions: it is not one of the scopes", scope)
		}
	}
	return problems
}

// withEnterpriseGrants returns the clients of the configuration with the grant of identity assertions.
func (c Config) withEnterpriseGrants() []Client {
	clients := slices.Clone(c.Clients)
	for n := range clients {
		known := &clients[n]
		if !slices.Contains(c.ClientPolicy.EnterpriseClients, known.ID) ||
			slices.Contains(known.GrantTypes, GrantAssertion) {
			continue
		}
		var grants []string
		if len(known.RedirectURIs) > 0 || len(known.GrantTypes) > 0 {
			for _, grant := range known.grants() {
				grants = append(grants, string(grant))
			}
		}
		known.GrantTypes = append(grants, GrantAssertion)
	}
	return clients
}

// exchangeAssertion is the grant of an identity assertion (draft-ietf-oauth-identity-assertion-authz-grant,
// section 4.4; MCP: Enterprise-Managed Authorization): a company's provider asserts that a person may use this resource
// with this client. There is no refresh token: the client gets another assertion. The response to every refusal is
// the same; the reason is in log, metric and audit.
func (i *Issuer) exchangeAssertion(ctx context.Context, form url.Values, c *client) (any, error) {
	event := providers.SignInEvent{Kind: EventAssert, ClientID: c.id}
	refuse := func(reason providers.Reason, detail string, answer error) (any, error) {
		i.config.Logger.InfoContext(ctx, "identity assertion refused", slog.String("client_id", displayClientID(c.id)),
			slog.String("reason", string(reason)), slog.String("detail", detail))
		event.Reason = reason
		i.record(ctx, event)
		return nil, answer
	}
	if !i.isEnterprise(c) {
		return refuse(reasonNotEnterprise, "", oidc.ErrUnauthorizedClient().WithDescription(
			"the client may not use identity assertions"))
	}
	if form.Get("assertion") == "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("assertion is missing")
	}
	a, err := i.config.Assertions.Verify(ctx, form.Get("assertion"))
	if err != nil {
		reason, answer := providers.ReasonInternalError, errTemporarilyUnavailable(nil)
		if refused := new(SignInError); errors.As(err, &refused) {
			reason = refused.Reason
			if refused.Code != codeUnavailable {
				answer = errAssertion()
			}
		}
		return refuse(reason, err.Error(), answer)
	}
	event.Subject = a.Subject
	if a.ClientID != c.id {
		return refuse(reasonAssertionClient, "", errAssertion())
	}
	if len(a.Resources) != 1 || !slices.Contains(i.config.Resources, a.Resources[0]) {
		return refuse(reasonAssertionResource, "", errAssertion())
	}
	event.Resource = a.Resources[0]
	if err := i.checkGrantedResource(form["resource"], a.Resources[0]); err != nil {
		return refuse(reasonAssertionResource, "", err)
	}
	event.Scopes = i.assertedScopes(a.Scopes, form.Get("scope"))
	if len(event.Scopes) == 0 {
		return refuse(reasonAssertionScope, "", oidc.ErrInvalidScope().WithDescription(
			"no scope of the assertion can be granted"))
	}
	if a.IssuedAt.Before(i.config.Sessions.RevokeBefore) {
		return refuse(reasonAssertionRevoked, "", errAssertion())
	}
	if reason, denied := i.config.Denied(&providers.Identity{Issuer: i.config.Issuer, Subject: a.Subject, Client: c.id,
		IssuedAt: a.IssuedAt}); denied {
		return refuse(reason, "", errAssertion())
	}
	// Last: what was refused for another reason may be used when the operator has changed that.
	switch err := i.useOnce(ctx, "identity", a.Issuer, a.ID, a.Expires); {
	case errors.Is(err, records.ErrExists):
		return refuse(reasonAssertionReplayed, "", errAssertion())
	case err != nil:
		return refuse(ReasonStoreUnavailable, err.Error(), errTemporarilyUnavailable(nil))
	}
	now := i.config.Now()
	answer, err := i.issue(now, tokenTerms{clientID: c.id, subject: a.Subject, resource: a.Resources[0],
		scopes: event.Scopes})
	if err != nil {
		return nil, err
	}
	i.record(ctx, event)
	return answer, nil
}

func errAssertion() error {
	return oidc.ErrInvalidGrant().WithDescription("the assertion is not accepted")
}

// assertedScopes returns the scopes of an assertion that clients may get, and that the request has if it has any (RFC
// 7521, section 4.1). There is no ID token and no refresh token for openid and offline_access to ask for.
func (i *Issuer) assertedScopes(asserted []string, parameter string) (scopes []string) {
	requested := strings.Fields(parameter)
	for _, scope := range asserted {
		if slices.Contains(i.config.ClientPolicy.EnterpriseScopes, scope) &&
			(len(requested) == 0 || slices.Contains(requested, scope)) && !slices.Contains(scopes, scope) &&
			!isProtocolScope(scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}
