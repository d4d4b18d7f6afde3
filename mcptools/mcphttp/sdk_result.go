package mcphttp

import (
	"bytes"
	"net/http"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// explained notes a reason and a detail for what the SDK's handler refuses by itself, and how a request ended
// that it served. method is one that such requests have; empty if they run no code of a tool, prompt or
// resource.
func explained(method string, sdk http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &explainer{ResponseWriter: w, method: method, takesBoth: acceptsBoth(r.Header)}
		sdk.ServeHTTP(e, r)
		noter, _ := r.Context().Value(providers.NoterKey{}).(providers.Noter)
		e.verdict().note(noter)
	})
}

// explainer is a response writer that reads what the SDK answers. The SDK may write from another goroutine.
type explainer struct {
	http.ResponseWriter
	method    string
	takesBoth bool // forms of an answer

	mu     sync.Mutex
	status int
	told   verdict // of a JSON-RPC response
	text   string  // the beginning of an answer that is no JSON-RPC
}

// Unwrap lets http.ResponseController find the connection.
func (e *explainer) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (e *explainer) WriteHeader(status int) {
	e.mu.Lock()
	e.status = status
	e.mu.Unlock()
	e.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. The SDK writes a message in one piece.
func (e *explainer) Write(p []byte) (int, error) {
	e.mu.Lock()
	e.read(p)
	e.mu.Unlock()
	return e.ResponseWriter.Write(p)
}

func (e *explainer) read(p []byte) {
	if e.told.outcome != "" {
		return
	}
	if e.status >= http.StatusBadRequest && e.text == "" && strings.HasPrefix(e.ResponseWriter.Header().Get("Content-Type"), "text/plain") {
		e.text = string(p[:min(len(p), maxNoted)])
		return
	}
	if !bytes.Contains(p, []byte(`"error":{`)) && !bytes.Contains(p, []byte(`"isError":true`)) {
		return // as nearly all
	}
	if _, event, isEvent := bytes.Cut(p, []byte("data: ")); isEvent && bytes.HasPrefix(p, []byte("event: ")) {
		p = event
	}
	message, err := jsonrpc.DecodeMessage(bytes.TrimSpace(p))
	if response, ok := message.(*jsonrpc.Response); ok && err == nil {
		e.told = verdictOn(e.method, response)
	}
}

// verdict is that on the whole answer.
func (e *explainer) verdict() verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told.outcome != "" || e.status < http.StatusBadRequest {
		return e.told
	}
	v := verdict{outcome: providers.OutcomeInvalid, reason: providers.MessageMalformed, detail: wordsOf("", e.text)}
	switch {
	case e.status == http.StatusMethodNotAllowed:
		v.reason = providers.HTTPMethodRefused
	case e.status == http.StatusUnsupportedMediaType, e.status == http.StatusBadRequest && !e.takesBoth:
		v.reason = providers.MediaTypeRefused
	case e.status == http.StatusRequestEntityTooLarge:
		v.reason = providers.BodyTooLarge
	case strings.Contains(e.text, "nsupported protocol version"):
		v.reason = providers.VersionUnsupported
	case strings.HasSuffix(strings.TrimSpace(e.text), "unsupported"):
		v.reason = providers.MethodUnknown
	case e.status >= http.StatusInternalServerError:
		v.outcome, v.reason = providers.OutcomeError, providers.InternalError
	}
	return v
}
