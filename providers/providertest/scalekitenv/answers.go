package scalekitenv

import (
	"encoding/json"
	"io"
	"net/http"
)

// Status answers with a status and no body.
func Status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// JSON answers with v.
func JSON(code int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, code, v) }
}

// EmptyKeySet answers with a key set without keys.
func EmptyKeySet() http.HandlerFunc { return JSON(http.StatusOK, map[string]any{"keys": []any{}}) }

// HTMLPage answers 200 with a page, as captive portals and bot checks do. It contains the word canary-upstream, which
// must not turn up in anybody's log or answer.
func HTMLPage() http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Just a moment</title><p>canary-upstream")
	}
}

// RateLimited answers as Scalekit does when an environment had too many requests in a minute.
func RateLimited() http.HandlerFunc {
	return JSON(http.StatusTooManyRequests, map[string]any{"error_code": "RATE_LIMITED", "message": "too many requests"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // placeholders are in angle brackets
	_ = encoder.Encode(v)
}

// writeError answers as OAuth endpoints do (RFC 6749, section 5.2).
func writeError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, map[string]any{"error": code, "error_description": description})
}

// writeGatewayError answers as Scalekit's API does: like a gRPC gateway, with a code of gRPC.
func writeGatewayError(w http.ResponseWriter, status int, message string) {
	code := map[int]int{http.StatusBadRequest: 3, http.StatusNotFound: 5, http.StatusForbidden: 7, http.StatusUnauthorized: 16}[status]
	if code == 0 {
		code = 2 // unknown
	}
	writeJSON(w, status, map[string]any{"code": code, "message": message, "details": []any{}})
}
