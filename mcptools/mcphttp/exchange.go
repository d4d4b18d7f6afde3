package mcphttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/providers"
)

// exchange is one POSTed request and its reply: plain JSON, or SSE once the server sends anything before the response.
// Clients accept both (MCP 2025-11-25 and 2026-07-28, Transports, Sending Messages to the Server).
type exchange struct {
	// request is allocated separately, because the SDK retains it until the session's next one.
	request *jsonrpc.Request
	extra   mcp.RequestExtra
	// modern gives some errors an HTTP status of their own (MCP 2026-07-28, Streamable HTTP, Protocol Version Header).
	modern bool
	// newSessionID is the session that the reply opens, or empty.
	newSessionID string
	// writeTimeout is the time in which the client must read one chunk.
	writeTimeout time.Duration
	// keepalive is the silence after which a comment is written; 0 means never.
	keepalive time.Duration
	recorder  Recorder
	carried   callContext
	caller    *providers.Identity
	started   time.Time
	// orphaned is true if the call continues in its session after its client hung up. The mutex of the session
	// guards it.
	orphaned bool
	// recordEnd records the end of an orphaned call; it may be nil. The mutex of the session guards it, too.
	recordEnd func(Result)
	// reserved is the reservation of the message's bytes; nil outside a session.
	reserved *reservation
	// answered is closed when there is a response, or when there will be none.
	answered chan struct{}
	// onEnd is called, with mu held, when the operator ends the exchange; nil if closing answered is enough.
	onEnd func()

	// writing is held during a write, and always acquired before mu: send must be able to store the response while
	// a write to a slow client blocks.
	writing   sync.Mutex
	w         http.ResponseWriter
	isStream  bool        // something was written before the response
	lastWrite time.Time   // or the start
	timer     *time.Timer // of the next comment; nil if there will be none

	mu       sync.Mutex
	done     bool   // nothing can be written any more
	status   int    // of the response
	response []byte // nil until there is one
	result   Result // of the response
}

// errNoReceiver is the error for a message that cannot be delivered. Its code is that of the SDK's internal
// jsonrpc2.ErrRejected: the SDK treats every other error of Write as a broken connection.
var errNoReceiver = &jsonrpc.Error{Code: -32005, Message: "the message has no receiver"}

func (e *Endpoint) newExchange(m message) exchange {
	return exchange{
		writeTimeout: e.writeTimeout, keepalive: e.policy.Settings.Keepalive, recorder: e.recorder,
		carried: callContext{policy: e.policy, params: m.callParams(), reserved: m.reserved},
	}
}

// start prepares the exchange to reply through w. Before ServeHTTP returns, finish, detach or abort must be called.
func (e *exchange) start(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
	e.w, e.caller, e.answered, e.started = w, caller, make(chan struct{}), time.Now()
	e.lastWrite = e.started
	e.carried.span = trace.SpanFromContext(r.Context())
	e.extra = *requestExtra(r, caller, &e.carried)
	e.request.Extra = &e.extra
}

// send takes a message of the server. A message before the response is written at once, by the sender. The response
// is only stored, for [exchange.finish]: the SDK handles some messages only after it has sent the responses to
// earlier ones, and must not wait for a slow client.
func (e *exchange) send(message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		return e.store(response)
	}
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return errNoReceiver
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	if !e.startStream() {
		return errNoReceiver
	}
	return e.recordWrite(writeEvent(e.w, text, e.writeTimeout))
}

// startStream makes the reply an event stream if it is not yet, and reports false if nothing can be written before
// the response any more; writing must be held.
func (e *exchange) startStream() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done || e.response != nil {
		return false
	}
	if !e.isStream {
		e.isStream = true
		startSSE(e.w, e.newSessionID)
	}
	return true
}

// recordWrite takes the result of a write; writing must be held.
func (e *exchange) recordWrite(err error) error {
	if err == nil {
		e.lastWrite = time.Now()
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = true
	return errNoReceiver
}

// wait waits until there is a response, or ctx or the session ends, and writes keepalive comments meanwhile. It reports
// whether there is a response, or will be none. sessionEnd may be nil.
func (e *exchange) wait(ctx context.Context, sessionEnd <-chan struct{}) (answered bool) {
	e.startKeepalive()
	defer e.stopKeepalive()
	select {
	case <-e.answered:
		return true
	case <-ctx.Done():
		return false
	case <-sessionEnd:
		return false
	}
}

// startKeepalive starts to write a comment whenever nothing was written for the keepalive interval: proxies and clients
// close silent connections. The status is 200 from then on, and a later error is in the response.
func (e *exchange) startKeepalive() {
	if e.keepalive <= 0 {
		return
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	e.timer = time.AfterFunc(e.keepalive, e.keepAlive)
}

// stopKeepalive returns when no comment is being written.
func (e *exchange) stopKeepalive() {
	if e.keepalive <= 0 {
		return
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	e.timer.Stop()
	e.timer = nil
}

// keepAlive writes a comment if nothing was written for the keepalive interval.
func (e *exchange) keepAlive() {
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.timer == nil {
		return
	}
	next := e.keepalive - time.Since(e.lastWrite)
	if next <= 0 {
		next = e.keepalive
		if e.startStream() {
			// net/http ends the context of a request after a failed write.
			_ = e.recordWrite(writeComment(e.w, e.writeTimeout))
		}
	}
	e.timer.Reset(next)
}

// store stores the response.
func (e *exchange) store(response *jsonrpc.Response) error {
	failure, isError := errors.AsType[*jsonrpc.Error](response.Error)
	if isError && failure.Code == codeInvalidParams && !isDecodable(e.request.Method, e.request.Params) {
		// The text of the SDK quotes params.
		response.Error = &jsonrpc.Error{Code: codeInvalidParams, Message: errInvalidParams.Error()}
	}
	text, err := encodeResponse(response)
	if err != nil {
		internal := &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
		response = &jsonrpc.Response{ID: response.ID, Error: internal}
		if text, err = encodeResponse(response); err != nil {
			return errNoReceiver
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.response != nil {
		return errNoReceiver
	}
	e.response, e.status = text, e.statusOf(response)
	e.result = e.carried.complete(resultOf(e.request.Method, response))
	if response.Error != nil {
		e.newSessionID = "" // no session was opened
	}
	e.closeAnswered()
	if e.done {
		return errNoReceiver
	}
	return nil
}

// finish writes the stored response, unless [exchange.finishEarly] did, and records its result, even if the client is
// gone. It reports whether anything was written at all. ctx is the context of the request.
func (e *exchange) finish(ctx context.Context) bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	return e.writeResponse(ctx)
}

// finishEarly writes the response before the handler returns. net/http ends a response, and reads the next request of
// the connection, only then. The headers tell the client where the response ends, and to close the connection.
func (e *exchange) finishEarly(ctx context.Context) {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	w, length := e.w, len(e.response)
	e.mu.Unlock()
	if w == nil {
		return
	}
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", strconv.Itoa(length)) // too late for a stream, which ends with its handler
	e.writeResponse(ctx)
	_ = http.NewResponseController(w).Flush() // fails if the client is gone
}

// writeResponse implements finish; writing must be held.
func (e *exchange) writeResponse(ctx context.Context) bool {
	e.mu.Lock()
	w, done, response, status, newSessionID := e.w, e.done, e.response, e.status, e.newSessionID
	e.w, e.done = nil, true
	e.recorder.RecordResult(ctx, e.result)
	e.mu.Unlock()
	switch {
	case done:
		return true // it is finished, or an earlier write failed: the client is gone
	case response == nil:
		if e.isStream {
			setWriteDeadline(w, e.writeTimeout)
		}
		return e.isStream
	case e.isStream:
		_ = writeEvent(w, response, e.writeTimeout) // fails if the client is gone
		return true
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", cacheControl)
	if newSessionID != "" {
		header.Set(sessionHeader, newSessionID)
	}
	w.WriteHeader(status)
	_ = writeChunks(w, response, e.writeTimeout) // fails if the client is gone
	return true
}

// detach separates the exchange from its HTTP request, because the client is gone.
func (e *exchange) detach() {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.w, e.done = nil, true
}

// abort ends the exchange without a reply. It reports false if there is a response or a stream has started, which
// finish must end.
func (e *exchange) abort() bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done || e.isStream || e.response != nil {
		return false
	}
	e.w, e.done = nil, true
	return true
}

// closeAnswered closes answered if it is open; mu must be held.
func (e *exchange) closeAnswered() {
	select {
	case <-e.answered:
	default:
		close(e.answered)
	}
}

// retain keeps the bytes of the message reserved until [exchange.release]: the call may continue after its request.
func (e *exchange) retain(reserved *reservation) {
	reserved.retain()
	e.reserved = reserved
}

// release frees what the SDK's reference to the request would otherwise keep in memory. It is called when
// there is a response, or when there will be none.
func (e *exchange) release() {
	e.request.Params, e.request.Extra, e.carried.params = nil, nil, nil
	e.reserved.release()
	e.reserved, e.carried.reserved = nil, nil
	if e.recordEnd == nil {
		return
	}
	e.mu.Lock()
	result := e.result
	if e.response == nil {
		result = Result{Outcome: OutcomeCanceled}
	}
	e.mu.Unlock()
	e.recordEnd(result)
	e.recordEnd = nil
}

func (e *exchange) statusOf(r *jsonrpc.Response) int {
	if failure, ok := errors.AsType[*jsonrpc.Error](r.Error); ok && e.modern {
		switch failure.Code {
		case jsonrpc.CodeMethodNotFound:
			return http.StatusNotFound
		case jsonrpc.CodeInvalidParams, mcp.CodeUnsupportedProtocolVersion,
			mcp.CodeMissingRequiredClientCapabilities:
			return http.StatusBadRequest
		}
	}
	return http.StatusOK
}

// encodeResponse is the SDK's encoder, except for a result: that is JSON already, and the SDK would parse it again.
func encodeResponse(response *jsonrpc.Response) ([]byte, error) {
	if response.Error != nil || len(response.Result) == 0 {
		return jsonrpc.EncodeMessage(response)
	}
	const typicalID = 40
	const overhead = len(`{"jsonrpc":"2.0","id":,"result":}`) + typicalID
	text := make([]byte, 0, overhead+len(response.Result))
	text = append(text, `{"jsonrpc":"2.0","id":`...)
	text, err := segmentio.Append(text, response.ID.Raw(), 0)
	if err != nil {
		return nil, err
	}
	text = append(text, `,"result":`...)
	text = append(text, response.Result...)
	return append(text, '}'), nil
}

// callKey is the context key of the extra of the request that is being handled.
type callKey struct{}

// withCall returns a context for handling req, so that messages that are sent with it reach the caller. Messages sent
// because of a notification belong to no request.
func withCall(ctx context.Context, method string, req mcp.Request) context.Context {
	if strings.HasPrefix(method, notificationPrefix) {
		return ctx
	}
	return context.WithValue(ctx, callKey{}, req.GetExtra())
}

// callFrom returns the extra of the request that is being handled in ctx, or nil.
func callFrom(ctx context.Context) *mcp.RequestExtra {
	extra, _ := ctx.Value(callKey{}).(*mcp.RequestExtra)
	return extra
}
