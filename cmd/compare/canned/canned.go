// Package canned is the least that a server can do: read the request and answer with what is known.
package canned

import (
	"io"
	"net/http"
)

// Answer is an http.Handler.
type Answer struct{}

// ServeHTTP implements http.Handler.
func (Answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Hello, Ada!"}]}}`)
}
