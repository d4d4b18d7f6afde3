// Package canned is the least that a server can do: read the request and send a constant response.
package canned

import (
	"io"
	"net/http"
)

// Response is an http.Handler.
type Response struct{}

// ServeHTTP implements http.Handler.
func (Response) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Hello, Ada!"}]}}`)
}
