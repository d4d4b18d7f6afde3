package oidc

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Validate implements [providers.Settings].
func (s *Settings) Validate(resource providers.Resource, report func(providers.Problem)) {
	s.checkIssuer(report)
	s.checkAddresses(report)
	s.checkAudience(resource, report)
	s.checkClaims(report)
	s.checkScopes(report)
	s.checkIntrospection(report)
	for _, alg := range s.Algorithms {
		if !token.IsAsymmetric(jose.SignatureAlgorithm(alg)) {
			report(providers.Problem{Key: "algorithms", Code: providers.CodeUnknownValue,
				Reason: strconv.Quote(alg) + " is not an asymmetric signature algorithm",
				Fix:    "use those of RS256, PS256, ES256, ES384 and EdDSA that the provider signs with"})
		}
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"algorithms", s.Algorithms}, {"token_types", s.TokenTypes}, {"scope_claims", s.ScopeClaims}} {
		if len(list.values) == 0 {
			report(providers.Problem{Key: list.key, Code: providers.CodeMissing,
				Reason: "it is empty, so no token could be accepted",
				Fix:    "leave it out for the default"})
		}
	}
	token.CheckDurations(report, append(token.KeyDurations(s.Leeway, s.KeyRefetchInterval, s.KeyMaxAge,
		s.KeyMaxStale),
		token.DurationLimits{Key: "introspection_cache", Value: s.IntrospectionCache, Most: 10 * time.Minute}))
	token.CheckMaxTokenBytes(s.MaxTokenBytes, report)
}

// checkIssuer checks the issuer, and the settings that an issuer template needs.
func (s *Settings) checkIssuer(report func(providers.Problem)) {
	hosts, template := token.PlainHTTPHosts(s.HTTPAllowedHosts), token.IsTemplate(s.Issuer)
	if s.Issuer == "" {
		report(providers.Problem{Key: "issuer", Code: providers.CodeMissing,
			Reason: "issuer is required",
			Fix:    "set it to the issuer in the provider's metadata, such as https://login.example.com/realms/main"})
	} else if err := hosts.CheckIssuer(s.Issuer); err != nil {
		report(providers.Problem{Key: "issuer", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix:    "set it to the issuer in the provider's metadata" + token.IssuerHint(s.Issuer)})
	}
	switch {
	case !template && len(s.Tenants) > 0:
		report(providers.Problem{Key: "tenants", Code: providers.CodeConflict,
			Reason: "provider.issuer does not contain a claim in braces for the tenant",
			Fix: "write the issuer with the claim in braces, such as https://login.example.com/{tid}/v2.0, or " +
				"remove provider.tenants"})
	case template && len(s.Tenants) == 0:
		report(providers.Problem{Key: "issuer", Code: providers.CodeInsecure,
			Reason: "it accepts every tenant of the provider, and anyone may be able to create one",
			Fix:    "list the accepted tenants in provider.tenants, or replace the braces by one tenant"})
	}
	for _, tenant := range s.Tenants {
		if tenant == "" || url.PathEscape(tenant) != tenant {
			report(providers.Problem{Key: "tenants", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(tenant) + " cannot be part of an issuer",
				Fix:    "use the tenant's id, as in the claim of a token"})
		}
	}
	if template && s.DiscoveryURL == "" && (s.JWKSURL == "" ||
		s.Introspection != introspectNothing && s.IntrospectionURL == "") {
		report(providers.Problem{Key: "issuer", Code: providers.CodeMissing,
			Reason: "the metadata URL cannot be derived from an issuer template",
			Fix: "set provider.discovery_url, such as " +
				"https://login.example.com/common/v2.0/.well-known/openid-configuration"})
	}
	if template && len(s.Tenants) > 1 && len(s.AuthorizationServers) == 0 {
		report(providers.Problem{Key: "authorization_servers", Code: providers.CodeMissing,
			Reason: "an issuer template matches several issuers, and clients need one",
			Fix:    "name the one at which clients sign in, such as that of your own tenant"})
	}
	if err := hosts.CheckIssuer(s.DiscoveryIssuer); s.DiscoveryIssuer != "" && err != nil {
		report(providers.Problem{Key: "discovery_issuer", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix: "set it to the issuer in the metadata, or leave it out if that is provider.issuer" +
				token.IssuerHint(s.DiscoveryIssuer)})
	}
}

func (s *Settings) checkAddresses(report func(providers.Problem)) {
	hosts := token.PlainHTTPHosts(s.HTTPAllowedHosts)
	for _, u := range []struct{ key, value string }{
		{"discovery_url", s.DiscoveryURL}, {"jwks_url", s.JWKSURL}, {"introspection_url", s.IntrospectionURL},
	} {
		if err := hosts.CheckURL(u.value); u.value != "" && err != nil {
			report(providers.Problem{Key: u.key, Code: providers.CodeInvalidValue,
				Reason: err.Error(),
				Fix: "use https; a host in your own network may be listed in provider.http_allowed_hosts" +
					token.SchemeHint(u.value)})
		}
	}
	for _, server := range s.AuthorizationServers {
		if err := token.PlainHTTPHosts(nil).CheckIdentifier(server); err != nil {
			report(providers.Problem{Key: "authorization_servers", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(server) + ": " + err.Error(),
				Fix:    "clients need an https address" + token.IssuerHint(server)})
		}
	}
	for _, host := range s.HTTPAllowedHosts {
		if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" {
			report(providers.Problem{Key: "http_allowed_hosts", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(host) + " is not a host, alone or with a port",
				Fix:    "write only the host, such as issuer or issuer:9000"})
		}
	}
}

func (s *Settings) checkAudience(resource providers.Resource, report func(providers.Problem)) {
	for _, audience := range s.Audiences {
		if strings.TrimSpace(audience) == "" {
			report(providers.Problem{Key: "audiences", Code: providers.CodeInvalidValue,
				Reason: "it has an empty entry",
				Fix:    "remove it; without any, the resource " + resource.String() + " is the audience"})
		}
	}
	if !slices.Contains([]string{audienceRequired, clientAllowList}, s.AudienceMode) {
		report(providers.Problem{Key: "audience_mode", Code: providers.CodeUnknownValue,
			Reason: "unknown mode",
			Fix:    "use required, or client_allow_list"})
	}
	if s.AudienceMode == clientAllowList && len(s.AllowedClients) == 0 {
		report(providers.Problem{Key: "audience_mode", Code: providers.CodeInsecure,
			Reason: "without a list of clients every token of the provider would be accepted",
			Fix:    "list the clients in provider.allowed_clients"})
	}
	if s.AudienceMode == clientAllowList && len(s.ClientClaims) == 0 {
		report(providers.Problem{Key: "client_claims", Code: providers.CodeMissing,
			Reason: "it is empty, so the client of a token is never known",
			Fix:    "leave it out for the default"})
	}
	if s.AudienceMode == audienceRequired && len(s.AllowedClients) > 0 {
		report(providers.Problem{Key: "allowed_clients", Code: providers.CodeNoEffect,
			Reason: "it is used in the mode client_allow_list only",
			Fix:    "remove it, or set provider.audience_mode to client_allow_list"})
	}
	for _, client := range s.AllowedClients {
		if strings.TrimSpace(client) == "" {
			report(providers.Problem{Key: "allowed_clients", Code: providers.CodeInvalidValue,
				Reason: "it has an empty entry",
				Fix:    "remove it"})
		}
	}
}

func (s *Settings) checkClaims(report func(providers.Problem)) {
	for _, entry := range s.RequiredClaims {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || strings.TrimSpace(name) == "" || value == "" {
			report(providers.Problem{Key: "required_claims", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(entry) + " is not a claim and its value",
				Fix:    "write claim=value, such as token_use=access"})
		}
		if token.IsTypeClaim([]byte(name)) && token.IsOtherType(value) {
			report(providers.Problem{Key: "required_claims", Code: providers.CodeNotAllowed,
				Reason: strconv.Quote(entry) + " is the type of refresh, ID or logout tokens, which are always refused",
				Fix:    "require the value of access tokens, such as token_use=access, or remove it"})
		}
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"scope_claims", s.ScopeClaims}, {"client_claims", s.ClientClaims},
		{"subject_claim", []string{s.SubjectClaim}}} {
		for _, name := range list.values {
			if strings.Trim(name, " .") != name || name == "" {
				report(providers.Problem{Key: list.key, Code: providers.CodeInvalidValue,
					Reason: strconv.Quote(name) + " is not the name of a claim",
					Fix:    "use the name of a claim in the token, such as sub; dots separate members of objects"})
			}
		}
	}
}

func (s *Settings) checkScopes(report func(providers.Problem)) {
	_, wrong := token.ParseScopeMap(s.ScopeMap)
	for _, entry := range wrong {
		report(providers.Problem{Key: "scope_map", Code: providers.CodeInvalidValue,
			Reason: strconv.Quote(entry) + " is not a pair of scopes",
			Fix:    "write provider=local, such as https://mcp.example.com/mcp/mcp.use=mcp:use"})
	}
	for _, list := range []struct {
		key    string
		scopes []string
	}{{"default_scopes", s.DefaultScopes}, {"scopes_advertised", s.ScopesAdvertised}} {
		for _, scope := range list.scopes {
			if !providers.IsScope(scope) {
				report(providers.Problem{Key: list.key, Code: providers.CodeInvalidValue,
					Reason: strconv.Quote(scope) + " is not a scope (RFC 6749, section 3.3)",
					Fix:    "use printable ASCII without blanks, quotes and backslashes"})
			}
		}
	}
}

func (s *Settings) checkIntrospection(report func(providers.Problem)) {
	for _, word := range []struct {
		key, value string
		accepted   []string
	}{
		{"introspection", s.Introspection, []string{introspectNothing, introspectOpaque, introspectAlways}},
		{"introspection_style", s.IntrospectionStyle, []string{styleRFC7662, styleGoogle}},
		{"introspection_auth", s.IntrospectionAuth, []string{authBasic, authPost, authKey, authNone}},
	} {
		if !slices.Contains(word.accepted, word.value) {
			report(providers.Problem{Key: word.key, Code: providers.CodeUnknownValue,
				Reason: "unknown value",
				Fix:    "use one of: " + strings.Join(word.accepted, ", ")})
			return
		}
	}
	if s.Introspection == introspectNothing {
		for _, unused := range []struct{ key, value string }{
			{"introspection_url", s.IntrospectionURL}, {"client_id", s.ClientID},
			{"client_secret", s.ClientSecret.Reveal()},
			{"client_key", s.ClientKey.Reveal()}, {"client_key_id", s.ClientKeyID},
		} {
			if unused.value != "" {
				report(providers.Problem{Key: unused.key, Code: providers.CodeNoEffect,
					Reason: "it is used for introspection only, which is off: tokens are verified with the provider's " +
						"public keys",
					Fix: "remove it, or set provider.introspection to opaque or always"})
			}
		}
		if s.IntrospectionNoExp {
			report(providers.Problem{Key: "introspection_without_exp", Code: providers.CodeNoEffect,
				Reason: "it has no effect while introspection is off: a JWT without exp is always refused",
				Fix:    "remove it, or set provider.introspection to opaque or always"})
		}
		return
	}
	if s.IntrospectionNoExp && s.IntrospectionCache == 0 {
		report(providers.Problem{Key: "introspection_without_exp", Code: providers.CodeConflict,
			Reason: "a response without exp is used for introspection_cache, which is 0s",
			Fix:    "set provider.introspection_cache, for instance to 30s"})
	}
	usesSecret := s.IntrospectionStyle == styleRFC7662 && (s.IntrospectionAuth == authBasic ||
		s.IntrospectionAuth == authPost)
	usesKey := s.IntrospectionStyle == styleRFC7662 && s.IntrospectionAuth == authKey
	if (usesSecret || usesKey) && s.ClientID == "" {
		report(providers.Problem{Key: "client_id", Code: providers.CodeMissing,
			Reason: "the provider introspects tokens for its own clients only",
			Fix: "register this server at the provider as a confidential client, or set " +
				"provider.introspection_auth to none if the endpoint needs no credentials"})
	}
	if usesSecret && s.ClientSecret == "" {
		report(providers.Problem{Key: "client_secret", Code: providers.CodeMissing,
			Reason: "introspection_auth " + s.IntrospectionAuth + " needs a secret",
			Fix:    "set provider.client_secret_file, or another provider.introspection_auth"})
	}
	if !usesSecret && s.ClientSecret != "" {
		report(providers.Problem{Key: "client_secret", Code: providers.CodeNoEffect,
			Reason: "it is not used with introspection_auth " + s.IntrospectionAuth,
			Fix:    "remove it, or set provider.introspection_auth to basic or post"})
	}
	if !usesKey && s.ClientKey != "" {
		report(providers.Problem{Key: "client_key", Code: providers.CodeNoEffect,
			Reason: "it is not used with introspection_auth " + s.IntrospectionAuth,
			Fix:    "remove it, or set provider.introspection_auth to private_key_jwt"})
	}
	if !usesKey {
		return
	}
	if _, err := token.NewClientSigner(s.ClientKey, s.ClientKeyID); s.ClientKey == "" {
		report(providers.Problem{Key: "client_key", Code: providers.CodeMissing,
			Reason: "introspection_auth private_key_jwt needs a private key",
			Fix:    "set provider.client_key_file to its PEM file"})
	} else if err != nil {
		report(providers.Problem{Key: "client_key", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix:    "set provider.client_key_file to its PEM file; RSA, P-256, P-384, P-521 or Ed25519"})
	}
}
