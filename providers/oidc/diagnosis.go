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
			style, err := s.introspectionStyle()
			if err != nil {
				return providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
			}
			return token.ProbeIntrospection(ctx, style, client, address, rules)
		}
	}
	if s.admitsOtherTypes(rules) {
		d.Checks = append(d.Checks, diagnostics.Check{
			Name: "provider.token_types", Expected: "something tells access tokens from the provider's other JWTs",
			Run: func(context.Context, *http.Client) diagnostics.Outcome {
				found := "neither the typ header (" + strings.Join(rules.TokenTypes, ", ") + ") nor a required claim does: " +
					"a refresh token that does not say so in a claim is accepted"
				return diagnostics.Warning(found, admitsOtherTypesFix+", or a preset")
			},
		})
	}
	return d
}

// authorities are the issuer as this server reads it, and those that clients are sent to; mostly they are one.
func (s *Settings) authorities(issuers []string) []diagnostics.Authority {
	own := s.discovery(issuers, nil)
	fix := func(setting string) string {
		return "write in " + setting + " what the metadata names, if this is your provider: clients compare it byte for byte, and so does this server with its tokens"
	}
	var list []diagnostics.Authority
	if s.Introspection != introspectAlways && s.JWKSURL == "" || s.Introspection != introspectNothing && s.IntrospectionURL == "" {
		setting := "provider.issuer"
		switch {
		case s.DiscoveryIssuer != "":
			setting = "provider.discovery_issuer"
		case s.DiscoveryURL != "" && token.IsTemplate(s.Issuer):
			setting = "provider.discovery_url"
		}
		list = append(list, diagnostics.Authority{Identifier: own.Issuers[0], Setting: setting, Fix: fix(setting), MetadataURLs: own.MetadataURLs, Issuers: own.Issuers, ForServer: true})
	}
	setting := "provider.issuer"
	if len(s.AuthorizationServers) > 0 {
		setting = "provider.authorization_servers"
	}
	for _, server := range s.authorizationServers(issuers) {
		forClients := diagnostics.Authority{Identifier: server, Setting: setting, Fix: fix(setting), MetadataURLs: token.MetadataURLs(server), Issuers: []string{server}, ForClients: true}
		if len(list) > 0 && slices.Equal(list[0].MetadataURLs, forClients.MetadataURLs) && slices.Equal(list[0].Issuers, forClients.Issuers) {
			list[0].ForClients = true
			continue
		}
		list = append(list, forClients)
	}
	return list
}
