package providers

import "slices"

// Diagnose implements [Diagnosable].
func (s *Scalekit) Diagnose(site Site) Diagnosis {
	const setting = "provider.environment_url"
	environment, server := s.environment(), s.authorizationServer()
	return Diagnosis{
		Metadata: s.metadata(site),
		Authorities: []Authority{
			// The metadata of an MCP server named the environment until it was migrated (2026-07).
			{Identifier: server, Setting: setting, WayOut: "copy provider.environment_url and provider.resource_id from the dashboard again; with a custom domain, the domain is the environment's address",
				Places: wellKnownPlaces(server), Issuers: []string{server}, Predecessors: []string{environment}, ForClients: true},
			// Nobody is sent there, but tokens name it as long as the MCP server is not migrated; behind a custom domain it is
			// another than the address says.
			{Identifier: environment, Setting: setting, WayOut: "write in provider.environment_url what the metadata names, or add it to provider.issuers: tokens name it too",
				Places: wellKnownPlaces(environment), Issuers: slices.Concat([]string{environment}, s.Issuers)},
		},
		Keys:         Endpoint{URL: s.keysURL(), Setting: setting},
		Algorithms:   s.rules().Algorithms,
		Leeway:       s.Leeway,
		Examinations: s.registrationExaminations(site),
	}
}
