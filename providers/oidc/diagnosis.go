package oidc

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// Diagnose implements [diagnostics.Diagnoser].
func (s *Settings) Diagnose(info providers.ServerInfo) diagnostics.Diagnosis {
	rules := s.rules(info.Resource)
	d := diagnostics.Diagnosis{
		Metadata:         s.metadata(info, rules),
		Authorities:      s.authorities(rules.Issuers),
		Keys:             diagnostics.Endpoint{URL: s.JWKSURL, Setting: "provider.jwks_url"},
		Keyless:          s.Introspection == introspectAlways,
		Algorithms:       rules.Algorithms,
		Leeway:           s.Leeway,
		DefaultScopes:    rules.ScopeMap.ToLocal(s.DefaultScopes),
		HTTPAllowedHosts: s.HTTPAllowedHosts,
	}
	if s.Introspection != introspectNothing {
		d.Introspection = diagnostics.Endpoint{URL: s.IntrospectionURL, Setting: "provider.introspection_url"}
		d.Introspect = func(ctx context.Context, client *http.Client, address string) error {
			protocol, err := s.introspectionProtocol()
			if err != nil {
				return providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
			}
			return token.ProbeIntrospection(ctx, protocol, client, address, rules)
		}
	}
	if s.acceptsOtherTypes(rules) {
		d.Checks = append(d.Checks, diagnostics.Check{
			Name: "provider.token_types", Expected: "access tokens are distinguishable from the provider's other JWTs",
			Offline: true,
			Run: func(context.Context, *http.Client) diagnostics.Outcome {
				found := "neither the typ header (" + strings.Join(rules.TokenTypes, ", ") + ") nor a required claim " +
					"distinguishes access tokens: a refresh token without a type claim is accepted"
				return diagnostics.Warning(found, acceptsOtherTypesFix+", or a preset")
			},
		})
	}
	if s.isEntra() {
		d.Checks = append(d.Checks, s.entraScopes(info.Resource, d.Metadata.ScopesSupported))
	}
	return d
}

// isEntra reports whether the provider is Microsoft Entra, by its preset or its issuer.
func (s *Settings) isEntra() bool {
	u, err := url.Parse(s.Issuer)
	return s.Preset == "entra" || err == nil && strings.HasPrefix(u.Hostname(), "login.microsoftonline.")
}

// entraScopes checks that clients request scopes of this resource. MCP clients send the resource parameter,
// too, and Entra refuses a request in which the two differ.
func (s *Settings) entraScopes(resource providers.Resource, advertised []string) diagnostics.Check {
	return diagnostics.Check{
		Name: "provider.scope_resource", Expected: "the scopes that clients request are those of the resource that they send",
		Offline: true,
		Run: func(context.Context, *http.Client) diagnostics.Outcome {
			prefix := resource.String() + "/"
			var others []string
			for _, scope := range advertised {
				isOpenID := slices.Contains([]string{"openid", "profile", "email", "offline_access"}, scope)
				if !isOpenID && !strings.HasPrefix(scope, prefix) {
					others = append(others, scope)
				}
			}
			if len(others) == 0 {
				return diagnostics.OK("they begin with " + prefix)
			}
			return diagnostics.Warning("clients request "+strings.Join(others, " ")+", and send the resource "+
				resource.String()+": Entra refuses that sign-in (AADSTS9010010)",
				"at Entra, set the Application ID URI of this server's registration to the resource; here, write each "+
					"scope as clients request it, and then as tokens have it, in provider.scope_map: "+
					prefix+"mcp.use=mcp:use, mcp.use=mcp:use")
		},
	}
}

// authorities returns the issuer whose metadata this server reads, and those where clients sign in; usually
// they are one.
func (s *Settings) authorities(issuers []string) []diagnostics.Authority {
	own := s.discovery(issuers, nil)
	fix := func(setting string) string {
		return "set " + setting + " to the issuer in the metadata if this is your provider: clients compare it " +
			"byte for byte, and this server compares it with tokens"
	}
	var list []diagnostics.Authority
	if s.Introspection != introspectAlways && s.JWKSURL == "" ||
		s.Introspection != introspectNothing && s.IntrospectionURL == "" {
		setting := "provider.issuer"
		switch {
		case s.DiscoveryIssuer != "":
			setting = "provider.discovery_issuer"
		case s.DiscoveryURL != "" && token.IsTemplate(s.Issuer):
			setting = "provider.discovery_url"
		}
		list = append(list, diagnostics.Authority{Identifier: own.Issuers[0], Setting: setting, Fix: fix(setting),
			MetadataURLs: own.MetadataURLs, Issuers: own.Issuers, ForServer: true})
	}
	setting := "provider.issuer"
	if len(s.AuthorizationServers) > 0 {
		setting = "provider.authorization_servers"
	}
	for _, server := range s.authorizationServers(issuers) {
		forClients := diagnostics.Authority{Identifier: server, Setting: setting, Fix: fix(setting),
			MetadataURLs: token.MetadataURLs(server), Issuers: []string{server}, ForClients: true}
		if len(list) > 0 && slices.Equal(list[0].MetadataURLs, forClients.MetadataURLs) &&
			slices.Equal(list[0].Issuers, forClients.Issuers) {
			list[0].ForClients = true
			continue
		}
		list = append(list, forClients)
	}
	return list
}
