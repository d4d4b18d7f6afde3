package scalekitenv

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// grant is what the user granted to a client.
type grant struct {
	client   string
	resource *Resource
	scopes   []string
	session  string
}

type code struct {
	grant
	redirectURI, challenge, nonce string
}

// authorize signs [User] in and redirects back at once. Errors are returned the same way, unless the redirect
// URI is not known to be safe (RFC 6749, section 4.1.2.1).
func (e *Environment) authorize(w http.ResponseWriter, r *http.Request) {
	own, ok := e.resourceInPath(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	q := r.URL.Query()
	client, problem := e.redirectClient(own, q.Get("client_id"), q.Get("redirect_uri"))
	if problem != "" {
		writeError(w, http.StatusBadRequest, problem,
			"client_id and redirect_uri do not match a client of this resource")
		return
	}
	resource := own
	issuer := e.URL()
	if own != nil {
		issuer = own.responseIssuer()
	} else {
		resource = e.resourceOf(client)
	}
	answer := url.Values{}
	if state := q.Get("state"); state != "" {
		answer.Set("state", state)
	}
	if issuer != "" {
		answer.Set("iss", issuer)
	}
	if problem, description := checkAuthorization(q); problem != "" {
		answer.Set("error", problem)
		answer.Set("error_description", description)
	} else {
		answer.Set("code", e.newCode(code{
			grant: grant{
				client: client.ID, resource: resource, session: e.newID("ses_"),
				scopes: resource.grant(q.Get("scope"), identityScopes()...),
			},
			redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), nonce: q.Get("nonce"),
		}))
	}
	target, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request", "the redirect_uri is not a URI")
		return
	}
	query := target.Query()
	for name, values := range answer {
		query[name] = values
	}
	target.RawQuery = query.Encode()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusFound)
}

// redirectClient returns the client with that id if redirectURI is registered for it, byte for byte. own is
// the resource of the endpoint, nil for the environment's. problem is an error code, or "".
func (e *Environment) redirectClient(own *Resource, id, redirectURI string) (c Client, problem string) {
	if !(Client{ID: id}).hasPrefix("m2m_") {
		return Client{}, "invalid_client_metadata_url" // any other id is taken for the URL of a metadata document
	}
	c, known := e.client(id)
	switch {
	case !known || own != nil && c.ResourceID != own.id:
		return Client{}, "invalid_client"
	case !slices.Contains(c.RedirectURIs, redirectURI):
		return Client{}, "invalid_request"
	}
	return c, ""
}

// resourceOf returns the resource that a client belongs to, for the endpoints that have none in their path.
func (e *Environment) resourceOf(c Client) *Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.resources[c.ResourceID]
}

func checkAuthorization(q url.Values) (problem, description string) {
	switch {
	case q.Get("response_type") != "code":
		return "unsupported_response_type", "response_type must be code"
	case q.Get("state") == "":
		return "invalid_request", "state is missing"
	case q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256":
		return "invalid_request", "PKCE with S256 is required"
	case q.Get("resource") == "":
		return "invalid_request", "resource is missing"
	case !isAbsolute(q.Get("resource")):
		return "invalid_target", "resource is not an absolute URI"
	}
	return "", ""
}

func (e *Environment) newCode(c code) string {
	id := rand.Text()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.codes[id] = c
	return id
}

// grant returns the requested scopes that the resource or others contain, and all scopes of the resource if
// none were requested.
func (r *Resource) grant(requested string, others ...string) []string {
	fields := strings.Fields(requested)
	if len(fields) == 0 {
		return r.Scopes()
	}
	return slices.DeleteFunc(fields, func(s string) bool {
		return !slices.Contains(r.scopes, s) && !slices.Contains(others, s)
	})
}
