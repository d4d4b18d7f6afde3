package mcphttp

import (
	"encoding/base64"
	"encoding/json"
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

// maxVersionBytes bounds the name of a protocol version. Versions are dates.
const maxVersionBytes = 64

// checkHeaders rejects Mcp headers that are longer than the values of a message that they repeat, because errors
// quote them.
func checkHeaders(header http.Header) *rpcError {
	if len(header.Get(versionHeader)) > maxVersionBytes || len(header.Get(methodHeader)) > maxMethodBytes ||
		len(header.Get(sessionHeader)) > maxMethodBytes ||
		len(header.Get(nameHeader)) > 2*maxNameBytes { // base64 is longer than the name
		return errHeader(nil, "an Mcp header is too long")
	}
	return nil
}

// checkLongName rejects a long name in a header that differs from the name in the message. The SDK would quote both.
func checkLongName(header http.Header, m message) *rpcError {
	const maxQuoted = 256
	if name := header.Get(nameHeader); len(name) > maxQuoted && name != m.name {
		return errHeader(m.id, "the Mcp-Name header is not the name in the message")
	}
	return nil
}

func errHeader(id json.RawMessage, text string) *rpcError {
	e := errMalformed(id, codeInvalidRequest, text)
	e.reason = ReasonHeaderMismatch
	return e
}

// normalizeHeaders prepares the headers of a request of MCP 2026-07-28 for comparison with the body. The SDK compares
// an encoded name without decoding it, and rejects headers that the specification says to ignore (MCP 2026-07-28,
// Streamable HTTP, Value Encoding and Earlier Streamable HTTP Revisions).
func normalizeHeaders(header http.Header) {
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

// disableProxyBuffering asks proxies not to buffer events (MCP 2026-07-28, Streamable HTTP, Receiving Messages).
func disableProxyBuffering(next http.Handler) http.Handler {
	no := []string{"no"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Accel-Buffering"] = no
		next.ServeHTTP(w, r)
	})
}

// accepts reports which forms of a response the client accepts (RFC 9110, section 12.5.1). Weights are ignored:
// MCP clients do not send them.
func accepts(header http.Header) (json, events bool) {
	for _, value := range header["Accept"] {
		if value == "application/json, text/event-stream" { // without parsing, for nearly all requests
			return true, true
		}
		for kind := range strings.SplitSeq(value, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "application/json", "application/*":
				json = true
			case "text/event-stream", "text/*":
				events = true
			case "*/*":
				json, events = true, true
			}
		}
	}
	return json, events
}

// acceptsBoth reports whether the client accepts both forms of a response, as a POST must (MCP 2026-07-28, Streamable
// HTTP, Sending Messages).
func acceptsBoth(header http.Header) bool {
	json, events := accepts(header)
	return json && events
}
