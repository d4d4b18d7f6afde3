package authserver_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

// shape is how a client of MCP makes itself known, and the redirect URIs with which it comes.
type shape struct {
	name      string
	metadata  map[string]any // without the client_id of a document
	redirects []string
}

// documentShapes are the client ID metadata documents of clients.
func documentShapes() []shape {
	both := []string{"authorization_code", "refresh_token"}
	return []shape{
		{"claude.ai", map[string]any{
			"client_name": "Claude", "client_uri": "https://claude.ai",
			"redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"},
			"grant_types":   both, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		}, []string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"}},
		{"Claude Code", map[string]any{
			"client_name": "Claude Code", "client_uri": "https://claude.ai",
			"redirect_uris": []string{"http://localhost/callback", "http://127.0.0.1/callback"},
			"grant_types":   both, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
			"application_type": "native",
		}, []string{"http://localhost:54212/callback", "http://127.0.0.1:3118/callback"}},
		{"ChatGPT", map[string]any{
			"client_name":   "ChatGPT",
			"redirect_uris": []string{"https://chatgpt.com/connector_platform_oauth_redirect"},
			"grant_types":   both, "response_types": []string{"code"}, "token_endpoint_auth_method": "private_key_jwt",
			"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "none"},
			"token_endpoint_auth_signing_alg":       "RS256", "jwks_uri": "https://chatgpt.com/oauth/jwks.json",
			"logo_uri": "https://chatgpt.com/logo.png",
		}, []string{"https://chatgpt.com/connector_platform_oauth_redirect"}},
		{"Codex", map[string]any{
			"client_name":   "Codex",
			"redirect_uris": []string{"http://127.0.0.1/callback", "http://localhost/callback"},
			"grant_types":   both, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		}, []string{"http://127.0.0.1:5555/callback", "http://localhost:5555/callback"}},
		{"VS Code", map[string]any{
			"client_name": "Visual Studio Code", "client_uri": "https://vscode.dev/product",
			"redirect_uris":  []string{"http://127.0.0.1:33418/", "https://vscode.dev/redirect"},
			"grant_types":    append(both, "urn:ietf:params:oauth:grant-type:device_code"),
			"response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "native",
		}, []string{"http://127.0.0.1:33418/", "http://127.0.0.1:50000/", "https://vscode.dev/redirect"}},
	}
}

// registrationShapes are the dynamic registrations of clients.
func registrationShapes() []shape {
	both := []string{"authorization_code", "refresh_token"}
	return []shape{
		{"Cursor", map[string]any{
			"client_name": "Cursor", "redirect_uris": cursorRedirects(), "grant_types": both,
			"response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		}, cursorRedirects()[:2]},
		{"claude.ai", map[string]any{
			"client_name": "Claude", "redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"}, "grant_types": both,
			"response_types": []string{"code"}, "token_endpoint_auth_method": "none", "scope": "notes:read",
		}, []string{"https://claude.ai/api/mcp/auth_callback"}},
		{"Claude Code", map[string]any{
			"client_name": "Claude Code (gatehouse)", "redirect_uris": []string{"http://localhost:54212/callback"},
			"grant_types": both, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		}, []string{"http://localhost:54212/callback", "http://localhost:1/callback"}},
		{"ChatGPT", map[string]any{
			"client_name": "ChatGPT", "redirect_uris": []string{"https://chatgpt.com/connector/oauth/a1B2c3"},
			"grant_types":    both,
			"response_types": []string{"code"}, "token_endpoint_auth_method": "client_secret_post",
		}, []string{"https://chatgpt.com/connector/oauth/a1B2c3"}},
		{"VS Code", map[string]any{
			"client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com",
			"redirect_uris": []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/",
				"http://127.0.0.1:33418/"},
			"grant_types":    append(both, "urn:ietf:params:oauth:grant-type:device_code"),
			"response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "native",
		}, []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1:40000/"}},
	}
}

func TestClientShapes(t *testing.T) {
	for _, s := range documentShapes() {
		t.Run("the document of "+s.name+" is fetched and its redirect URIs are accepted", func(t *testing.T) {
			d := newDocumentHost(t)
			s.metadata["client_id"] = d.id()
			d.serve(s.metadata)
			issuer := open(t, signInElsewhere, d.trusted)
			for _, uri := range s.redirects {
				wantConsent(t, issuer.authorize("client_id", d.id(), "redirect_uri", uri))
			}
			wantPage(t, issuer.authorize("client_id", d.id(), "redirect_uri", "https://evil.example/cb"), http.StatusBadRequest)
			issuer.wantKnown(t, d.id())
			if got := d.fetches.Load(); got != 1 {
				t.Errorf("%d requests, want that for the document: no logo and no keys", got)
			}
		})
	}
	for _, s := range registrationShapes() {
		t.Run(s.name+" registers and its redirect URIs are accepted", func(t *testing.T) {
			issuer := open(t, signInElsewhere)
			got := issuer.registered(s.metadata)
			id := got["client_id"].(string)
			if fmt.Sprint(got["grant_types"]) != "[authorization_code refresh_token]" || len(id) > 700 {
				t.Errorf("the id has %d bytes; registered %v", len(id), got)
			}
			for _, uri := range s.redirects {
				wantConsent(t, issuer.authorize("client_id", id, "redirect_uri", uri))
			}
			wantPage(t, issuer.authorize("client_id", id, "redirect_uri", "https://evil.example/cb"), http.StatusBadRequest)
		})
	}
}

func TestPublicClientThatOffersKeys(t *testing.T) {
	d := newDocumentHost(t)
	d.serve(d.document("token_endpoint_auth_method", "private_key_jwt", "token_endpoint_auth_methods_supported",
		[]string{"private_key_jwt", "none"}, "jwks_uri", d.URL+"/keys.json", "logo_uri", d.URL+"/logo.png"))
	issuer := open(t, signInElsewhere, d.trusted)
	t.Run("row 12 a document that lists private_key_jwt and none is that of a public client", func(t *testing.T) {
		wantConsent(t, issuer.authorize("client_id", d.id()))
		issuer.wantKnown(t, d.id())
		form := issuer.exchange("x", "client_id", d.id())
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", "x.y.z")
		wantError(t, issuer.post("/token", form), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("row 10 no logo is loaded", func(t *testing.T) {
		a := issuer.authorize("client_id", d.id())
		if strings.Contains(a.body, "logo") || d.fetches.Load() != 1 {
			t.Errorf("%d requests; %s", d.fetches.Load(), a.body)
		}
	})
}

// Each client reads other members of the metadata.
func TestMetadataForClients(t *testing.T) {
	issuer := open(t, signInElsewhere)
	document := issuer.get("/.well-known/oauth-authorization-server").json(t)
	if other := issuer.get("/.well-known/openid-configuration").json(t); !reflect.DeepEqual(document, other) {
		t.Errorf("the documents differ: %v and %v", document, other)
	}
	for member, want := range map[string]any{
		"issuer":                           issuer.url,
		"authorization_endpoint":           issuer.url + "/authorize",
		"token_endpoint":                   issuer.url + "/token",
		"registration_endpoint":            issuer.url + "/register",
		"revocation_endpoint":              issuer.url + "/revoke",
		"jwks_uri":                         issuer.url + "/keys",
		"code_challenge_methods_supported": []any{"S256"},
		// Without both, claude.ai registers again at each connection.
		"token_endpoint_auth_methods_supported": []any{"none", "client_secret_basic", "client_secret_post"},
		"client_id_metadata_document_supported": true,
		// With it ChatGPT uses one redirect URI for all servers.
		"authorization_response_iss_parameter_supported": true,
		"grant_types_supported":                          []any{"authorization_code", "refresh_token"},
		"response_types_supported":                       []any{"code"},
		"scopes_supported": []any{"notes:read", "notes:write", "admin", "openid",
			"offline_access"},
		"claims_supported": []any{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash"},
	} {
		if !reflect.DeepEqual(document[member], want) {
			t.Errorf("%s is %v, want %v", member, document[member], want)
		}
	}
	for _, member := range []string{"introspection_endpoint", "introspection_endpoint_auth_methods_supported",
		"authorization_grant_profiles_supported", "token_endpoint_auth_signing_alg_values_supported",
		"end_session_endpoint", "userinfo_endpoint"} {
		if value, there := document[member]; there {
			t.Errorf("%s is %v", member, value)
		}
	}
	without := open(t, signInElsewhere, func(c *authserver.Config) { c.ClientDocuments = false })
	got := without.get("/.well-known/oauth-authorization-server").json(t)
	if got["client_id_metadata_document_supported"] != nil {
		t.Error("documents are announced, and not fetched")
	}
}
