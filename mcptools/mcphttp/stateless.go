package mcphttp

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers/rawjson"
)

// direct serves one request for which nothing is kept when it is over, on a transport of our own. The SDK's HTTP handler reads such a
// message up to nine times more than its server does, each time with a new buffer of 32 KiB, and that is most of what a call costs;
// this one hands on what [peek] read. It takes only what is plainly in order. Everything else goes to the SDK's handler, which knows
// how to refuse it.
type direct struct {
	exchange
	handler *Handler
	state   *mcp.ServerSessionState
	hungUp  <-chan struct{} // nil if the client may hang up and the call goes on
	taken   bool
}

// direct returns the handler of a request that can be served so, or nil. version is that of the request.
func (h *Handler) direct(r *http.Request, m message, version string) http.Handler {
	state, known := h.states[version]
	id, ok := plainID(m.id)
	if !known || !ok || !m.isRequest || !standsAlone(m.method) || !acceptsBoth(r.Header) {
		return nil
	}
	modern := version >= modernVersion
	if modern != (m.version != nil) || modern && !h.headersAgree(r.Header, m, version) {
		return nil
	}
	return &direct{
		exchange: exchange{modern: modern, patience: h.patience, keepalive: h.settings.Keepalive, request: &jsonrpc.Request{ID: id, Method: m.method, Params: m.params}}, handler: h, state: state,
	}
}

// standsAlone reports whether a request of the method is answered from what it says, and its answer is one response.
func standsAlone(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodRead, methodComplete,
		methodListTools, methodListPrompts, methodListResources, methodListTemplates:
		return true
	}
	return false
}

// headersAgree reports whether the headers equal the fields of the body (MCP 2026-07-28, Streamable HTTP, Server Validation).
// The SDK compares parameters that are in headers too.
func (h *Handler) headersAgree(header http.Header, m message, version string) bool {
	if string(m.version) != strconv.Quote(version) || header.Get(methodHeader) != m.method {
		return false
	}
	switch m.method {
	case methodCallTool:
		return header.Get(nameHeader) == m.name && m.name != "" && !h.parametersInHeaders[m.name]
	case methodGetPrompt, methodRead:
		return header.Get(nameHeader) == m.name && m.name != ""
	}
	return true
}

// plainID reads the id of a request if it is a text, or a number that everybody reads alike.
func plainID(raw json.RawMessage) (jsonrpc.ID, bool) {
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

// statesFor are the states in which requests of each version begin that are served without a session.
func statesFor(versions []string) map[string]*mcp.ServerSessionState {
	states := map[string]*mcp.ServerSessionState{modernVersion: {}} // it says of itself what else the state would
	begun := func(version string) *mcp.ServerSessionState {
		return &mcp.ServerSessionState{InitializeParams: &mcp.InitializeParams{ProtocolVersion: version}, InitializedParams: &mcp.InitializedParams{}, LogLevel: "info"}
	}
	for _, version := range versions {
		if version < modernVersion {
			states[version] = begun(version)
		}
	}
	states[""] = begun("2025-03-26") // what a request without the header is taken for (MCP 2025-11-25, transports, "Protocol Version Header")
	return states
}

// ServeHTTP implements http.Handler.
func (d *direct) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, refused := callerOfHTTP(r)
	if refused == nil && runsCode(d.request.Method) {
		refused = d.handler.busy(who)
	}
	if refused != nil {
		refused.ServeHTTP(w, r)
		return
	}
	d.begin(w, r, who)
	if d.modern {
		d.hungUp = r.Context().Done() // closing the response cancels (MCP 2026-07-28, Streamable HTTP, Cancellation)
	}
	session, err := d.handler.server.Connect(r.Context(), d, &mcp.ServerSessionOptions{State: d.state})
	if err != nil {
		internalError().ServeHTTP(w, r)
		return
	}
	if d.wait(r.Context(), nil) {
		if !d.finish() {
			internalError().ServeHTTP(w, r)
		}
		return
	}
	d.leave()
	_ = session.Close() // waits for the call to end
}

// Connect implements mcp.Transport.
func (d *direct) Connect(context.Context) (mcp.Connection, error) { return d, nil }

// Read implements mcp.Connection. An end of the connection ends what is in flight. The server may dispatch the message before it has
// told us that it is connected, so that nothing which depends on that may ever stand alone: initialize, or server/discover.
func (d *direct) Read(context.Context) (jsonrpc.Message, error) {
	if !d.taken {
		d.taken = true
		return d.request, nil
	}
	select {
	case <-d.answered:
	case <-d.hungUp:
	}
	return nil, io.EOF
}

// Write implements mcp.Connection. What does not belong to the request has nowhere to go, and neither has a question: nobody could
// answer it.
func (d *direct) Write(ctx context.Context, message jsonrpc.Message) error {
	if request, ok := message.(*jsonrpc.Request); ok && (request.IsCall() || callIn(ctx) != &d.extra) {
		return errNotSent
	}
	return d.send(message)
}

// Close implements mcp.Connection.
func (d *direct) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close()
	return nil
}

// SessionID implements mcp.Connection: there is no session.
func (d *direct) SessionID() string { return "" }
