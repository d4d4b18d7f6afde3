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
func (s *Settings) Validate(resource providers.Resource, report func(key, reason, fix string)) {
	s.checkIssuer(report)
	s.checkAddresses(report)
	s.checkAudience(resource, report)
	s.checkClaims(report)
	s.checkScopes(report)
	s.checkIntrospection(report)
	for _, alg := range s.Algorithms {
		if !token.IsAsymmetric(jose.SignatureAlgorithm(alg)) {
			report("algorithms", strconv.Quote(alg)+" is not an asymmetric signature algorithm", "use those of RS256, PS256, ES256, ES384 and EdDSA that the provider signs with")
		}
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"algorithms", s.Algorithms}, {"token_types", s.TokenTypes}, {"scope_claims", s.ScopeClaims}} {
		if len(list.values) == 0 {
			report(list.key, "nothing is left, so that no token could be accepted", "leave it out for the default")
		}
	}
	token.CheckDurations(report, append(token.KeyDurations(s.Leeway, s.KeyRefetchInterval, s.KeyMaxAge, s.KeyMaxStale),
		token.DurationLimits{Key: "introspection_cache", Value: s.IntrospectionCache, Most: 10 * time.Minute}))
	token.CheckMaxTokenBytes(s.MaxTokenBytes, report)
}

// checkIssuer looks at the issuer, and at what an issuer template needs beside it.
func (s *Settings) checkIssuer(report func(key, reason, fix string)) {
	hosts, template := token.PlainHTTPHosts(s.HTTPAllowedHosts), token.IsTemplate(s.Issuer)
	if s.Issuer == "" {
		report("issuer", "nobody said who issues the tokens", "write the issuer as the provider's metadata says it, such as https://login.example.com/realms/main")
	} else if err := hosts.CheckIssuer(s.Issuer); err != nil {
		report("issuer", err.Error(), "write it as the provider's metadata says it"+token.IssuerHint(s.Issuer))
	}
	switch {
	case !template && len(s.Tenants) > 0:
		report("tenants", "the issuer has no place for a tenant", "write the issuer with the claim in braces, such as https://login.example.com/{tid}/v2.0, or remove provider.tenants")
	case template && len(s.Tenants) == 0:
		report("issuer", "it stands for every tenant of the provider, and anybody may open one", "name those that are let in in provider.tenants, or write one tenant in the place of the braces")
	}
	for _, tenant := range s.Tenants {
		if tenant == "" || url.PathEscape(tenant) != tenant {
			report("tenants", strconv.Quote(tenant)+" cannot stand in an issuer", "write the tenant's id, as the claim in a token says it")
		}
	}
	if template && s.DiscoveryURL == "" && (s.JWKSURL == "" || s.Introspection != introspectNothing && s.IntrospectionURL == "") {
		report("issuer", "nobody said where the metadata of many tenants is", "set provider.discovery_url, such as https://login.example.com/common/v2.0/.well-known/openid-configuration")
	}
	if template && len(s.Tenants) > 1 && len(s.AuthorizationServers) == 0 {
		report("authorization_servers", "clients can be sent to one place only, and the issuer stands for many", "name the one at which they shall sign in, such as that of your own tenant")
	}
	if err := hosts.CheckIssuer(s.DiscoveryIssuer); s.DiscoveryIssuer != "" && err != nil {
		report("discovery_issuer", err.Error(), "write what the metadata says under issuer, or leave it out if that is provider.issuer"+token.IssuerHint(s.DiscoveryIssuer))
	}
}

func (s *Settings) checkAddresses(report func(key, reason, fix string)) {
	hosts := token.PlainHTTPHosts(s.HTTPAllowedHosts)
	for _, u := range []struct{ key, value string }{
		{"discovery_url", s.DiscoveryURL}, {"jwks_url", s.JWKSURL}, {"introspection_url", s.IntrospectionURL},
	} {
		if err := hosts.CheckURL(u.value); u.value != "" && err != nil {
			report(u.key, err.Error(), "use https; a host inside your own network may be named in provider.http_allowed_hosts"+token.SchemeHint(u.value))
		}
	}
	for _, server := range s.AuthorizationServers {
		if err := token.PlainHTTPHosts(nil).CheckIdentifier(server); err != nil {
			report("authorization_servers", strconv.Quote(server)+": "+err.Error(), "clients need an https address"+token.IssuerHint(server))
		}
	}
	for _, host := range s.HTTPAllowedHosts {
		if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" {
			report("http_allowed_hosts", strconv.Quote(host)+" is not a host, alone or with a port", "write only the host, such as issuer or issuer:9000")
		}
	}
}

func (s *Settings) checkAudience(resource providers.Resource, report func(key, reason, fix string)) {
	for _, audience := range s.Audiences {
		if strings.TrimSpace(audience) == "" {
			report("audiences", "an entry is empty", "remove it; without any, the resource "+resource.String()+" is the audience")
		}
	}
	if !slices.Contains([]string{audienceRequired, clientAllowList}, s.AudienceMode) {
		report("audience_mode", "there is no such mode", "use required, or client_allow_list")
	}
	if s.AudienceMode == clientAllowList && len(s.AllowedClients) == 0 {
		report("audience_mode", "without a list of clients every token of the provider would be accepted, whoever it is for", "name the clients in provider.allowed_clients")
	}
	if s.AudienceMode == clientAllowList && len(s.ClientClaims) == 0 {
		report("client_claims", "nothing says which client a token was issued to", "leave it out for the default")
	}
	if s.AudienceMode == audienceRequired && len(s.AllowedClients) > 0 {
		report("allowed_clients", "nobody looks at it: it counts in the mode client_allow_list only", "remove it, or set provider.audience_mode to client_allow_list")
	}
	for _, client := range s.AllowedClients {
		if strings.TrimSpace(client) == "" {
			report("allowed_clients", "an entry is empty", "remove it")
		}
	}
}

func (s *Settings) checkClaims(report func(key, reason, fix string)) {
	for _, entry := range s.RequiredClaims {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || strings.TrimSpace(name) == "" || value == "" {
			report("required_claims", strconv.Quote(entry)+" does not say which claim must have which value", "write claim=value, such as token_use=access")
		}
		if token.IsTypeClaim([]byte(name)) && token.IsOtherType(value) {
			report("required_claims", strconv.Quote(entry)+" is what refresh, ID or logout tokens say, which are always refused",
				"require the value that access tokens have, such as token_use=access, or remove it")
		}
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"scope_claims", s.ScopeClaims}, {"client_claims", s.ClientClaims}, {"subject_claim", []string{s.SubjectClaim}}} {
		for _, name := range list.values {
			if strings.Trim(name, " .") != name || name == "" {
				report(list.key, strconv.Quote(name)+" is not the name of a claim", "write the claim as the token has it, such as sub; dots lead into objects")
			}
		}
	}
}

func (s *Settings) checkScopes(report func(key, reason, fix string)) {
	_, wrong := token.ParseScopeMap(s.ScopeMap)
	for _, entry := range wrong {
		report("scope_map", strconv.Quote(entry)+" does not say which scope of theirs is which of ours", "write theirs=ours, such as api://demo/mcp.use=mcp:use")
	}
	for _, list := range []struct {
		key    string
		scopes []string
	}{{"default_scopes", s.DefaultScopes}, {"scopes_advertised", s.ScopesAdvertised}} {
		for _, scope := range list.scopes {
			if !providers.IsScope(scope) {
				report(list.key, strconv.Quote(scope)+" is not a scope (RFC 6749, section 3.3)", "use printable ASCII without blanks, quotes and backslashes")
			}
		}
	}
}

func (s *Settings) checkIntrospection(report func(key, reason, fix string)) {
	for _, word := range []struct {
		key, value string
		accepted   []string
	}{
		{"introspection", s.Introspection, []string{introspectNothing, introspectOpaque, introspectAlways}},
		{"introspection_style", s.IntrospectionStyle, []string{styleRFC7662, styleGoogle}},
		{"introspection_auth", s.IntrospectionAuth, []string{authBasic, authPost, authKey, authNone}},
	} {
		if !slices.Contains(word.accepted, word.value) {
			report(word.key, "there is no such word for it", "use one of: "+strings.Join(word.accepted, ", "))
			return
		}
	}
	if s.Introspection == introspectNothing {
		for _, unused := range []struct{ key, value string }{
			{"introspection_url", s.IntrospectionURL}, {"client_id", s.ClientID}, {"client_secret", s.ClientSecret.Reveal()},
			{"client_key", s.ClientKey.Reveal()}, {"client_key_id", s.ClientKeyID},
		} {
			if unused.value != "" {
				report(unused.key, "nobody uses it: this server verifies tokens with the provider's public keys, unless introspection is on", "remove it, or set provider.introspection to opaque or always")
			}
		}
		if s.IntrospectionNoExp {
			report("introspection_without_exp", "it has no effect while introspection is off: a JWT without exp is always refused", "remove it, or set provider.introspection to opaque or always")
		}
		return
	}
	if s.IntrospectionNoExp && s.IntrospectionCache == 0 {
		report("introspection_without_exp", "an answer without exp is good for introspection_cache, which is 0s", "set provider.introspection_cache, for instance to 30s")
	}
	usesSecret := s.IntrospectionStyle == styleRFC7662 && (s.IntrospectionAuth == authBasic || s.IntrospectionAuth == authPost)
	usesKey := s.IntrospectionStyle == styleRFC7662 && s.IntrospectionAuth == authKey
	if (usesSecret || usesKey) && s.ClientID == "" {
		report("client_id", "the provider tells about tokens to its own clients only", "register this server at the provider as a confidential client, or set provider.introspection_auth to none if it asks for nothing")
	}
	if usesSecret && s.ClientSecret == "" {
		report("client_secret", "introspection_auth "+s.IntrospectionAuth+" needs a secret", "set provider.client_secret_file, or another provider.introspection_auth")
	}
	if !usesSecret && s.ClientSecret != "" {
		report("client_secret", "nobody uses it with introspection_auth "+s.IntrospectionAuth, "remove it, or set provider.introspection_auth to basic or post")
	}
	if !usesKey && s.ClientKey != "" {
		report("client_key", "nobody uses it with introspection_auth "+s.IntrospectionAuth, "remove it, or set provider.introspection_auth to private_key_jwt")
	}
	if !usesKey {
		return
	}
	if _, err := token.NewClientSigner(s.ClientKey, s.ClientKeyID); s.ClientKey == "" {
		report("client_key", "introspection_auth private_key_jwt needs a private key", "name its PEM file in provider.client_key_file")
	} else if err != nil {
		report("client_key", err.Error(), "name its PEM file in provider.client_key_file; RSA, P-256, P-384, P-521 or Ed25519")
	}
}
