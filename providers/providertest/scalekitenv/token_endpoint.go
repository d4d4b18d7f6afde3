package scalekitenv

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// token is the token endpoint. The one in the path of a resource serves that resource only.
func (e *Environment) token(w http.ResponseWriter, r *http.Request) {
	own, ok := e.resourceInPath(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	client, ok := e.authenticate(w, r)
	if !ok {
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		e.exchangeCode(w, r, own, client)
	case "refresh_token":
		e.refresh(w, r, own, client)
	case "client_credentials":
		e.clientCredentials(w, r, own, client)
	case "":
		writeError(w, http.StatusBadRequest, "invalid_request", "grant_type is missing")
	default:
		writeError(w, http.StatusBadRequest, "unsupported_grant_type", "this grant_type is not supported")
	}
}

func (e *Environment) exchangeCode(w http.ResponseWriter, r *http.Request, own *Resource, client Client) {
	id := r.PostForm.Get("code")
	e.mu.Lock()
	c, known := e.codes[id]
	delete(e.codes, id)
	e.mu.Unlock()
	digest := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case !known || c.client != client.ID || own != nil && c.resource != own:
		writeError(w, http.StatusBadRequest, "invalid_grant", "the code is invalid")
	case c.redirectURI != r.PostForm.Get("redirect_uri"):
		writeError(w, http.StatusBadRequest, "invalid_grant", "redirect_uri differs from the authorization request")
	case c.challenge != base64.RawURLEncoding.EncodeToString(digest[:]):
		writeError(w, http.StatusBadRequest, "invalid_grant",
			"code_verifier does not match the authorization request")
	default:
		answer := e.userTokenResponse(c.grant, c.scopes)
		if slices.Contains(c.scopes, "openid") {
			accessToken, _ := answer["access_token"].(string)
			answer["id_token"] = e.Sign(nil, c.resource.idClaims(client.ID, c.nonce, accessToken, id))
		}
		writeTokens(w, answer)
	}
}

// refresh exchanges a refresh token for a new one. A client may request fewer scopes (RFC 6749, section 6),
// and gets the others again with the next refresh.
func (e *Environment) refresh(w http.ResponseWriter, r *http.Request, own *Resource, client Client) {
	id := r.PostForm.Get("refresh_token")
	e.mu.Lock()
	g, known := e.refreshTokens[id]
	e.mu.Unlock()
	if !known || g.client != client.ID || own != nil && g.resource != own {
		writeError(w, http.StatusBadRequest, "invalid_grant", "the refresh token is invalid")
		return
	}
	scopes := g.scopes
	if requested := strings.Fields(r.PostForm.Get("scope")); len(requested) > 0 {
		scopes = requested
	}
	if slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(g.scopes, s) }) {
		writeError(w, http.StatusBadRequest, "invalid_scope", "the scope exceeds the grant")
		return
	}
	e.mu.Lock()
	_, unspent := e.refreshTokens[id]
	delete(e.refreshTokens, id)
	e.mu.Unlock()
	if !unspent { // a concurrent request used it
		writeError(w, http.StatusBadRequest, "invalid_grant", "the refresh token is invalid")
		return
	}
	writeTokens(w, e.userTokenResponse(g, scopes))
}

// clientCredentials serves three kinds of clients. Only those of an MCP server get a token for it.
func (e *Environment) clientCredentials(w http.ResponseWriter, r *http.Request, own *Resource,
	client Client) {
	switch {
	case client.Secret == "":
		refuseClient(w, r)
	case client.hasPrefix("m2m_") && (own == nil || own.id == client.ResourceID):
		resource := e.resourceOf(client)
		scopes := resource.grant(r.PostForm.Get("scope"))
		writeTokens(w, e.tokenResponse(e.Sign(nil, resource.machineClaims(client.ID, scopes)), scopes))
	case client.hasPrefix("m2morg_") && own == nil:
		writeTokens(w, e.tokenResponse(e.Sign(nil, e.orgClaims(client.ID)), orgScopes()))
	case client.isEnvironment() && own == nil:
		writeTokens(w, e.tokenResponse(e.Sign(nil, e.managementClaims(client.ID)), nil))
	default:
		refuseClient(w, r)
	}
}

// userTokenResponse returns the response for scopes of a grant. It includes a refresh token if offline_access
// was granted.
func (e *Environment) userTokenResponse(g grant, scopes []string) map[string]any {
	response := e.tokenResponse(e.Sign(nil, g.resource.userClaims(g.client, g.session, scopes)), scopes)
	if slices.Contains(g.scopes, "offline_access") {
		id := rand.Text()
		e.mu.Lock()
		e.refreshTokens[id] = g
		e.mu.Unlock()
		response["refresh_token"] = id
	}
	return response
}

func (e *Environment) tokenResponse(accessToken string, scopes []string) map[string]any {
	return map[string]any{
		"access_token": accessToken, "token_type": "Bearer", "expires_in": int64(e.lifetime.Seconds()),
		"scope": strings.Join(scopes, " "),
	}
}

func writeTokens(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}
