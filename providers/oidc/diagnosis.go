package oidc

import (
	"context"
	"net/http"
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
			Run: func(context.Context, *http.Client) diagnostics.Outcome {
				found := "neither the typ header (" + strings.Join(rules.TokenTypes, ", ") + ") nor a required claim " +
					"distinguishes them: a refresh token without a type claim is accepted"
				return diagnostics.Warning(found, acceptsOtherTypesFix+", or a preset")
			},
		})
	}
	return d
}

// authorities returns the issuer whose metadata this server reads, and those where clients sign in; usually
// they are one.
func (s *Settings) authorities(issuers []string) []diagnostics.Authority {
	own := s.discovery(issuers, nil)
	fix := func(setting string) string {
		return "set " + setting + " to the issuer in the metadata if this is your provider: clients compare it " +
			"byte for " +
			"byte, and this server compares it with tokens"
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
