package broker

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// Diagnose implements [diagnostics.Diagnoser]. The authorization server has the origin of the resource, and is
// examined as clients reach it; the provider at which people sign in is examined with its client.
func (s *Settings) Diagnose(info providers.ServerInfo) diagnostics.Diagnosis {
	origin := info.Resource.Origin()
	d := diagnostics.Diagnosis{
		Metadata: info.Metadata(origin),
		Embedded: true,
		Authorities: []diagnostics.Authority{{
			Identifier: origin, Setting: "resource",
			Fix:          "start the server with the same resource as this command: its origin is the issuer",
			MetadataURLs: token.MetadataURLs(origin), Issuers: []string{origin}, ForServer: true, ForClients: true,
		}},
		Algorithms:       []jose.SignatureAlgorithm{signingAlgorithm},
		Leeway:           token.DefaultLeeway,
		HTTPAllowedHosts: s.HTTPAllowedHosts,
		Routes:           routes(),
		FreeRegistration: true,
		SecretFiles:      s.enterpriseSecretFiles(),
	}
	if path, ok := s.storeFile(); ok {
		d.SealedFile = path
	}
	for _, outside := range s.outside() {
		d.Authorities = append(d.Authorities, diagnostics.Authority{
			Identifier: outside.issuer, Setting: outside.setting,
			Fix:          "set " + outside.setting + " to the issuer in the metadata, if this is the company's provider",
			MetadataURLs: token.MetadataURLs(outside.issuer), Issuers: []string{outside.issuer}, ForServer: true,
		})
	}
	kept := &storeExamination{settings: s, origin: origin}
	people := &signInExamination{settings: s, info: info, store: kept}
	d.Checks = slices.Concat(kept.checks(), people.checks(), s.enterpriseChecks())
	return d
}

// routes are the paths of the authorization server with the responses to requests that have no effect.
func routes() []diagnostics.Route {
	var list []diagnostics.Route
	for _, p := range authserver.ProviderProbes() {
		list = append(list, diagnostics.Route{Method: p.Method, Path: p.Path, Status: p.Status, IsPage: p.IsPage})
	}
	return list
}

// outsideIssuer is an issuer whose metadata the server reads.
type outsideIssuer struct{ issuer, setting string }

// outside returns the provider at which people sign in, and the issuers of identity assertions, each once.
func (s *Settings) outside() []outsideIssuer {
	list := []outsideIssuer{{s.Issuer, "provider.issuer"}}
	for _, issuer := range s.EnterpriseIssuers {
		if !slices.ContainsFunc(list, func(o outsideIssuer) bool { return o.issuer == issuer }) {
			list = append(list, outsideIssuer{issuer, "provider.enterprise_issuers"})
		}
	}
	return list
}

// enterpriseSecretFiles returns the files that enterprise_clients names.
func (s *Settings) enterpriseSecretFiles() []diagnostics.SecretFile {
	var files []diagnostics.SecretFile
	for _, entry := range s.EnterpriseClients {
		if c, err := readEnterpriseClient(entry); err == nil && c.secret != "" {
			_, path, _ := strings.Cut(entry, "=")
			files = append(files, diagnostics.SecretFile{Setting: "provider.enterprise_clients", Path: path})
		}
	}
	return files
}

// enterpriseChecks are the checks of the issuers of identity assertions. Their metadata is examined as that of every
// authority.
func (s *Settings) enterpriseChecks() []diagnostics.Check {
	var checks []diagnostics.Check
	for _, issuer := range s.EnterpriseIssuers {
		checks = append(checks, diagnostics.Check{
			Name: "enterprise.keys", Subject: issuer, Authority: issuer,
			Expected: "its keys can verify identity assertions",
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				discovery := token.Discovery{Issuers: []string{issuer}, MetadataURLs: token.MetadataURLs(issuer), Client: client,
					PlainHTTPHosts: token.PlainHTTPHosts(s.HTTPAllowedHosts)}
				address, err := discovery.KeysURL(ctx)
				const loss = "its identity assertions are refused"
				if err != nil {
					return diagnostics.Failed(err.Error(), "have the provider publish the address of its keys (jwks_uri); until then "+
						loss)
				}
				return probeKeys(ctx, client, address, loss)
			},
		})
	}
	return checks
}
