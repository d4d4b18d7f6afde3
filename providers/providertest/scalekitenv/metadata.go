package scalekitenv

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// MetadataPath is where authorization server metadata are served, relative to the path of the issuer. Values
// can be combined with |.
type MetadataPath int

const (
	// Appended is {env}/resources/{res}/.well-known/oauth-authorization-server, as Scalekit documents it.
	Appended MetadataPath = 1 << iota
	// Inserted is {env}/.well-known/oauth-authorization-server/resources/{res}, as RFC 8414, section 3.1
	// defines it and most clients try first. It was reported missing for one tenant.
	Inserted
)

// environmentMetadata has no registration endpoint: clients register with a resource.
func (e *Environment) environmentMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                e.URL(),
		"authorization_endpoint":                e.URL() + "/oauth/authorize",
		"token_endpoint":                        e.URL() + "/oauth/token",
		"jwks_uri":                              e.URL() + "/keys",
		"userinfo_endpoint":                     e.URL() + "/userinfo",
		"end_session_endpoint":                  e.URL() + "/oidc/logout",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      identityScopes(),
		"grant_types_supported": []string{"authorization_code", "refresh_token",
			"client_credentials"},
	})
}

func (e *Environment) resourceMetadata(place MetadataPath) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		resource, ok := e.resourceInPath(r)
		if !ok || !resource.serves(place) {
			http.NotFound(w, r)
			return
		}
		writeJSON(w, http.StatusOK, resource.metadata())
	}
}

func (r *Resource) serves(place MetadataPath) bool {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	return r.metadataAt&place != 0
}

func (r *Resource) metadata() map[string]any {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	document := map[string]any{
		"issuer":                                r.AuthorizationServer(),
		"authorization_endpoint":                r.AuthorizationServer() + "/oauth/authorize",
		"token_endpoint":                        r.AuthorizationServer() + "/oauth/token",
		"registration_endpoint":                 r.recordURL() + "/clients:register",
		"jwks_uri":                              r.env.URL() + "/keys",
		"client_id_metadata_document_supported": !r.documentsOff,
		"code_challenge_methods_supported":      []string{"S256"},
		"grant_types_supported": []string{"authorization_code", "client_credentials",
			"refresh_token"},
		"scopes_supported":         slices.Clone(r.scopes),
		"response_types_supported": []string{"code"},
	}
	if r.registration != 0 {
		delete(document, "registration_endpoint")
	}
	return withChanges(document, r.metadataChanges)
}

// responseIssuer returns the iss of authorization responses of the resource's own endpoint, or "" for none.
func (r *Resource) responseIssuer() string {
	issuer, _ := r.metadata()["issuer"].(string)
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	if r.omitResponseIssuer {
		return ""
	}
	return issuer
}

func (r *Resource) recordURL() string { return r.env.URL() + "/api/v1/resources/" + r.id }

// ProtectedResourceMetadata returns the JSON that the dashboard offers for the MCP server to serve (RFC
// 9728), byte for byte. Without a Server URL it contains placeholders.
func (r *Resource) ProtectedResourceMetadata() []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r.protectedMetadata()); err != nil {
		r.env.t.Errorf("scalekitenv: %v", err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func (r *Resource) protectedMetadata() map[string]any {
	resource := r.serverURL
	if resource == "" {
		resource = "<your-mcp-url>"
	}
	return map[string]any{
		"authorization_servers":    []string{r.AuthorizationServer()},
		"bearer_methods_supported": []string{"header"},
		"resource":                 resource,
		"resource_documentation":   strings.TrimSuffix(resource, "/") + "/docs",
		"scopes_supported":         append([]string{}, r.scopes...),
	}
}

// protectedMetadataURI is where the document must be served (RFC 9728, section 3.1).
func (r *Resource) protectedMetadataURI() string {
	const wellKnown = "/.well-known/oauth-protected-resource"
	u, err := url.Parse(r.serverURL)
	if err != nil || u.Host == "" {
		return wellKnown + "/<your-mcp-path>"
	}
	return u.Scheme + "://" + u.Host + wellKnown + strings.TrimSuffix(u.Path, "/")
}
