package oidc_test

import (
	"log/slog"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/oidc"
)

// Entra refuses a sign-in whose scopes are not those of the resource that the client sends, too.
func TestDiagnoseEntraScopes(t *testing.T) {
	const (
		entra = "https://login.microsoftonline.com/6b5f0d1a-0000-4000-8000-000000000001/v2.0"
		check = "provider.scope_resource"
	)
	for name, c := range map[string]struct {
		issuer, preset       string
		scopeMap, advertised []string
		want                 diagnostics.Verdict // empty if there is no such check
	}{
		"of the resource": {entra, "", []string{testResource + "/use=mcp:use", "use=mcp:use"}, nil, diagnostics.VerdictOK},
		"those of OpenID": {entra, "", nil, []string{"openid", "offline_access", testResource + "/.default"},
			diagnostics.VerdictOK},
		"of another URI":       {entra, "", []string{"api://b19/use=mcp:use"}, nil, diagnostics.VerdictWarning},
		"without the resource": {entra, "", nil, nil, diagnostics.VerdictWarning},
		"of a longer resource": {entra, "", nil, []string{testResource + "2/use"}, diagnostics.VerdictWarning},
		"by the preset":        {"https://login.example.com", "entra", nil, nil, diagnostics.VerdictWarning},
		"at another provider":  {"https://login.example.com", "", nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := oidc.Defaults()
			s.Issuer, s.Preset, s.ScopeMap, s.ScopesAdvertised = c.issuer, c.preset, c.scopeMap, c.advertised
			resource, err := providers.ParseResource(testResource)
			if err != nil {
				t.Fatal(err)
			}
			d := s.Diagnose(providers.ServerInfo{
				Resource: resource, InitialScopes: []string{"mcp:use"}, Logger: slog.New(slog.DiscardHandler),
			})
			var got diagnostics.Verdict
			for _, one := range d.Checks {
				if one.Name == check {
					got = one.Run(t.Context(), nil).Verdict
				}
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
