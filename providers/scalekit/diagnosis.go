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
			// The metadata of an MCP server named the environment until it was migrated (2026-07).
			{Identifier: server, Setting: setting,
				Fix: "copy provider.environment_url and provider.resource_id from the dashboard again; with a custom " +
					"domain, the domain is the environment's address",
				MetadataURLs: token.MetadataURLs(server), Issuers: []string{server}, Predecessors: []string{environment},
				ForClients: true},
			// Nobody is sent there, but tokens name it as long as the MCP server is not migrated; behind a custom
			// domain it is another than the address says.
			{Identifier: environment, Setting: setting,
				Fix: "write in provider.environment_url what the metadata names, or add it to provider.issuers: tokens " +
					"name it too",
				MetadataURLs: token.MetadataURLs(environment), Issuers: slices.Concat([]string{environment}, s.Issuers)},
		},
		Keys:       diagnostics.Endpoint{URL: s.keysURL(), Setting: setting},
		Algorithms: s.rules().Algorithms,
		Leeway:     s.Leeway,
		Checks:     s.registrationExaminations(info),
	}
}
