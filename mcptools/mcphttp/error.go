package mcphttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// The error codes of JSON-RPC 2.0 (section 5.1) and of MCP that this package answers itself.
const (
	codeParseError         = -32700
	codeInvalidRequest     = -32600
	codeMethodNotFound     = -32601
	codeInvalidParams      = -32602
	codeInternalError      = -32603
	codeUnsupportedVersion = -32022 // MCP 2026-07-28, Base Protocol, Error Codes
)

// refusal is a request that is answered without the SDK: a JSON-RPC error whose text is fixed, and a reason for the log.
type refusal struct {
	status int
	code   int
	text   string
	reason providers.Reason
	// id is the request's id as it stands; null if the message could not be understood (JSON-RPC 2.0, section 5).
	id   json.RawMessage
	data any
	// allow names the methods that there are; empty means that the header is not sent.
	allow string
	// retryAfter is in seconds; empty means that the header is not sent.
	retryAfter string
}

// ServeHTTP implements http.Handler.
func (f *refusal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	providers.Note(r.Context(), f.reason)
	providers.NoteDetail(r.Context(), f.text)
	wrong := map[string]any{"code": f.code, "message": f.text}
	if f.data != nil {
		wrong["data"] = f.data
	}
	// Marshalling strings, numbers and lists of strings cannot fail.
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": f.id, "error": wrong})
	w.Header().Set("Content-Type", "application/json")
	if f.allow != "" {
		w.Header().Set("Allow", f.allow)
	}
	if f.retryAfter != "" {
		w.Header().Set("Retry-After", f.retryAfter)
	}
	hurry(w, usualPatience)
	w.WriteHeader(f.status)
	_, _ = w.Write(body)
}

func notSignedIn() *refusal {
	return &refusal{status: http.StatusUnauthorized, code: codeInvalidRequest, text: "not signed in", reason: providers.NoCredentials}
}

func internalError() *refusal {
	return &refusal{status: http.StatusInternalServerError, code: codeInternalError, text: "internal error", reason: providers.InternalError}
}

func malformed(id json.RawMessage, code int, text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, text: text, reason: providers.MessageMalformed, id: id}
}

// unreadable answers for a body that did not arrive.
func unreadable(err error) *refusal {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return bodyTooLarge(nil, "the body is too large")
	}
	return malformed(nil, codeParseError, "the body could not be read")
}

func bodyTooLarge(id json.RawMessage, text string) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, text: text, reason: providers.BodyTooLarge, id: id}
}

func sessionNeeded(id json.RawMessage) *refusal {
	return &refusal{status: http.StatusBadRequest, code: codeInvalidRequest, reason: providers.SessionUnknown, id: id,
		text: "a session is needed: begin with initialize, and send its Mcp-Session-Id"}
}

func noSuchSession() *refusal {
	return &refusal{status: http.StatusNotFound, code: codeInvalidRequest, text: "there is no such session", reason: providers.SessionUnknown}
}

// unsupportedVersion answers a version that is older than all that are served, or that knows no sessions in one. The SDK does so in
// plain text (MCP 2026-07-28, Streamable HTTP, Protocol Version Header).
func unsupportedVersion(id json.RawMessage, requested string, supported []string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: codeUnsupportedVersion, text: "unsupported protocol version", reason: providers.VersionUnsupported,
		id: id, data: map[string]any{"supported": supported, "requested": mcptools.Truncate(requested, maxVersionBytes)}}
}

// tooMany answers whoever would get more of something than the settings grant. What the caller has too many of is his to
// mend, what all have together is not.
func tooMany(what string, reason providers.Reason, err error) *refusal {
	status := http.StatusServiceUnavailable
	if errors.Is(err, errTooManyOfYours) {
		status = http.StatusTooManyRequests
	}
	return &refusal{status: status, code: codeInvalidRequest, text: "too many open " + what, reason: reason, retryAfter: "30"}
}

// tooManySessions answers a caller for whose new session no other can make room for that long.
func tooManySessions(err error, wait time.Duration) *refusal {
	return tooMany("sessions", providers.TooManySessions, err).after(wait)
}

// maxRetryAfter is the longest time after which a client is told to try again.
const maxRetryAfter = 30 * time.Second

// after sets how long the client should wait, in whole seconds from 1 to 30.
func (f *refusal) after(wait time.Duration) *refusal {
	seconds := (min(max(wait, time.Second), maxRetryAfter) + time.Second - 1) / time.Second
	f.retryAfter = strconv.Itoa(int(seconds))
	return f
}
