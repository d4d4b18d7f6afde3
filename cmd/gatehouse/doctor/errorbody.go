package doctor

import (
	"crypto/rand"
	"encoding/json"
)

// newRequestID returns an ID by which the operator finds a request in the server's log: the server keeps a
// well-formed one, unless a proxy replaces it.
func newRequestID() string { return "doctor-" + rand.Text() }

// errorBody is the body of every error of the server.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"`
}

// errorOf returns the body of a response if it is an error of this server, which is recognized by these three
// members.
func errorOf(r response) (errorBody, bool) {
	var body errorBody
	err := json.Unmarshal(r.body, &body)
	return body, err == nil && body.Error != "" && body.Description != "" && body.RequestID != ""
}

// logHint tells the operator where to find why the server refused the request with that ID.
func logHint(r response, id string) string {
	if body, ok := errorOf(r); ok && body.RequestID == id {
		return "the reason is in the server's log under " + id
	}
	return "the reason is in the server's log"
}
