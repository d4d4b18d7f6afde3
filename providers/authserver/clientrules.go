package authserver

import (
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers/rawjson"
)

// clientRules are the rules for the metadata of clients that the operator has not registered.
type clientRules struct {
	// grants are the grant types that clients may have; others are dropped.
	grants []oidc.GrantType
	// redirects are the rules for one redirect URI.
	redirects redirectRules
	// maxRedirectURIs and maxRedirectURIBytes bound all redirect URIs of a client together. tooMany is the error for
	// too many.
	maxRedirectURIs, maxRedirectURIBytes int
	tooMany                              func(description string) *oidc.Error
	// strict refuses JSON that two parsers could read differently, or that is nested deeply.
	strict bool
}

// demoRules are those of the demo.
func demoRules() clientRules {
	return clientRules{
		grants:          []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials},
		redirects:       anyRedirects{},
		maxRedirectURIs: maxRedirectURIs, maxRedirectURIBytes: maxRedirectURIBytes, tooMany: invalidRedirectURI,
	}
}

// signInRules are those for clients with which people sign in at another provider. There is no grant without a person.
func signInRules(p ClientPolicy) clientRules {
	return clientRules{
		grants:          []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken},
		redirects:       newRedirectPolicy(p),
		maxRedirectURIs: maxSealedRedirectURIs, maxRedirectURIBytes: maxSealedRegistration, tooMany: invalidMetadata,
		strict: true,
	}
}

// ofDocuments returns r with the limits for client ID metadata documents, which nothing has to carry.
func (r clientRules) ofDocuments() clientRules {
	r.maxRedirectURIs, r.maxRedirectURIBytes = maxRedirectURIs, maxRedirectURIBytes
	return r
}

// decode decodes the JSON object of client metadata in body into target.
func (r clientRules) decode(body []byte, target any) error {
	if r.strict {
		if err := rawjson.Each(body, func(_, _ []byte) error { return nil }); err != nil {
			return err
		}
	}
	return json.Unmarshal(body, target)
}

// check sets defaults, and drops unsupported grant types and redirect URIs that the operator does not allow. The error
// is invalid_redirect_uri or invalid_client_metadata (RFC 7591, section 3.2.2).
func (r clientRules) check(m *clientMetadata) error {
	if utf8.RuneCountInString(m.ClientName) > maxClientName || len(m.Scope) > maxRedirectURILength {
		return invalidMetadata("client_name or scope is too long")
	}
	if err := r.checkRedirects(m); err != nil {
		return err
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []oidc.GrantType{oidc.GrantTypeCode}
	}
	m.GrantTypes = slices.DeleteFunc(m.GrantTypes,
		func(g oidc.GrantType) bool { return !slices.Contains(r.grants, g) })
	slices.Sort(m.GrantTypes)
	m.GrantTypes = slices.Compact(m.GrantTypes)
	m.ResponseTypes = nil
	switch {
	case len(m.GrantTypes) == 0:
		return invalidMetadata("none of the grant types is supported")
	case slices.Contains(m.GrantTypes, oidc.GrantTypeCode):
		m.ResponseTypes = []string{string(oidc.ResponseTypeCode)}
		if len(m.RedirectURIs) == 0 {
			return invalidRedirectURI("authorization_code requires a redirect URI")
		}
	}
	if m.ApplicationType != "web" && m.ApplicationType != "native" {
		m.ApplicationType = applicationType(m.RedirectURIs)
	}
	m.ClientName = stripNonPrintable(m.ClientName)
	return nil
}

func (r clientRules) checkRedirects(m *clientMetadata) error {
	if len(m.RedirectURIs) > r.maxRedirectURIs {
		return r.tooMany("too many redirect URIs")
	}
	total := 0
	var allowed []string
	var notAllowed error
	for _, uri := range m.RedirectURIs {
		if err := r.redirects.check(uri); err != nil {
			return invalidRedirectURI(err.Error())
		}
		total += len(uri)
		// Clients register all the redirect URIs that they may ever use, such as one of a native app that this server
		// does not allow. They can use the others.
		if err := r.redirects.allow(uri); err != nil {
			notAllowed = err
			continue
		}
		allowed = append(allowed, uri)
	}
	if total > r.maxRedirectURIBytes {
		return r.tooMany("the redirect URIs are too long together")
	}
	if len(allowed) == 0 && notAllowed != nil {
		return invalidRedirectURI(notAllowed.Error())
	}
	m.RedirectURIs = allowed
	return nil
}

// checkRegistration applies the rules of /register: those of check, and that of the authentication method,
// whose default it sets. Errors are those of check.
func (r clientRules) checkRegistration(m *clientMetadata) error {
	if err := r.check(m); err != nil {
		return err
	}
	switch m.TokenEndpointAuthMethod {
	case "":
		m.TokenEndpointAuthMethod = oidc.AuthMethodBasic // RFC 7591, section 2
	case oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost:
	default:
		return invalidMetadata("the token_endpoint_auth_method is not supported")
	}
	if m.TokenEndpointAuthMethod == oidc.AuthMethodNone &&
		slices.Contains(m.GrantTypes, oidc.GrantTypeClientCredentials) {
		return invalidMetadata("client_credentials requires a client that authenticates")
	}
	return nil
}

// description returns the description of an error of check.
func description(err error) string {
	if refused := new(oidc.Error); errors.As(err, &refused) {
		return refused.Description
	}
	return "its metadata is not valid"
}
