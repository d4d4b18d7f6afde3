package scalekitenv

import "net/http"

// EnableIntrospection makes /oauth/introspect exist (RFC 7662), for clients with a secret.
func (e *Environment) EnableIntrospection() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.introspection = true
}

// EnableRevocation makes /oauth/revoke exist (RFC 7009), for clients with a secret. It ends refresh tokens; access tokens
// stay good until they expire.
func (e *Environment) EnableRevocation() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revocation = true
}

// confidential makes a handler of an endpoint that is not there until its knob is turned, and then only for clients with a
// secret.
func (e *Environment) confidential(knob *bool, endpoint func(http.ResponseWriter, *http.Request, Client)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !e.enabled(knob) {
			http.NotFound(w, r)
			return
		}
		client, ok := e.authenticate(w, r)
		switch {
		case !ok: // it is answered
		case client.Secret == "":
			refuseClient(w, r)
		default:
			endpoint(w, r, client)
		}
	}
}

func (e *Environment) introspect(w http.ResponseWriter, r *http.Request, _ Client) {
	claims, ok := e.verify(r.PostForm.Get("token"))
	if !ok {
		writeJSON(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	writeJSON(w, http.StatusOK, changed(claims, Changes{"active": true, "token_type": "Bearer"}))
}

func (e *Environment) revoke(_ http.ResponseWriter, r *http.Request, client Client) {
	id := r.PostForm.Get("token")
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refreshTokens[id].client == client.ID {
		delete(e.refreshTokens, id)
	}
}

func (e *Environment) enabled(knob *bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *knob
}
