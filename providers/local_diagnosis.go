package providers

import "github.com/go-jose/go-jose/v4"

// Diagnose implements [Diagnosable]. The issuer shares the origin of the resource.
func (s *Local) Diagnose(site Site) Diagnosis {
	origin := site.Resource.Origin()
	return Diagnosis{
		Metadata: site.Metadata(origin),
		Embedded: true,
		Authorities: []Authority{{
			Identifier: origin, Setting: "resource", WayOut: "start the server with the same resource as this command, which is the issuer's origin too",
			Places: wellKnownPlaces(origin), Issuers: []string{origin}, ForServer: true, ForClients: true,
		}},
		Algorithms: []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.SigningAlgorithm)},
		Leeway:     DefaultLeeway,
	}
}
