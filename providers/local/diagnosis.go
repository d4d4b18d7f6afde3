package local

import (
	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// Diagnose implements [diagnostics.Diagnoser]. The issuer has the origin of the resource.
func (s *Settings) Diagnose(info providers.ServerInfo) diagnostics.Diagnosis {
	origin := info.Resource.Origin()
	return diagnostics.Diagnosis{
		Metadata: info.Metadata(origin),
		Embedded: true,
		Authorities: []diagnostics.Authority{{
			Identifier: origin, Setting: "resource",
			Fix:          "start the server with the same resource as this command: its origin is the issuer",
			MetadataURLs: token.MetadataURLs(origin), Issuers: []string{origin}, ForServer: true, ForClients: true,
		}},
		Algorithms: []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.SigningAlgorithm)},
		Leeway:     token.DefaultLeeway,
	}
}
