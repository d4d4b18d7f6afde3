package scalekitenv

import (
	"encoding/json"
	"io"
	"net/http"
)

// Status responds with a status and no body.
func Status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// JSON responds with v.
func JSON(code int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, code, v) }
}

// EmptyKeySet responds with a key set without keys.
func EmptyKeySet() http.HandlerFunc { return JSON(http.StatusOK, map[string]any{"keys": []any{}}) }

// HTMLPage responds with status 200 and a page, as captive portals and bot checks do. The page contains the
// word canary-upstream, which must not appear in any log or response of the code under test.
func HTMLPage() http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Just a moment</title><p>canary-upstream")
	}
}

// RateLimited responds like Scalekit when an environment exceeds its requests per minute.
func RateLimited() http.HandlerFunc {
	return JSON(http.StatusTooManyRequests, map[string]any{"error_code": "RATE_LIMITED",
		"message": "too many requests"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // placeholders contain angle brackets
	_ = encoder.Encode(v)
}

// writeError responds like an OAuth endpoint (RFC 6749, section 5.2).
func writeError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, map[string]any{"error": code, "error_description": description})
}

// writeGatewayError responds like Scalekit's API: a gRPC gateway with a gRPC status code.
func writeGatewayError(w http.ResponseWriter, status int, message string) {
	code := map[int]int{http.StatusBadRequest: 3, http.StatusNotFound: 5, http.StatusForbidden: 7,
		http.StatusUnauthorized: 16}[status]
	if code == 0 {
		code = 2 // unknown
	}
	writeJSON(w, status, map[string]any{"code": code, "message": message, "details": []any{}})
}
