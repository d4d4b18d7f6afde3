package mcphttp

import (
	"context"
	"errors"
	"net/http"
	"strings"
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
	// modern says that some errors have a status of their own (MCP 2026-07-28,
	// Streamable HTTP, Protocol Version Header).
	modern bool
	// opens is the id of the session that the answer opens, if it does.
	opens string
	// patience is how long a client may take to read a piece of the answer. Whoever never reads must not hold it, nor whoever sends it.
	patience time.Duration
	// keepalive is how long the answer may be silent before a comment is written; 0 means for ever.
	keepalive time.Duration
	// began is when the exchange was made ready.
	began time.Time
	// orphaned says that the request goes on in its session without its client. The mutex of the session
	// guards it.
	orphaned bool
	// held are the bytes of the message, in a session.
	held *reservation
	// answered is closed when there is a response, or will be none.
	answered chan struct{}

	// writing is held while something is written, and always before mu: a client that does not read must not
	// keep the response from being laid down.
	writing sync.Mutex
	w       http.ResponseWriter
	stream  bool      // something was written before the response
	wrote   time.Time // when something was written last, or began

	mu       sync.Mutex
	over     bool            // nothing can be written any more
	status   int             // of the response
	response []byte          // nil if there is none yet
	verdict  verdict         // on the response
	noter    providers.Noter // of the POST, while its client waits
}

// errNotSent is what the SDK takes for a message that did not go, and not for a broken connection: it knows the error by its code.
var errNotSent = &jsonrpc.Error{Code: -32005, Message: "there is nobody to tell"}

// begin makes the exchange ready to be answered through w. Whoever calls it must not return from ServeHTTP before he called finish or
// leave.
func (e *exchange) begin(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
	e.w, e.answered, e.began = w, make(chan struct{}), time.Now()
	e.wrote = e.began
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
	e.writing.Lock()
	defer e.writing.Unlock()
	if !e.goesOn() {
		return errNotSent
	}
	return e.written(writeEvent(e.w, text, e.patience))
}

// goesOn makes a stream of events of the answer, or reports that nothing can be written before the response
// any more; writing must be held.
func (e *exchange) goesOn() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || e.response != nil {
		return false
	}
	if !e.stream {
		e.stream = true
		beginEvents(e.w, e.opens)
	}
	return true
}

// written takes the outcome of a write; writing must be held.
func (e *exchange) written(err error) error {
	if err == nil {
		e.wrote = time.Now()
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	return errNotSent
}

// wait keeps the answer alive until there is a response, or ctx or the session ends. It reports whether there
// is a response, or will be none. over may be nil.
func (e *exchange) wait(ctx context.Context, over <-chan struct{}) (answered bool) {
	var silent <-chan time.Time // never, if keepalive is off
	var timer *time.Timer
	if e.keepalive > 0 {
		timer = time.NewTimer(e.keepalive)
		defer timer.Stop()
		silent = timer.C
	}
	for {
		select {
		case <-e.answered:
			return true
		case <-ctx.Done():
			return false
		case <-over:
			return false
		case <-silent:
			timer.Reset(e.keepAlive())
		}
	}
}

// keepAlive writes a comment if nothing was written for as long as the answer may be silent, and returns when
// to call it next. Proxies and clients give up an answer that is silent for long. The status is 200 from then
// on, and a later error is in the response.
func (e *exchange) keepAlive() (next time.Duration) {
	if !e.writing.TryLock() { // it is not silent
		return e.keepalive
	}
	defer e.writing.Unlock()
	if left := e.keepalive - time.Since(e.wrote); left > 0 {
		return left
	}
	if e.goesOn() {
		_ = e.written(writeComment(e.w, e.patience)) // net/http ends the context of a request whose client is gone
	}
	return e.keepalive
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
	if e.over {
		return errNotSent
	}
	return nil
}

// finish writes the response, when the exchange was answered. It reports whether anything was written at all.
func (e *exchange) finish() bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	w, over, response, status, opens := e.w, e.over, e.response, e.status, e.opens
	e.w, e.over = nil, true
	e.verdict.note(e.noter)
	e.noter = nil
	e.mu.Unlock()
	switch {
	case over:
		return true // it was, to a client that has gone
	case response == nil:
		if e.stream {
			hurry(w, e.patience)
		}
		return e.stream
	case e.stream:
		_ = writeEvent(w, response, e.patience) // a client that has gone is told nothing
		return true
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", notForOthers)
	if opens != "" {
		header.Set(sessionHeader, opens)
	}
	w.WriteHeader(status)
	_ = writeSlowly(w, response, e.patience)
	return true
}

// leave lets go of the request, because its client has gone.
func (e *exchange) leave() {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.w, e.over, e.noter = nil, true, nil
}

// withdraw ends the exchange without an answer. It reports false if there is a response or a stream has
// begun, which finish has to end.
func (e *exchange) withdraw() bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || e.stream || e.response != nil {
		return false
	}
	e.w, e.over, e.noter = nil, true, nil
	return true
}

// close ends the waiting for a response; mu must be held.
func (e *exchange) close() {
	select {
	case <-e.answered:
	default:
		close(e.answered)
	}
}

// hold keeps the bytes of the message counted until [exchange.forget]: the call may go on when its request is over.
func (e *exchange) hold(held *reservation) {
	held.hold()
	e.held = held
}

// forget takes from the request what is not needed any more once it has its response, or will have none.
func (e *exchange) forget() {
	e.request.Params, e.request.Extra = nil, nil
	e.held.release()
	e.held = nil
}

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

// callKey is where a context of the server names the request that is being worked on.
type callKey struct{}

// within returns a context for the work on req, so that what is said in it finds its way. A notification has no answer, and what is
// said because of one belongs to no request.
func within(ctx context.Context, method string, req mcp.Request) context.Context {
	if strings.HasPrefix(method, notifications) {
		return ctx
	}
	return context.WithValue(ctx, callKey{}, req.GetExtra())
}

// callIn returns the request that is being worked on in ctx, by its extra, or nil.
func callIn(ctx context.Context) *mcp.RequestExtra {
	extra, _ := ctx.Value(callKey{}).(*mcp.RequestExtra)
	return extra
}
