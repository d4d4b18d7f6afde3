package mcphttp

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// statelessConn serves one request for which nothing is retained afterwards. It is a connection to the SDK's server,
// and passes on what [parseMessage] read: the SDK's HTTP handler decodes a message up to nine times, each time with a
// new buffer of 32 KiB, which is most of the cost of a call. It handles only unambiguous requests; everything else
// goes to the SDK's handler.
type statelessConn struct {
	exchange
	handler    *Handler
	state      *mcp.ServerSessionState
	clientGone <-chan struct{} // nil if the call continues when the client hangs up
	delivered  bool            // Read has returned the request
	// relayed is the request if it does not pass through the SDK's server; nil if it does.
	relayed *mcp.CallToolRequest
}

// stateless returns the handler of a request that a statelessConn can serve, or nil. version is that of the request.
func (e *Endpoint) stateless(r *http.Request, m message, version string) http.Handler {
	state, known := e.initialStates[version]
	id, ok := parsePlainID(m.id)
	if !known || !ok || !m.isRequest || !isStateless(m.method) || !acceptsBoth(r.Header) ||
		r.Header.Get(lastEventHeader) != "" {
		return nil
	}
	modern := version >= modernVersion
	if modern != (m.version != nil) || modern && !e.headersMatch(r.Header, m, version) {
		return nil
	}
	conn := &statelessConn{exchange: e.newExchange(m), handler: e.Handler, state: state}
	conn.modern, conn.request = modern, &jsonrpc.Request{ID: id, Method: m.method, Params: m.params}
	if modern {
		conn.relayed = e.relayCall(m)
	}
	return conn
}

// isStateless reports whether a request of the method is answered from its own content, with one response.
func isStateless(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodRead, methodComplete,
		methodListTools, methodListPrompts, methodListResources, methodListTemplates:
		return true
	}
	return false
}

// headersMatch reports whether the headers equal the members of the body (MCP 2026-07-28, Streamable HTTP, Server
// Validation). Parameters that are repeated in headers are left to the SDK.
func (h *Handler) headersMatch(header http.Header, m message, version string) bool {
	if string(m.version) != strconv.Quote(version) || header.Get(methodHeader) != m.method {
		return false
	}
	switch m.method {
	case methodCallTool:
		return header.Get(nameHeader) == m.name && m.name != "" && !h.headerParameters[m.name]
	case methodGetPrompt, methodRead:
		return header.Get(nameHeader) == m.name && m.name != ""
	}
	return true
}

// parsePlainID parses an id that is a string, or a number that every parser reads alike.
func parsePlainID(raw json.RawMessage) (jsonrpc.ID, bool) {
	var value any
	if len(raw) > 0 && raw[0] == '"' {
		text, ok := rawjson.Text(raw)
		if !ok {
			return jsonrpc.ID{}, false
		}
		value = text
	} else {
		n, err := strconv.ParseUint(string(raw), 10, 53)
		if err != nil {
			return jsonrpc.ID{}, false
		}
		value = float64(n)
	}
	id, err := jsonrpc.MakeID(value)
	return id, err == nil
}

// newInitialStates returns the session state in which a request without a session starts, for each version.
func newInitialStates(versions []string) map[string]*mcp.ServerSessionState {
	states := map[string]*mcp.ServerSessionState{modernVersion: {}} // the request itself has what the state would
	initialized := func(version string) *mcp.ServerSessionState {
		return &mcp.ServerSessionState{
			InitializeParams:  &mcp.InitializeParams{ProtocolVersion: version},
			InitializedParams: &mcp.InitializedParams{}, LogLevel: "info",
		}
	}
	for _, version := range versions {
		if version < modernVersion {
			states[version] = initialized(version)
		}
	}
	states[""] = initialized("2025-03-26") // MCP 2025-11-25, Transports, Protocol Version Header
	return states
}

// ServeHTTP implements http.Handler.
func (c *statelessConn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := providers.IdentityFrom(r.Context())
	if caller == nil {
		c.handler.writeError(w, r, errUnauthenticated())
		return
	}
	if invokesHandler(c.request.Method) {
		if rpcErr := c.handler.beginCall(r, caller, nil); rpcErr != nil {
			c.handler.writeError(w, r, rpcErr)
			return
		}
	}
	c.start(w, r, caller)
	serve, ctx := c.serveBySDK, r.Context()
	if c.relayed != nil {
		relaying, cancel := context.WithCancel(ctx)
		defer cancel()
		serve, ctx = c.relay, relaying
		c.onEnd = func() {
			cancel()
			go c.finishEarly(r.Context())
		}
	}
	if invokesHandler(c.request.Method) {
		defer c.handler.open.remove(&c.exchange)
		if !c.handler.open.add(&c.exchange, caller) {
			c.finish(r.Context())
			return
		}
	}
	if c.modern {
		c.clientGone = r.Context().Done() // closing the response cancels (MCP 2026-07-28, Streamable HTTP, Cancellation)
	}
	switch isAnswered, err := serve(ctx); {
	case err == nil && !isAnswered: // a comment may have begun the response, whose status then says nothing
		c.recorder.RecordResult(r.Context(), c.carried.complete(Result{Outcome: OutcomeCanceled}))
	case err != nil || !c.finish(r.Context()):
		c.handler.writeError(w, r, errInternal())
	}
}

// serveBySDK passes the request to the SDK's server. isAnswered is false if the client left first; otherwise finish
// must write what there is.
func (c *statelessConn) serveBySDK(ctx context.Context) (isAnswered bool, err error) {
	session, err := c.handler.server.Connect(ctx, c, &mcp.ServerSessionOptions{State: c.state})
	if err != nil {
		return false, err
	}
	if c.wait(ctx, nil) {
		return true, nil
	}
	c.detach()
	_ = session.Close()
	return false, nil
}

// Connect implements mcp.Transport.
func (c *statelessConn) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// Read implements mcp.Connection. The end of the connection cancels what is in flight. The server may dispatch the
// message before Connect has returned, so methods that depend on the connection, such as initialize and
// server/discover, must not be served here.
func (c *statelessConn) Read(context.Context) (jsonrpc.Message, error) {
	if !c.delivered {
		c.delivered = true
		return c.request, nil
	}
	select {
	case <-c.answered:
	case <-c.clientGone:
	}
	return nil, io.EOF
}

// Write implements mcp.Connection. Messages that do not belong to the request have no receiver, and neither have
// requests to the client, because it cannot answer them.
func (c *statelessConn) Write(ctx context.Context, message jsonrpc.Message) error {
	if request, ok := message.(*jsonrpc.Request); ok && (request.IsCall() || callFrom(ctx) != &c.extra) {
		return errNoReceiver
	}
	return c.send(message)
}

// Close implements mcp.Connection.
func (c *statelessConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeAnswered()
	return nil
}

// SessionID implements mcp.Connection: there is no session.
func (c *statelessConn) SessionID() string { return "" }
