package mcptools

import (
	"encoding/base64"
	"net/http"
	"strings"
)

const (
	versionHeader   = "Mcp-Protocol-Version"
	sessionHeader   = "Mcp-Session-Id"
	methodHeader    = "Mcp-Method"
	nameHeader      = "Mcp-Name"
	lastEventHeader = "Last-Event-ID"
)

// modernHeaders prepares the headers of a 2026-07-28 request for the SDK, which compares a name that had to be encoded
// without decoding it (TR-09b), and refuses what the specification says to ignore (TR-13, TR-14).
func modernHeaders(header http.Header) {
	header.Del(sessionHeader)
	header.Del(lastEventHeader)
	encoded, isEncoded := strings.CutPrefix(strings.TrimSpace(header.Get(nameHeader)), "=?base64?")
	encoded, isClosed := strings.CutSuffix(encoded, "?=")
	if !isEncoded || !isClosed {
		return
	}
	if name, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		header.Set(nameHeader, string(name))
	}
}

// unbuffered asks proxies to pass events on as they come (TR-15).
func unbuffered(next http.Handler) http.Handler {
	no := []string{"no"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Accel-Buffering"] = no
		next.ServeHTTP(w, r)
	})
}
