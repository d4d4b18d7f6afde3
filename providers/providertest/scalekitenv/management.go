package scalekitenv

import (
	"net/http"
	"strconv"
)

// record is the management API's view of a resource. It requires the environment's own credentials.
func (e *Environment) record(w http.ResponseWriter, r *http.Request) {
	claims, ok := e.bearer(r)
	id, _ := claims["client_id"].(string)
	client, known := e.client(id)
	if !ok || !known || !client.isEnvironment() {
		writeGatewayError(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	resource, ok := e.resourceInPath(r)
	if !ok {
		writeGatewayError(w, http.StatusNotFound, "resource not found")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"resource": resource.record()})
}

func (r *Resource) record() map[string]any {
	scopes := []any{}
	for i, name := range r.scopes {
		scopes = append(scopes, map[string]any{"id": "scp_" + strconv.Itoa(i+1), "name": name, "description": name,
			"enabled": true})
	}
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	return withChanges(map[string]any{
		"id":                                  r.id,
		"name":                                "Fake MCP server",
		"resource_uri":                        r.serverURL,
		"resource_id":                         r.id,
		"resource_type":                       "MCP_SERVER",
		"access_token_expiry":                 strconv.FormatInt(int64(r.env.lifetime.Seconds()), 10),
		"refresh_token_expiry":                "2592000",
		"disable_dynamic_client_registration": r.registration != 0,
		"enable_cimd":                         !r.documentsOff,
		"xaa_enabled":                         false,
		"intersect_scopes_user_permission":    false,
		"scopes":                              scopes,
		"protected_metadata":                  r.protectedMetadata(),
		"protected_metadata_uri":              r.protectedMetadataURI(),
		"provider":                            "",
	}, r.recordChanges)
}
