package diagnostics_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/broker"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/scalekit"
	"gatehouse/providers/token"
)

func serverInfo(t *testing.T, resource string) providers.ServerInfo {
	t.Helper()
	r, err := providers.ParseResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	return providers.ServerInfo{Resource: r, Name: "Gatehouse", InitialScopes: []string{"mcp:use"},
		KnownScopes: []string{"mcp:use"}, Logger: slog.New(slog.DiscardHandler)}
}

func defaults(t *testing.T, kind string) providers.Settings {
	t.Helper()
	k, ok := configs.KindNamed(kind)
	if !ok {
		t.Fatalf("there is no kind %s", kind)
	}
	return k.Defaults()
}

// The facts of a kind agree with the metadata of its provider.
func TestDiagnoseAgreesWithMetadata(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	env := scalekitenv.New(t, scalekitenv.Config{ServerURL: "http://localhost:3002/mcp"})
	configured := map[string]func(providers.Settings){
		"oidc": func(s providers.Settings) {
			o := s.(*oidc.Settings)
			o.Issuer, o.JWKSURL, o.ScopeMap = issuer.URL(), issuer.KeysURL(), []string{"api://demo/use=mcp:use"}
			o.AuthorizationServers = []string{"https://login.example.com"}
		},
		"scalekit": func(s providers.Settings) {
			k := s.(*scalekit.Settings)
			k.EnvironmentURL, k.ResourceID, k.ProtectedResourceMetadata = env.URL(), env.ResourceID(),
				string(env.ProtectedResourceMetadata())
		},
		"broker": func(s providers.Settings) {
			b := s.(*broker.Settings)
			b.Issuer, b.ClientID, b.ClientSecret = issuer.URL(), "gatehouse", "secret"
			b.Secrets = providers.Secret(seal.NewSecret())
		},
	}
	for _, name := range []string{"broker", "local", "oidc", "scalekit"} {
		if _, ok := defaults(t, name).(diagnostics.Diagnoser); !ok {
			t.Errorf("kind %s is no Diagnoser", name)
		}
	}
	for _, kind := range configs.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			settings := defaults(t, kind.Name)
			if change := configured[kind.Name]; change != nil {
				change(settings)
			}
			info := serverInfo(t, "http://localhost:3002/mcp")
			d, ok := settings.(diagnostics.Diagnoser)
			if !ok {
				t.Skip("it has no diagnosis of its own")
			}
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
			p, err := settings.Open(ctx, info)
			if err != nil {
				t.Fatal(err)
			}
			diagnosis := d.Diagnose(info)
			if diff := cmp.Diff(p.Metadata(), diagnosis.Metadata); diff != "" {
				t.Error(diff)
			}
			forClients := []string{}
			for _, a := range diagnosis.Authorities {
				if len(a.MetadataURLs) == 0 || len(a.Issuers) == 0 || a.Setting == "" || a.Fix == "" {
					t.Errorf("%+v lacks a value", a)
				}
				if a.ForClients {
					forClients = append(forClients, a.Identifier)
				}
			}
			if !slices.Equal(forClients, p.Metadata().AuthorizationServers) {
				t.Errorf("the metadata names %v, the diagnosis %v", p.Metadata().AuthorizationServers, forClients)
			}
			if len(diagnosis.Algorithms) == 0 || diagnosis.Leeway == 0 {
				t.Errorf("%+v", diagnosis)
			}
		})
	}
}

// Any provider's metadata names the authorization servers of its clients.
func TestFromMetadataHasTheAuthorizationServers(t *testing.T) {
	metadata := serverInfo(t, "http://localhost:3002/mcp").Metadata("https://a.example/main", "https://b.example")
	d := diagnostics.FromMetadata(metadata)
	if diff := cmp.Diff(metadata, d.Metadata); diff != "" {
		t.Error(diff)
	}
	if len(d.Authorities) != 2 || d.Embedded || d.Introspect != nil || len(d.Checks) > 0 {
		t.Fatalf("%+v", d)
	}
	for i, a := range d.Authorities {
		server := metadata.AuthorizationServers[i]
		if a.Identifier != server || !a.ForClients || a.ForServer || !a.Names(server) || a.Names(server+"/") ||
			!slices.Equal(a.MetadataURLs, token.MetadataURLs(server)) || a.Setting == "" || a.Fix == "" {
			t.Errorf("%+v", a)
		}
	}
}

// The server and its clients may read different documents.
func TestAuthoritiesFollowFromTheSettings(t *testing.T) {
	const issuer = "https://login.example.com/main"
	type brief struct {
		Identifier, Setting   string
		First                 string // the URL that is tried first
		ForServer, ForClients bool
	}
	const inserted = "https://login.example.com/.well-known/oauth-authorization-server/main"
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		want   []brief
	}{
		"one for both": {func(*oidc.Settings) {},
			[]brief{{issuer, "provider.issuer", inserted, true, true}}},
		"provider.jwks_url, so that only clients read metadata": {func(o *oidc.Settings) {
			o.JWKSURL = "https://inner.example.com/keys"
		},
			[]brief{{issuer, "provider.issuer", inserted, false, true}}},
		"a back channel": {func(o *oidc.Settings) { o.DiscoveryURL = "http://localhost:9000/metadata" },
			[]brief{{issuer, "provider.issuer", "http://localhost:9000/metadata", true, false},
				{issuer, "provider.issuer", inserted, false, true}}},
		"metadata that names another issuer": {func(o *oidc.Settings) {
			o.DiscoveryIssuer = "https://sts.example.com"
		},
			[]brief{{"https://sts.example.com", "provider.discovery_issuer",
				"https://sts.example.com/.well-known/oauth-authorization-server", true, false},
				{issuer, "provider.issuer", inserted, false, true}}},
		"clients are sent elsewhere": {func(o *oidc.Settings) {
			o.AuthorizationServers = []string{"https://proxy.example.com"}
		},
			[]brief{{issuer, "provider.issuer", inserted, true, false},
				{"https://proxy.example.com", "provider.authorization_servers",
					"https://proxy.example.com/.well-known/oauth-authorization-server", false, true}}},
		"many tenants": {func(o *oidc.Settings) {
			o.Issuer, o.Tenants, o.DiscoveryURL = "https://login.example.com/{tid}", []string{"main"},
				"https://login.example.com/common/metadata"
		},
			[]brief{{"https://login.example.com/{tid}", "provider.discovery_url",
				"https://login.example.com/common/metadata", true, false},
				{issuer, "provider.issuer", inserted, false, true}}},
		"every token is introspected, at provider.introspection_url": {func(o *oidc.Settings) {
			o.Introspection, o.IntrospectionURL = "always", "https://login.example.com/introspect"
		},
			[]brief{{issuer, "provider.issuer", inserted, false, true}}},
		"opaque tokens are introspected, at the endpoint in the metadata": {func(o *oidc.Settings) {
			o.Introspection, o.JWKSURL = "opaque", "https://inner.example.com/keys"
		},
			[]brief{{issuer, "provider.issuer", inserted, true, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := defaults(t, "oidc").(*oidc.Settings)
			settings.Issuer = issuer
			c.change(settings)
			var got []brief
			for _, a := range settings.Diagnose(serverInfo(t, "https://mcp.example.com/mcp")).Authorities {
				got = append(got, brief{a.Identifier, a.Setting, a.MetadataURLs[0], a.ForServer, a.ForClients})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAuthorityOfATenantAcceptsTheTemplate(t *testing.T) {
	settings := defaults(t, "oidc").(*oidc.Settings)
	settings.Issuer, settings.Tenants = "https://login.example.com/{tid}", []string{"main"}
	settings.DiscoveryURL = "https://login.example.com/metadata"
	a := settings.Diagnose(serverInfo(t, "https://mcp.example.com/mcp")).Authorities[0]
	for issuer, want := range map[string]bool{
		"https://login.example.com/{tenantid}": true, "https://login.example.com/main": true,
		"https://login.example.com/other": false, "https://login.example.com/main/": false, "": false,
	} {
		if a.Names(issuer) != want {
			t.Errorf("%q: %t", issuer, !want)
		}
	}
}

// A member of the wrong type counts as missing, and does not affect the others.
func TestDiscoverReadsMemberByMember(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"i","jwks_uri":7,"token_endpoint":"t",
			"code_challenge_methods_supported":"S256","scopes_supported":["a"],
			"client_id_metadata_document_supported":"yes","ISSUER":"other","more":{}}`))
	}))
	t.Cleanup(s.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	p := diagnostics.NewProber(diagnostics.Diagnosis{}, transport, "")
	metadata := func(address string) (token.PublishedMetadata, error) {
		document := p.Discover(t.Context(), diagnostics.Authority{MetadataURLs: []string{address}})[0]
		return document.Metadata, document.Err
	}
	got, err := metadata(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	want := token.PublishedMetadata{Issuer: "i", TokenEndpoint: "t", Scopes: []string{"a"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, body := range []string{"null", "[]", "{", ""} {
		none := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(body))
		}))
		if got, err := metadata(none.URL); err == nil {
			t.Errorf("%q is read as %+v", body, got)
		}
		none.Close()
	}
	if _, err := p.Keys(t.Context(), "http://id.example.com/keys"); err == nil ||
		!strings.Contains(err.Error(), "plain http is allowed only on loopback") {
		t.Errorf("keys over plain http: %v", err)
	}
}

func TestKeysListsUsableAndSkippedKeys(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	issuer.AddKey("ES256")
	issuer.Publish(`{"kty":"oct","k":"AAAA"}`)
	issuer.Publish(`{"kty":"canary-upstream"}`)
	got, err := diagnostics.NewProber(diagnostics.Diagnosis{}, issuer.Client().Transport, "").Keys(t.Context(),
		issuer.KeysURL())
	if err != nil {
		t.Fatal(err)
	}
	want := token.PublishedKeys{Usable: 2, Algorithms: []string{"ES256", "RS256"},
		Skipped: []string{"#0: its type is not supported", "#1: it is not a public key"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The probe sends a random token, never one that was issued.
func TestIntrospectSendsARandomToken(t *testing.T) {
	for body, want := range map[string]string{
		`{"active":false}`:   "",
		`{"active":true}`:    "active",
		`<p>canary-upstream`: "introspection response: not one JSON object",
	} {
		t.Run(body, func(t *testing.T) {
			requests := make(chan string, 1)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, secret, _ := r.BasicAuth()
				requests <- id + " " + secret + " " + r.FormValue("token")
				_, _ = w.Write([]byte(body))
			}))
			t.Cleanup(s.Close)
			settings := defaults(t, "oidc").(*oidc.Settings)
			settings.Issuer, settings.Introspection, settings.IntrospectionURL = s.URL, "always", s.URL
			settings.ClientID, settings.ClientSecret = "gatehouse", "canary-secret"
			d := settings.Diagnose(serverInfo(t, "https://mcp.example.com/mcp"))
			if !d.Keyless || d.Introspection.URL != s.URL {
				t.Errorf("%+v", d)
			}
			err := d.Introspect(t.Context(), diagnostics.NewProber(d, &http.Transport{DisableKeepAlives: true},
				"").Client(), s.URL)
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want) ||
				strings.Contains(err.Error(), "canary")):
				t.Errorf("%v", err)
			}
			if sent := strings.Fields(<-requests); len(sent) != 3 || sent[0] != "gatehouse" ||
				sent[1] != "canary-secret" || len(sent[2]) < 20 {
				t.Errorf("it sent %q", sent)
			}
		})
	}
}
