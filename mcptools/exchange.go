package mcptools

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"

	"gatehouse/providers"
)

// exchange is a POST with one request, and the answer to it: what the server says while it works on it, and at last the response. A
// response alone is sent as it is. Only what is said before it makes a stream of events of the answer; clients take both (MCP
// 2025-11-25 and 2026-07-28, transports, "Sending Messages to the Server"), and a stream is written in two pieces at least.
type exchange struct {
	// request is a piece of memory of its own, because the SDK keeps it until the session's next one comes.
	request *jsonrpc.Request
	extra   mcp.RequestExtra
	// modern says that some errors have a status of their own (MCP 2026-07-28, TR-07, TR-10).
	modern bool
	// opens is the id of the session that the answer opens, if it does.
	opens string
	// patience is how long a client may take to read a piece of the answer. Whoever never reads must not hold it, nor whoever sends it.
	patience time.Duration
	// answered is closed when there is a response, or will be none.
	answered chan struct{}

	mu       sync.Mutex
	w        http.ResponseWriter // nil when nothing can be said any more
	stream   bool                // something was said before the response
	status   int                 // of the response
	response []byte              // nil if there is none yet
	verdict  verdict             // on the response
	noter    providers.Noter     // of the POST, while its client waits
}

// errNotSent is what the SDK takes for a message that did not go, and not for a broken connection: it knows the error by its code.
var errNotSent = &jsonrpc.Error{Code: -32005, Message: "there is nobody to tell"}

// begin makes the exchange ready to be answered through w. Whoever calls it must not return from ServeHTTP before he called finish or
// leave.
func (e *exchange) begin(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
	e.w, e.answered = w, make(chan struct{})
	e.noter, _ = r.Context().Value(providers.NoterKey{}).(providers.Noter)
	e.extra = *extraOf(r, who)
	e.request.Extra = &e.extra
}

// extraOf is what the SDK tells tools about a request besides its params.
func extraOf(r *http.Request, who *auth.TokenInfo) *mcp.RequestExtra {
	return &mcp.RequestExtra{TokenInfo: who, Header: r.Header, CloseSSEStream: nothingToResume}
}

// nothingToResume is what a tool gets that wants its client to come back for the rest of a stream.
func nothingToResume(mcp.CloseSSEStreamArgs) {}

// send takes a message of the server. What comes before the response is written at once, by whoever says it. The response is only
// laid down, for [exchange.finish]: the SDK handles a message only when it has sent the responses to some of those before it, and
// must not wait with that for a client who does not read.
func (e *exchange) send(message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		return e.answer(response)
	}
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return errNotSent
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.w == nil || e.response != nil {
		return errNotSent
	}
	if !e.stream {
		e.stream = true
		beginEvents(e.w, e.opens)
	}
	if writeEvent(e.w, text, e.patience) != nil {
		e.w = nil
		return errNotSent
	}
	return nil
}

func (e *exchange) answer(response *jsonrpc.Response) error {
	if failure, ok := errors.AsType[*jsonrpc.Error](response.Error); ok && failure.Code == codeInvalidParams && !isDecodable(e.request.Method, e.request.Params) {
		response.Error = &jsonrpc.Error{Code: codeInvalidParams, Message: errUndecodable.Error()} // the SDK's text quotes params
	}
	text, err := encode(response)
	if err != nil {
		response = &jsonrpc.Response{ID: response.ID, Error: &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}}
		if text, err = encode(response); err != nil {
			return errNotSent
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.response != nil {
		return errNotSent
	}
	e.response, e.status = text, e.statusOf(response)
	e.verdict = verdictOn(e.request.Method, response)
	if response.Error != nil {
		e.opens = "" // none came about
	}
	e.close()
	if e.w == nil {
		return errNotSent
	}
	return nil
}

// finish writes the response, when the exchange was answered. It reports whether anything was written at all.
func (e *exchange) finish() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.w
	e.w = nil
	e.verdict.note(e.noter)
	e.noter = nil
	switch {
	case w == nil:
		return true // it was, to a client that has gone
	case e.response == nil:
		if e.stream {
			hurry(w, e.patience)
		}
		return e.stream
	case e.stream:
		_ = writeEvent(w, e.response, e.patience) // there is nobody left to tell
		return true
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", notForOthers)
	if e.opens != "" {
		header.Set(sessionHeader, e.opens)
	}
	w.WriteHeader(e.status)
	_ = writeSlowly(w, e.response, e.patience)
	return true
}

// leave lets go of the request, because its client has gone.
func (e *exchange) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.w, e.noter = nil, nil
}

// close ends the waiting for a response; mu must be held.
func (e *exchange) close() {
	select {
	case <-e.answered:
	default:
		close(e.answered)
	}
}

// forget takes from the request what is not needed any more once it has its response.
func (e *exchange) forget() { e.request.Params, e.request.Extra = nil, nil }

func (e *exchange) statusOf(r *jsonrpc.Response) int {
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

// encode is the SDK's encoder, but for a result: that is JSON already, and the SDK would read every byte of it once more.
func encode(response *jsonrpc.Response) ([]byte, error) {
	if response.Error != nil || len(response.Result) == 0 {
		return jsonrpc.EncodeMessage(response)
	}
	const most = len(`{"jsonrpc":"2.0","id":,"result":}`) + usualID
	text := make([]byte, 0, most+len(response.Result))
	text = append(text, `{"jsonrpc":"2.0","id":`...)
	text, err := segmentio.Append(text, response.ID.Raw(), 0)
	if err != nil {
		return nil, err
	}
	text = append(text, `,"result":`...)
	text = append(text, response.Result...)
	return append(text, '}'), nil
}

const usualID = 40
