package scalekitenv

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Client is an OAuth client. The prefix of its id tells its kind: m2m_ belongs to an MCP server, m2morg_ to
// an organization, and skc_ and prd_skc_ are the credentials of the environment.
type Client struct {
	ID string
	// Secret is empty for public clients, such as those registered dynamically.
	Secret       string
	RedirectURIs []string
	// ResourceID is the MCP server that an m2m_ client belongs to; the first one if empty.
	ResourceID string
}

// MachineClient returns a confidential client of the resource, for client_credentials.
func (r *Resource) MachineClient() Client { return r.machine }

// OrgClient returns a client of an organization that calls the customer's own API.
func (e *Environment) OrgClient() Client { return e.org }

// EnvironmentClient returns the environment's API credentials, for the management API.
func (e *Environment) EnvironmentClient() Client { return e.management }

// Register adds a public client of the resource, as dynamic client registration does.
func (r *Resource) Register(redirectURIs ...string) Client {
	return r.env.addClient(Client{ID: r.env.newID("m2m_"), RedirectURIs: redirectURIs, ResourceID: r.id})
}

func (e *Environment) addClient(c Client) Client {
	if c.ResourceID == "" && c.hasPrefix("m2m_") {
		c.ResourceID = e.ResourceID()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients[c.ID] = c
	return c
}

func (e *Environment) client(id string) (Client, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.clients[id]
	return c, ok
}

// hasPrefix reports whether the client's id has one of the prefixes.
func (c Client) hasPrefix(prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.ID, p) })
}

func (c Client) isEnvironment() bool { return c.hasPrefix("skc_", "prd_skc_") }

// registerClient is dynamic client registration: it reads RFC 7591 metadata and returns Scalekit's own
// record.
func (e *Environment) registerClient(w http.ResponseWriter, r *http.Request) {
	resource, ok := e.resourceInPath(r)
	if !ok {
		writeGatewayError(w, http.StatusNotFound, "resource not found")
		return
	}
	e.mu.Lock()
	refusal := resource.registration
	e.mu.Unlock()
	if refusal != 0 {
		writeGatewayError(w, refusal, "dynamic client registration is disabled")
		return
	}
	var request struct {
		Name         string   `json:"client_name"`
		RedirectURIs []string `json:"redirect_uris"`
		Scope        string   `json:"scope"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&request); err != nil {
		writeError(w, http.StatusBadRequest, "invalid_client_metadata",
			"the body is not a JSON object of client metadata")
		return
	}
	if len(request.RedirectURIs) == 0 || slices.ContainsFunc(request.RedirectURIs,
		func(u string) bool { return !isAbsolute(u) }) {
		writeError(w, http.StatusBadRequest, "invalid_redirect_uri",
			"redirect_uris must contain at least one absolute URI")
		return
	}
	scopes := resource.Scopes()
	if request.Scope != "" {
		scopes = strings.Fields(request.Scope)
	}
	client := resource.Register(request.RedirectURIs...)
	writeJSON(w, http.StatusCreated, map[string]any{
		"client_id":                client.ID,
		"client_secret":            "",
		"client_secret_expires_at": 0,
		"name":                     request.Name,
		"redirect_uris":            request.RedirectURIs,
		"scopes":                   scopes,
		"audience":                 resource.Audience(),
		"expiry":                   int64(e.lifetime.Seconds()),
		"resource_id":              resource.id,
		"create_time":              time.Now().UTC().Format(time.RFC3339),
	})
}

// isAbsolute reports whether s is an absolute URI without a fragment (RFC 6749, section 3.1.2; RFC 8707,
// section 2).
func isAbsolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && !strings.Contains(s, "#")
}

// authenticate returns the client of a request by Basic or form parameters (RFC 6749, section 2.3.1). A
// public client sends only its id, possibly with an empty secret. If ok is false, the response has been
// written.
func (e *Environment) authenticate(w http.ResponseWriter, r *http.Request) (c Client, ok bool) {
	if err := r.ParseForm(); err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request", "the body is not a form")
		return Client{}, false
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	user, password, basic := r.BasicAuth()
	if basic {
		basicID, err1 := url.QueryUnescape(user)
		basicSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || secret != "" || id != "" && id != basicID {
			writeError(w, http.StatusBadRequest, "invalid_request", "two credentials, or malformed ones")
			return Client{}, false
		}
		id, secret = basicID, basicSecret
	}
	c, known := e.client(id)
	if !known || subtle.ConstantTimeCompare([]byte(secret), []byte(c.Secret)) == 0 {
		refuseClient(w, r)
		return Client{}, false
	}
	return c, true
}

func refuseClient(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="scalekit"`)
	}
	writeError(w, http.StatusUnauthorized, "invalid_client", "client authentication failed")
}
