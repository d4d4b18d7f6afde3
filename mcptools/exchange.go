package mcptools

import (
	"errors"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// exchange is the answer to a POST with one request: what the server says while it works on it, and at last the response. A
// response alone is sent as it is. Only what is said before it makes a stream of events of the answer; clients take both (MCP
// 2025-11-25 and 2026-07-28, transports, "Sending Messages to the Server"), and one piece costs half of what two do.
type exchange struct {
	// modern says that some errors have a status of their own (MCP 2026-07-28, TR-07, TR-10).
	modern bool
	// answered is closed when the response is on its way.
	answered chan struct{}

	mu     sync.Mutex
	w      http.ResponseWriter // nil when nothing can be said any more
	stream bool
}

// errNotSent is what the SDK takes for a message that did not go, and not for a broken connection: it knows the error by its code.
var errNotSent = &jsonrpc.Error{Code: -32005, Message: "there is nobody to tell"}

// What answers are marked with. They are for one caller, and proxies must pass events on as they come (TR-15).
var (
	uncached   = []string{"no-cache, no-transform"}
	asJSON     = []string{"application/json"}
	asEvents   = []string{"text/event-stream"}
	unbuffer   = []string{"no"}
	beginEvent = []byte("event: message\ndata: ")
	endEvent   = []byte("\n\n")
)

// send writes a message. After the response it writes nothing.
func (e *exchange) send(message jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return err
	}
	response, last := message.(*jsonrpc.Response)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.w == nil {
		return errNotSent
	}
	if last {
		defer e.close()
		if !e.stream {
			return e.whole(e.status(response), text)
		}
	}
	return e.event(text)
}

func (e *exchange) whole(status int, text []byte) error {
	header := e.w.Header()
	header["Content-Type"], header["Cache-Control"] = asJSON, uncached
	e.w.WriteHeader(status)
	_, err := e.w.Write(text)
	return err
}

func (e *exchange) event(text []byte) error {
	if !e.stream {
		e.stream = true
		header := e.w.Header()
		header["Content-Type"], header["Cache-Control"], header["X-Accel-Buffering"] = asEvents, uncached, unbuffer
	}
	for _, part := range [][]byte{beginEvent, text, endEvent} {
		if _, err := e.w.Write(part); err != nil {
			return errNotSent
		}
	}
	if err := http.NewResponseController(e.w).Flush(); err != nil {
		return errNotSent
	}
	return nil
}

func (e *exchange) status(r *jsonrpc.Response) int {
	if failure, ok := errors.AsType[*jsonrpc.Error](r.Error); ok && e.modern {
		switch failure.Code {
		case jsonrpc.CodeMethodNotFound:
			return http.StatusNotFound
		case jsonrpc.CodeInvalidParams, mcp.CodeUnsupportedProtocolVersion, mcp.CodeMissingRequiredClientCapabilities:
			return http.StatusBadRequest
		}
	}
	return http.StatusOK
}

// close lets go of the request. It must be called before the request's handler returns, with mu held.
func (e *exchange) close() {
	e.w = nil
	select {
	case <-e.answered:
	default:
		close(e.answered)
	}
}
