package authserver

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

// check returns all that is wrong with a configuration, joined. grantTypes are those that a client may have.
func (c Config) check(grantTypes []oidc.GrantType) error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if err := checkIssuer(c.Issuer, c.isLocal); err != nil {
		refuse("issuer %q: %w", c.Issuer, err)
	}
	if len(c.Resources) == 0 {
		refuse("no resources: set at least the URL of the MCP endpoint")
	}
	for _, resource := range c.Resources {
		if err := c.checkResource(resource); err != nil {
			refuse("resource %q: %w", resource, err)
		}
	}
	if c.AutoApprove && c.SignIn != nil {
		refuse("auto approval: people of another provider always have to approve")
	}
	for _, scope := range c.Scopes {
		if !isScopeToken(scope) {
			refuse("scope %q: it contains characters that RFC 6749, section 3.3 does not allow", scope)
		}
	}
	for _, scope := range c.DefaultScopes {
		if !slices.Contains(c.Scopes, scope) {
			refuse("default scope %q: it is not one of the scopes", scope)
		}
	}
	if !slices.Contains(signingAlgorithms(), jose.SignatureAlgorithm(c.SigningAlgorithm)) {
		refuse("signing algorithm %q: use RS256, ES256 or EdDSA", c.SigningAlgorithm)
	} else if c.SigningKey != nil && !canSign(c.SigningKey, jose.SignatureAlgorithm(c.SigningAlgorithm)) {
		refuse("signing key: a %T cannot sign %s", c.SigningKey, c.SigningAlgorithm)
	}
	// Lifetimes are announced in whole seconds (expires_in), where 0 would mean unknown.
	if c.AccessTokenLifetime < time.Second {
		refuse("access token lifetime %s: use at least 1s", c.AccessTokenLifetime)
	}
	if c.RefreshTokenLifetime < time.Second {
		refuse("refresh token lifetime %s: use at least 1s", c.RefreshTokenLifetime)
	}
	if c.RefreshGrace < 0 {
		refuse("refresh grace %s: use 0 or more", c.RefreshGrace)
	}
	if c.AllowLoopbackClientDocuments && !c.ClientDocuments {
		refuse(
			"client documents from loopback are allowed, but client documents are disabled; enable or " +
				"disable both")
	}
	if c.Keys == nil {
		refuse("a store without keys: what it keeps could not be opened after a restart")
	}
	problems = append(problems, c.checkEnterprise()...)
	seen := make(map[string]bool)
	for _, client := range c.Clients {
		if seen[client.ID] {
			refuse("client %q: the id is not unique", client.ID)
		}
		seen[client.ID] = true
		if err := client.check(grantTypes); err != nil {
			refuse("client %q: %w", client.ID, err)
		}
	}
	return errors.Join(problems...)
}

func (c Client) check(supported []oidc.GrantType) error {
	if c.ID == "" {
		return errors.New("it has no ID")
	}
	for _, grant := range c.GrantTypes {
		if !slices.Contains(supported, oidc.GrantType(grant)) {
			return fmt.Errorf("its grant type %q is unknown", grant)
		}
	}
	grants := c.grants()
	for _, grant := range []oidc.GrantType{oidc.GrantTypeClientCredentials, oidc.GrantTypeTokenExchange,
		oidc.GrantTypeBearer} {
		if slices.Contains(grants, grant) && c.Secret == "" {
			return fmt.Errorf("%s requires a secret", grant)
		}
	}
	if slices.Contains(grants, oidc.GrantTypeCode) && len(c.RedirectURIs) == 0 {
		return errors.New("authorization_code requires a redirect URI")
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return fmt.Errorf("redirect URI %q: %w", uri, err)
		}
	}
	return nil
}

// isLocal reports whether the issuer itself may be at this host over plain http. Browsers treat names below
// localhost as loopback; who signs in with an account needs more than that.
func (c Config) isLocal(host string) bool {
	return isLoopback(host) || c.SignIn == nil && providers.IsBelowLocalhost(host)
}

// checkIssuer returns why an issuer identifier cannot be used, or nil. Hosts for which isLocal is true may have plain
// http.
func checkIssuer(issuer string, isLocal func(host string) bool) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case issuer != u.Scheme+"://"+u.Host:
		// A path would move the well-known documents (RFC 8414, section 3.1), and a trailing slash tends to
		// differ between metadata, token and configuration.
		return errors.New(
			"it must be scheme, host and port only, without path or slash, such as http://localhost:3002")
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return errors.New("plain http is for loopback only; use https")
	}
	return nil
}

func (c Config) checkResource(resource string) error {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("it is not an http or https URL")
	case u.User != nil || strings.Contains(resource, "#"):
		return errors.New("it has a user name or a fragment")
	case isLoopback(u.Hostname()):
	case c.SignIn != nil && u.Scheme != "https":
		return errors.New("plain http is for loopback only; use https")
	case c.SignIn == nil && !c.DangerouslyAllowPublicResource:
		return errors.New(
			"other computers can reach it, and anyone can sign in as anyone; " +
				"use a resource on localhost or a real provider")
	}
	return nil
}

// isLoopback reports whether host, a name or an address without port, is loopback.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
