package mcptools

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// sessionTimeout ends sessions that nobody uses. The SDK counts POSTs only and would never end one by itself; a client
// whose session ended starts a new one.
const sessionTimeout = 30 * time.Minute

// modernVersion is the first protocol version without sessions.
const modernVersion = "2026-07-28"

// Handler is the MCP endpoint. Both eras of the protocol share one server and one address: requests of 2026-07-28 and
// later go to a handler without sessions, all others to one with sessions (see [Handler.Route]).
type Handler struct {
	server *mcp.Server
	scopes map[operation][]string
	modern http.Handler
	legacy http.Handler

	closing      context.Context
	closeStreams context.CancelFunc
}

// NewHandler serves tools. Every call is recovered, and checked again for required and for the tool's own scopes on what
// is really dispatched. logger gets the stack of a tool that panics; it must not be nil.
func NewHandler(s Settings, info mcp.Implementation, tools []Tool, required []string, logger *slog.Logger) *Handler {
	h := &Handler{scopes: make(map[operation][]string)}
	h.closing, h.closeStreams = context.WithCancel(context.Background())
	h.server = mcp.NewServer(&info, &mcp.ServerOptions{
		// Said on purpose: the SDK would announce logging, and lists that change.
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
		// What stands behind a sign-in is nobody else's to cache.
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.CacheScope = "private" },
	})
	for _, t := range tools {
		t.register(h.server)
		h.scopes[operation{methodCallTool, t.Name}] = t.Scopes
	}
	guard := guard{required: required, scopes: h.scopes, logger: logger}
	h.server.AddReceivingMiddleware(guard.recover, guard.authorize)

	same := func(*http.Request) *mcp.Server { return h.server }
	h.modern = mcp.NewStreamableHTTPHandler(same, &mcp.StreamableHTTPOptions{
		Stateless: true,
		// Closing the response is how a client of 2026-07-28 cancels (TR-21).
		PropagateRequestCancellation: true,
		// The server in front checks the Host header against the configured resource; the SDK's check would refuse every
		// request that a proxy on the same machine passes on.
		DisableLocalhostProtection: true,
	})
	h.legacy = h.modern
	if s.Era == EraDual {
		h.legacy = mcp.NewStreamableHTTPHandler(same, &mcp.StreamableHTTPOptions{
			SessionTimeout:             sessionTimeout,
			DisableLocalhostProtection: true,
		})
	}
	return h
}

// Route reads which operation r asks for, names the scopes that it needs, and picks the handler of its era. It satisfies
// server.Mount.
func (h *Handler) Route(r *http.Request) ([]string, http.Handler) {
	if r.Method == http.MethodGet {
		return nil, h.standing(h.legacy)
	}
	if r.Method != http.MethodPost || !isJSON(r.Header.Get("Content-Type")) {
		return nil, h.legacy // which knows how to refuse what it cannot serve
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	message, refusal := peek(body)
	if refusal != nil {
		return nil, refusal
	}
	r.Body = io.NopCloser(message.reader())
	handler := h.legacy
	if isModern(r, message) {
		handler = h.modern
	}
	if message.method == methodListen {
		handler = h.standing(handler)
	}
	return h.scopes[message.operation], handler
}

// standing serves a stream that stays open for notifications. Nothing else would end it: it must not outlive the token
// that opened it, nor keep the server from stopping.
func (h *Handler) standing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := auth.TokenInfoFromContext(r.Context()) // of this request, whatever the session
		if info == nil {
			http.Error(w, "not signed in", http.StatusUnauthorized)
			return
		}
		ctx, cancel := context.WithDeadline(r.Context(), info.Expiration.Add(providers.DefaultLeeway))
		defer cancel()
		defer context.AfterFunc(h.closing, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// isModern tells the eras apart: a request of 2026-07-28 says its version in a header, or at least in its _meta, and has
// no session. (With only the latter the SDK answers that the header is missing, as TR-04 demands.) Versions are dates, so
// they compare as strings.
func isModern(r *http.Request, m message) bool {
	return r.Header.Get("Mcp-Protocol-Version") >= modernVersion ||
		m.hasVersion && r.Header.Get("Mcp-Session-Id") == ""
}

// Sessions returns how many sessions are open.
func (h *Handler) Sessions() int {
	n := 0
	for s := range h.server.Sessions() {
		if s.ID() != "" {
			n++
		}
	}
	return n
}

// CloseStreams ends all standing streams, and every one that is opened from now on. Calls in flight go on. Call it when the
// server begins to stop: an HTTP server waits for open streams until its deadline.
func (h *Handler) CloseStreams() { h.closeStreams() }

// CloseSessions ends all sessions. Call it after the server stopped.
func (h *Handler) CloseSessions() {
	for s := range h.server.Sessions() {
		_ = s.Close() // there is nobody left to tell
	}
}
