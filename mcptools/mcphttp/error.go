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

// The error codes of JSON-RPC 2.0 (section 5.1) and of MCP that this package sends itself.
const (
	codeParseError         = -32700
	codeInvalidRequest     = -32600
	codeMethodNotFound     = -32601
	codeInvalidParams      = -32602
	codeInternalError      = -32603
	codeUnsupportedVersion = -32022 // MCP 2026-07-28, Base Protocol, Error Codes
)

// rpcError is a JSON-RPC error with which a request is rejected before the SDK sees it. Its text is fixed.
type rpcError struct {
	status int
	code   int
	text   string
	reason providers.Reason
	// id is the encoded id of the request; null if the message could not be parsed (JSON-RPC 2.0, section 5).
	id   json.RawMessage
	data any
	// allow is the Allow header; empty omits it.
	allow string
	// retryAfter is in seconds; empty omits the header.
	retryAfter string
}

// errorHandler returns a handler that responds with e.
func (h *Handler) errorHandler(e *rpcError) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.writeError(w, r, e) })
}

// writeError responds with e, and records its reason.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, e *rpcError) {
	h.recorder.RecordResult(r.Context(), Result{Reason: e.reason, Detail: e.text, Code: e.code})
	e.write(w)
}

// encode returns e as a JSON-RPC response.
func (e *rpcError) encode() []byte {
	member := map[string]any{"code": e.code, "message": e.text}
	if e.data != nil {
		member["data"] = e.data
	}
	// Marshaling strings, numbers and lists of strings cannot fail.
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": e.id, "error": member})
	return body
}

func (e *rpcError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	if e.allow != "" {
		w.Header().Set("Allow", e.allow)
	}
	if e.retryAfter != "" {
		w.Header().Set("Retry-After", e.retryAfter)
	}
	setWriteDeadline(w, defaultWriteTimeout)
	w.WriteHeader(e.status)
	_, _ = w.Write(e.encode())
}

func errUnauthenticated() *rpcError {
	return &rpcError{status: http.StatusUnauthorized, code: codeInvalidRequest, text: "not signed in",
		reason: providers.ReasonNoCredentials}
}

func errInternal() *rpcError {
	return &rpcError{status: http.StatusInternalServerError, code: codeInternalError, text: "internal error",
		reason: providers.ReasonInternalError}
}

func errMalformed(id json.RawMessage, code int, text string) *rpcError {
	return &rpcError{status: http.StatusBadRequest, code: code, text: text, reason: ReasonMessageMalformed, id: id}
}

// errBody is the error for a body that could not be read.
func errBody(err error) *rpcError {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge(nil, "the body is too large")
	}
	return errMalformed(nil, codeParseError, "the body could not be read")
}

func errTooLarge(id json.RawMessage, text string) *rpcError {
	return &rpcError{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, text: text,
		reason: ReasonBodyTooLarge, id: id}
}

func errSessionRequired(id json.RawMessage) *rpcError {
	return &rpcError{status: http.StatusBadRequest, code: codeInvalidRequest, reason: ReasonSessionUnknown, id: id,
		text: "a session is required: send initialize, and then the Mcp-Session-Id of its response"}
}

func errNoSession() *rpcError {
	return &rpcError{status: http.StatusNotFound, code: codeInvalidRequest, text: "there is no such session",
		reason: ReasonSessionUnknown}
}

// errUnsupportedVersion rejects a version that is older than all supported ones and, in a session, a version
// without sessions (MCP 2026-07-28 and later). The SDK rejects them in plain text (MCP 2026-07-28, Streamable
// HTTP, Protocol Version Header).
func errUnsupportedVersion(id json.RawMessage, requested string, supported []string) *rpcError {
	requested = mcptools.Truncate(requested, maxVersionBytes)
	return &rpcError{status: http.StatusBadRequest, code: codeUnsupportedVersion,
		text: "unsupported protocol version", reason: ReasonVersionUnsupported, id: id,
		data: map[string]any{"supported": supported, "requested": requested}}
}

// errLimit is the error for an exceeded [quota]: 429 for the caller's own limit, 503 for the limit of all callers.
func errLimit(what string, reason providers.Reason, err error) *rpcError {
	status := http.StatusServiceUnavailable
	if errors.Is(err, errUserLimit) {
		status = http.StatusTooManyRequests
	}
	return &rpcError{status: status, code: codeInvalidRequest, text: "too many open " + what, reason: reason,
		retryAfter: "30"}
}

// errSessionLimit is the error for a new session that no other session can make room for until after wait.
func errSessionLimit(err error, wait time.Duration) *rpcError {
	return errLimit("sessions", ReasonTooManySessions, err).after(wait)
}

// maxRetryAfter bounds Retry-After.
const maxRetryAfter = 30 * time.Second

// after sets Retry-After, in whole seconds from 1 to 30.
func (e *rpcError) after(wait time.Duration) *rpcError {
	seconds := (min(max(wait, time.Second), maxRetryAfter) + time.Second - 1) / time.Second
	e.retryAfter = strconv.Itoa(int(seconds))
	return e
}

// errNotRecorded is the error for a call that must not run because its audit record cannot be written.
func errNotRecorded(id json.RawMessage, err error) *rpcError {
	return &rpcError{status: http.StatusServiceUnavailable, code: codeInternalError, id: id,
		text: "the audit log is unavailable; try again later", reason: providers.ReasonOf(err), retryAfter: "5"}
}

// errEnded is the error for a call or stream that the operator ended. It is that of a call, so the status is 200.
func errEnded(reason providers.Reason) *rpcError {
	return &rpcError{status: http.StatusOK, code: codeInternalError, text: textEnded, reason: reason}
}
