package mcphttp

import (
	"bytes"
	"net/http"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// recordSDKResult records how a request ended that the SDK's handler served or rejected. method is a method that such
// requests have, and empty if they invoke no handler of the catalog.
func (h *Handler) recordSDKResult(method string, sdk http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observed := &resultWriter{ResponseWriter: w, request: r, method: method}
		sdk.ServeHTTP(observed, r)
		result := observed.result()
		if method != "" && r.Context().Err() != nil && !observed.isAnswered() {
			result = Result{Outcome: OutcomeCanceled} // a comment may have begun the response: its status says nothing
		}
		h.recorder.RecordResult(r.Context(), callContextFrom(r.Context()).complete(result))
	})
}

// resultWriter is a response writer that reads what the SDK writes. The SDK may write from another goroutine.
type resultWriter struct {
	http.ResponseWriter
	request *http.Request
	method  string

	mu       sync.Mutex
	status   int
	answered bool   // there was a JSON-RPC response
	response Result // of a JSON-RPC response
	text     string // the start of a plain-text response
}

// Unwrap lets http.ResponseController find the connection.
func (w *resultWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *resultWriter) WriteHeader(status int) {
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. The SDK writes a message in one call. A response that is written after the
// client has left is not recorded.
func (w *resultWriter) Write(p []byte) (int, error) {
	if w.request.Context().Err() == nil {
		w.mu.Lock()
		w.observe(p)
		w.mu.Unlock()
	}
	return w.ResponseWriter.Write(p)
}

func (w *resultWriter) observe(p []byte) {
	if w.response.Outcome != "" {
		return
	}
	isText := strings.HasPrefix(w.ResponseWriter.Header().Get("Content-Type"), "text/plain")
	if w.status >= http.StatusBadRequest && w.text == "" && isText {
		w.text = string(p[:min(len(p), maxRecordedName)])
		return
	}
	if !bytes.Contains(p, []byte(`"error":{`)) && !bytes.Contains(p, []byte(`"isError":true`)) {
		// In the SDK's order of members.
		w.answered = w.answered || bytes.Contains(p, []byte(`{"jsonrpc":"2.0","id":`))
		return // no failure; only others are parsed
	}
	if _, event, isEvent := bytes.Cut(p, []byte("data: ")); isEvent && bytes.HasPrefix(p, []byte("event: ")) {
		p = event
	}
	m, err := jsonrpc.DecodeMessage(bytes.TrimSpace(p))
	if response, ok := m.(*jsonrpc.Response); ok && err == nil {
		w.answered, w.response = true, resultOf(w.method, response)
	}
}

// isAnswered reports whether the SDK has written a response.
func (w *resultWriter) isAnswered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answered || w.status >= http.StatusBadRequest
}

// result classifies the whole response.
func (w *resultWriter) result() Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.response.Outcome != "" || w.status < http.StatusBadRequest {
		return w.response
	}
	result := Result{Outcome: OutcomeInvalid, Reason: ReasonMessageMalformed, Detail: safeDetail("", w.text)}
	switch {
	case w.status == http.StatusMethodNotAllowed:
		result.Reason = ReasonHTTPMethodRefused
	case w.status == http.StatusUnsupportedMediaType, w.status == http.StatusBadRequest && !acceptsBoth(w.request.Header):
		result.Reason = ReasonMediaTypeRefused
	case w.status == http.StatusRequestEntityTooLarge:
		result.Reason = ReasonBodyTooLarge
	case strings.Contains(w.text, "nsupported protocol version"):
		result.Reason = ReasonVersionUnsupported
	case strings.HasSuffix(strings.TrimSpace(w.text), "unsupported"):
		result.Reason = ReasonMethodUnknown
	case w.status >= http.StatusInternalServerError:
		result.Outcome, result.Reason = OutcomeError, providers.ReasonInternalError
	}
	return result
}
