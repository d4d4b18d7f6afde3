package scalekitenv

import (
	"crypto/rand"
	"net/http"
	"slices"
)

// Resource is an MCP server that is registered in the environment.
type Resource struct {
	env             *Environment
	id, serverURL   string
	scopes          []string
	machine, public Client

	// Guarded by env.mu.
	metadataAt         MetadataPath
	metadataChanges    Changes
	recordChanges      Changes
	tokenChanges       Changes
	registration       int // the status of refused requests; 0 if it is on
	documentsOff       bool
	omitResponseIssuer bool
}

// AddResource registers another MCP server with its own id. It shares issuer and keys with the first.
func (e *Environment) AddResource(serverURL string, scopes ...string) *Resource {
	return e.addResource(e.newID("res_"), serverURL, scopes)
}

func (e *Environment) addResource(id, serverURL string, scopes []string) *Resource {
	r := &Resource{env: e, id: id, serverURL: serverURL, scopes: slices.Clone(scopes),
		metadataAt: Appended | Inserted}
	e.mu.Lock()
	e.resources[id] = r
	e.mu.Unlock()
	r.public = r.Register("http://127.0.0.1:6276/oauth/callback")
	r.machine = e.addClient(Client{ID: e.newID("m2m_"), Secret: rand.Text(), ResourceID: id})
	return r
}

// ResourceID returns the id of the MCP server: res_ and digits.
func (r *Resource) ResourceID() string { return r.id }

// ServerURL returns the registered Server URL, or "".
func (r *Resource) ServerURL() string { return r.serverURL }

// AuthorizationServer returns {env}/resources/{res}: the authorization server in protected resource metadata,
// and the issuer of tokens once the server is migrated.
func (r *Resource) AuthorizationServer() string { return r.env.URL() + "/resources/" + r.id }

// Audience returns aud: the Server URL, if there is one, and the resource id.
func (r *Resource) Audience() []string {
	if r.serverURL == "" {
		return []string{r.id}
	}
	return []string{r.serverURL, r.id}
}

// Scopes returns the registered scopes.
func (r *Resource) Scopes() []string { return slices.Clone(r.scopes) }

// ChangeTokens changes the claims of all access tokens for the resource from now on, including those of the
// token endpoint; a nil value removes a claim. Each call replaces the previous one.
func (r *Resource) ChangeTokens(changes ...Changes) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.tokenChanges = merge(changes)
}

// ChangeMetadata changes the resource's authorization server metadata; a nil value removes a member. Each
// call replaces the previous one. The issuer in it is also the iss of authorization responses.
func (r *Resource) ChangeMetadata(changes ...Changes) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.metadataChanges = merge(changes)
}

// ChangeRecord changes the management record of the resource; a nil value removes a member. Each call
// replaces the previous one.
func (r *Resource) ChangeRecord(changes ...Changes) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.recordChanges = merge(changes)
}

// ServeMetadata selects where the resource's metadata are served; both by default.
func (r *Resource) ServeMetadata(at MetadataPath) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.metadataAt = at
}

// DisableRegistration switches dynamic client registration off, as in the dashboard: requests get status, 403
// or 404.
func (r *Resource) DisableRegistration(status int) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.registration = status
}

// DisableClientDocuments switches client ID metadata documents off, as in the dashboard.
func (r *Resource) DisableClientDocuments() {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.documentsOff = true
}

// OmitResponseIssuer removes iss (RFC 9207) from authorization responses.
func (r *Resource) OmitResponseIssuer() {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.omitResponseIssuer = true
}

// resourceInPath returns the resource in the path of a request. ok is false for an unknown resource; resource
// is nil if the path has none.
func (e *Environment) resourceInPath(r *http.Request) (resource *Resource, ok bool) {
	id := r.PathValue("resource")
	if id == "" {
		return nil, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	resource, ok = e.resources[id]
	return resource, ok
}
