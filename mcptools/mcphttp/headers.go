package mcphttp

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"gatehouse/providers"
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

// checkHeaders refuses Mcp headers that are longer than what they repeat of a message may be: refusals quote them.
func checkHeaders(header http.Header) *refusal {
	if len(header.Get(versionHeader)) > maxVersionBytes || len(header.Get(methodHeader)) > maxMethodBytes ||
		len(header.Get(sessionHeader)) > maxMethodBytes || len(header.Get(nameHeader)) > 2*maxNameBytes { // base64 is longer
		return headerRefused(nil, "an Mcp header is too long")
	}
	return nil
}

// checkLongName refuses a long name in a header that is not the name in the message. The SDK would quote both.
func checkLongName(header http.Header, m message) *refusal {
	const usual = 256
	if name := header.Get(nameHeader); len(name) > usual && name != m.name {
		return headerRefused(m.id, "the Mcp-Name header is not the name in the message")
	}
	return nil
}

func headerRefused(id json.RawMessage, text string) *refusal {
	refused := malformed(id, codeInvalidRequest, text)
	refused.reason = providers.HeaderMismatch
	return refused
}

// modernHeaders prepares the headers of a 2026-07-28 request for whoever compares them. The SDK compares a name that had to be
// encoded without decoding it, and refuses headers that the specification says to ignore (MCP 2026-07-28, Streamable HTTP,
// Value Encoding and Earlier Streamable HTTP Revisions).
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

// unbuffered asks proxies not to buffer events (MCP 2026-07-28, Streamable HTTP, Receiving Messages).
func unbuffered(next http.Handler) http.Handler {
	no := []string{"no"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Accel-Buffering"] = no
		next.ServeHTTP(w, r)
	})
}

// accepts reports which forms of an answer a client takes (RFC 9110, section 12.5.1, without weights: nobody sends them here).
func accepts(header http.Header) (whole, events bool) {
	for _, value := range header["Accept"] {
		if value == "application/json, text/event-stream" { // as nearly everybody writes it
			return true, true
		}
		for kind := range strings.SplitSeq(value, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "application/json", "application/*":
				whole = true
			case "text/event-stream", "text/*":
				events = true
			case "*/*":
				whole, events = true, true
			}
		}
	}
	return whole, events
}

// acceptsBoth reports whether a client takes an answer in either form, as every client must say of a POST (MCP
// 2026-07-28, Streamable HTTP, Sending Messages).
func acceptsBoth(header http.Header) bool {
	whole, events := accepts(header)
	return whole && events
}
