package mcphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// sdkCallKey is the context key of the sdkCall of a request.
type sdkCallKey struct{}

// endableCalls is h.sdk.calls for a request with this id, which End needs for the response.
func (h *Handler) endableCalls(id json.RawMessage) http.Handler {
	if h.open == nil {
		return h.sdk.calls
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A client that hangs up does not end a call of an old version.
		ended, end := context.WithCancel(context.WithoutCancel(r.Context()))
		defer end()
		call := &sdkCall{id: id, context: ended, cancel: end}
		h.sdk.calls.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sdkCallKey{}, call)))
	})
}

// endCalls serves calls by the SDK's handler until End ends them. The SDK's handler returns when the handler
// of the call does, which may ignore its context; so it runs in a goroutine of its own, and its writer is
// taken away.
func (h *Handler) endCalls(sdk http.Handler) http.Handler {
	if h.open == nil {
		return sdk
	}
	return h.withIdentity(func(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
		call := sdkCallFrom(r.Context())
		if call == nil {
			h.writeError(w, r, errInternal())
			return
		}
		call.w, call.header = w, http.Header{}
		defer h.open.remove(call)
		if h.open.add(call, caller) {
			done := make(chan struct{})
			var panicked any
			go func() {
				defer close(done)
				defer func() { panicked = recover() }()
				sdk.ServeHTTP(call, r)
			}()
			select {
			case <-done:
				if panicked != nil {
					panic(panicked) // as without the goroutine
				}
				return
			case <-call.context.Done():
			}
		}
		call.takeWriter()
		h.recorder.RecordResult(r.Context(), endedResult(call.reason()))
		e := errEnded(call.reason())
		e.id = call.id
		switch {
		case !call.started:
			e.write(w)
		case call.isStream:
			_ = writeEvent(w, e.encode(), h.writeTimeout) // fails if the client is gone
		}
	})
}

// sdkCallFrom returns the sdkCall of a request, or nil.
func sdkCallFrom(ctx context.Context) *sdkCall {
	call, _ := ctx.Value(sdkCallKey{}).(*sdkCall)
	return call
}

// sdkCall is a call that the SDK's handler serves, and the writer of its response.
type sdkCall struct {
	id      json.RawMessage
	context context.Context // done when End ended the call; the handler's context ends with it
	cancel  context.CancelFunc
	header  http.Header // for the SDK; copied when it starts the response

	stateMu  sync.Mutex
	ended    providers.Reason // empty if End has not ended it
	answered bool             // the SDK has written its response, or is about to

	// writing is held during a write, which a slow client can block, and acquired before stateMu.
	writing  sync.Mutex
	w        http.ResponseWriter // nil when the response is over
	started  bool
	isStream bool
}

func (c *sdkCall) end(reason providers.Reason) bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.answered {
		return false
	}
	c.ended = reason
	c.cancel()
	return true
}

func (c *sdkCall) reason() providers.Reason {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.ended
}

// mayWrite reports whether the SDK may write. isResponse says that it is about to write its response to the
// call, which cannot be ended then.
func (c *sdkCall) mayWrite(isResponse bool) bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.ended != "" {
		return false
	}
	c.answered = c.answered || isResponse
	return true
}

var errResponseOver = errors.New("the response is over")

// Header implements http.ResponseWriter.
func (c *sdkCall) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *sdkCall) WriteHeader(status int) {
	c.writing.Lock()
	defer c.writing.Unlock()
	isStream := c.header.Get("Content-Type") == "text/event-stream"
	if c.started || !c.mayWrite(!isStream) {
		return
	}
	c.started, c.isStream = true, isStream
	maps.Copy(c.w.Header(), c.header)
	c.w.WriteHeader(status)
}

// Write implements http.ResponseWriter. The SDK writes a message in one call.
func (c *sdkCall) Write(text []byte) (int, error) {
	if !c.mayWrite(isResponse(text)) {
		return 0, errResponseOver
	}
	c.WriteHeader(http.StatusOK)
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.w == nil {
		return 0, errResponseOver
	}
	return c.w.Write(text)
}

// isResponse reports whether an event of the SDK has a response, and not a notification or a request.
func isResponse(event []byte) bool {
	_, data, _ := bytes.Cut(event, []byte("data: "))
	m, err := jsonrpc.DecodeMessage(bytes.TrimSpace(data))
	_, ok := m.(*jsonrpc.Response)
	return ok && err == nil
}

// FlushError is for [http.ResponseController].
func (c *sdkCall) FlushError() error {
	c.WriteHeader(http.StatusOK)
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.w == nil {
		return errResponseOver
	}
	return http.NewResponseController(c.w).Flush()
}

// takeWriter waits until a write of the SDK is over. It cannot write any more then.
func (c *sdkCall) takeWriter() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.w = nil
}
