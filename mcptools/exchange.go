package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// exchange is a POST with one request, and the answer to it: what the server says while it works on it, and at last the response. A
// response alone is sent as it is. Only what is said before it makes a stream of events of the answer; clients take both (MCP
// 2025-11-25 and 2026-07-28, transports, "Sending Messages to the Server"), and one piece costs half of what two do.
type exchange struct {
	// request is a piece of memory of its own, because the SDK keeps it until the session's next one comes.
	request *jsonrpc.Request
	extra   mcp.RequestExtra
	// modern says that some errors have a status of their own (MCP 2026-07-28, TR-07, TR-10).
	modern bool
	// session is the id of the session that the answer begins, if it does.
	session string
	// patience is how long a client may take to read one message. Whoever never reads must not hold the answer, nor whoever sends it.
	patience time.Duration
	// answered is closed when the response is on its way, or will not come.
	answered chan struct{}

	mu     sync.Mutex
	w      http.ResponseWriter // nil when nothing can be said any more
	stream bool
}

// errNotSent is what the SDK takes for a message that did not go, and not for a broken connection: it knows the error by its code.
var errNotSent = &jsonrpc.Error{Code: -32005, Message: "there is nobody to tell"}

// begin makes the exchange ready to be answered through w. Before it returns, whoever called it must have the answer, or leave.
func (e *exchange) begin(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
	e.w, e.answered = w, make(chan struct{})
	e.extra = *extraOf(r, who)
	e.request.Extra = &e.extra
}

// extraOf is what the SDK tells tools about a request besides its params.
func extraOf(r *http.Request, who *auth.TokenInfo) *mcp.RequestExtra {
	return &mcp.RequestExtra{TokenInfo: who, Header: r.Header, CloseSSEStream: nothingToResume}
}

// nothingToResume is what a tool gets that wants its client to come back for the rest of a stream.
func nothingToResume(mcp.CloseSSEStreamArgs) {}

// callKey is where a context of the server names the request that is being worked on, by its extra.
type callKey struct{}

// within returns a context for the work on req.
func within(ctx context.Context, req mcp.Request) context.Context {
	return context.WithValue(ctx, callKey{}, req.GetExtra())
}

// isOf reports whether ctx belongs to the work on the request of e.
func (e *exchange) isOf(ctx context.Context) bool { return ctx.Value(callKey{}) == &e.extra }

// send writes a message. After the response it writes nothing.
func (e *exchange) send(message jsonrpc.Message) error {
	text, err := encode(message)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.w == nil {
		return errNotSent
	}
	response, last := message.(*jsonrpc.Response)
	switch {
	case last && !e.stream:
		err = e.whole(response, text)
	default:
		err = e.event(text)
	}
	if last {
		e.close()
	}
	if err != nil {
		return errNotSent // to this one; the connection of a session goes on
	}
	return nil
}

// encode is the SDK's encoder, but for a result: that is JSON already, and the SDK would read every byte of it once more.
func encode(message jsonrpc.Message) ([]byte, error) {
	response, ok := message.(*jsonrpc.Response)
	if !ok || response.Error != nil || len(response.Result) == 0 {
		return jsonrpc.EncodeMessage(message)
	}
	id, err := json.Marshal(response.ID.Raw())
	if err != nil {
		return nil, err
	}
	const most = len(`{"jsonrpc":"2.0","id":,"result":}`)
	text := make([]byte, 0, most+len(id)+len(response.Result))
	text = append(text, `{"jsonrpc":"2.0","id":`...)
	text = append(text, id...)
	text = append(text, `,"result":`...)
	text = append(text, response.Result...)
	return append(text, '}'), nil
}

func (e *exchange) whole(response *jsonrpc.Response, text []byte) error {
	if response.Error != nil {
		e.session = "" // there is none
	}
	e.head("application/json")
	e.hurry()
	if status := e.status(response); status != http.StatusOK {
		e.w.WriteHeader(status)
	}
	_, err := e.w.Write(text)
	return err
}

func (e *exchange) event(text []byte) error {
	e.streams()
	event := make([]byte, 0, len(text)+32)
	event = append(event, "event: message\ndata: "...)
	event = append(event, text...)
	event = append(event, "\n\n"...)
	return e.flush(event)
}

// streams makes a stream of events of the answer, if it is none yet.
func (e *exchange) streams() {
	if e.stream {
		return
	}
	e.stream = true
	e.head("text/event-stream")
	e.w.Header().Set("X-Accel-Buffering", "no") // proxies must pass events on as they come (TR-15)
}

// head begins the answer, which is for one caller and nobody else's to keep.
func (e *exchange) head(kind string) {
	header := e.w.Header()
	header.Set("Content-Type", kind)
	header.Set("Cache-Control", "no-cache, no-transform")
	if e.session != "" {
		header.Set(sessionHeader, e.session)
	}
}

func (e *exchange) flush(text []byte) error {
	e.hurry()
	if _, err := e.w.Write(text); err != nil {
		return err
	}
	return http.NewResponseController(e.w).Flush()
}

// hurry begins the time that the client has. It counts while something waits to be written, and for what net/http writes at the end.
func (e *exchange) hurry() {
	connection := *http.NewResponseController(e.w)
	_ = connection.SetWriteDeadline(time.Now().Add(e.patience)) // not supported by a test's recorder
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

// forget takes from the request what is not needed any more once it has its response.
func (e *exchange) forget() { e.request.Params, e.request.Extra = nil, nil }

// leave lets go of the request, because its client has gone or nobody will answer, and reports whether nothing was said yet.
func (e *exchange) leave() (silent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	silent = e.w != nil && !e.stream
	if e.w != nil && e.stream {
		e.hurry()
	}
	e.w = nil
	return silent
}

// close ends the exchange; mu must be held.
func (e *exchange) close() {
	e.w = nil
	select {
	case <-e.answered:
	default:
		close(e.answered)
	}
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

// acceptsBoth reports whether a client takes an answer in either form, as every client must say of a POST (TR-18).
func acceptsBoth(header http.Header) bool {
	whole, events := accepts(header)
	return whole && events
}
