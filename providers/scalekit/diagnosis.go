package scalekit

import (
	"slices"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// Diagnose implements [diagnostics.Diagnoser].
func (s *Settings) Diagnose(info providers.ServerInfo) diagnostics.Diagnosis {
	const setting = "provider.environment_url"
	environment, server := s.environment(), s.authorizationServer()
	return diagnostics.Diagnosis{
		Metadata: s.metadata(info),
		Authorities: []diagnostics.Authority{
			// The metadata of an MCP server named the environment as issuer until the migration (2026-07).
			{Identifier: server, Setting: setting,
				Fix: "copy provider.environment_url and provider.resource_id from the dashboard again; with a custom " +
					"domain, the domain is the environment's address",
				MetadataURLs: token.MetadataURLs(server), Issuers: []string{server}, Predecessors: []string{environment},
				ForClients: true},
			// Clients do not sign in at the environment, but it is the issuer in tokens until the MCP server
			// is migrated. With a custom domain it differs from the environment's URL.
			{Identifier: environment, Setting: setting,
				Fix: "set provider.environment_url to the issuer in the metadata, or add that issuer to " +
					"provider.issuers: tokens have it too",
				MetadataURLs: token.MetadataURLs(environment), Issuers: slices.Concat([]string{environment}, s.Issuers)},
		},
		Keys:       diagnostics.Endpoint{URL: s.keysURL(), Setting: setting},
		Algorithms: s.rules().Algorithms,
		Leeway:     s.Leeway,
		Checks:     s.registrationChecks(info),
	}
}
