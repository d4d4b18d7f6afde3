// Package mcphttp is the MCP endpoint over HTTP: it serves a [mcptools.Catalog] to clients of all supported
// protocol versions and limits the use of each caller.
//
// [Handler.Route] parses a request far enough to name its scopes and selects the handler that serves it:
//
//   - statelessConn, for unambiguous requests that need no session (stateless.go);
//   - session, for MCP 2025-11-25 and older, if mcp.era is dual (session*.go);
//   - the SDK's own HTTP handler, for everything else (sdk_result.go, keepalive.go).
//
// Everything that the SDK dispatches passes through one middleware (middleware.go), which checks scopes again, and so
// do the calls of relayed tools that do not pass through the SDK (relay_call.go).
package mcphttp

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// maxRetainedBytes bounds each message of the kinds that a session retains until it ends or the next such
// message arrives. Decoded, a message takes many times its bytes. Real ones have about a kilobyte.
const maxRetainedBytes = 16 << 10

// isRetained reports whether a session retains messages of the method.
func isRetained(method string) bool {
	return method == methodInitialize || method == methodSetLevel || strings.HasPrefix(method, notificationPrefix)
}

// notificationPrefix starts the name of every method that has no response.
const notificationPrefix = "notifications/"

// defaultWriteTimeout is the time in which a client must read one chunk of a response.
const defaultWriteTimeout = 30 * time.Second

// modernVersion is the first protocol version without sessions.
const modernVersion = "2026-07-28"

// Handler is the MCP endpoint. The protocol has two eras, which share one [mcp.Server] and one URL: requests
// of MCP 2026-07-28 and later are served without a session, and requests of older versions in a session,
// unless [EraStateless] disables sessions.
type Handler struct {
	first    *Endpoint // with the policy of [Config]
	era      string
	server   *mcp.Server
	versions []string // that the server supports, newest first
	scopes   scopeTable
	relays   relayTable
	// callRelayed is the middleware for calls of relayed tools that do not pass through server.
	callRelayed mcp.MethodHandler

	sessions *sessionTable
	streams  *quota
	calls    *quota
	bytes    *quota
	recorder Recorder
	auditor  Auditor // may be nil
	// open has the calls and streams outside of sessions; nil without a [Denier].
	open *openRequests
	// initialStates maps a protocol version to the session state in which a statelessConn starts.
	initialStates map[string]*mcp.ServerSessionState
	// headerParameters has the names of the tools for which parameters are repeated in headers.
	headerParameters map[string]bool
	writeTimeout     time.Duration // for one chunk of a response
	closeTimeout     time.Duration // of CloseSessions
	probe            lockProbe
	// sdk is the SDK's own handler in stateless mode, for what no other transport serves.
	sdk struct {
		calls   http.Handler // methods that invoke a handler of the catalog
		streams http.Handler // methods whose response stays open
		others  http.Handler
	}

	closing      context.Context // done after CloseStreams
	closeStreams context.CancelFunc
	stopped      context.Context // done after CloseSessions
	stop         context.CancelFunc
}

// Config configures [NewHandler].
type Config struct {
	// Policy is that of [Handler.Route], and has the first limits.
	Policy
	// Info is the server's name and version (serverInfo).
	Info mcp.Implementation
	// Logger receives panics and invalid results of handlers. It must not be nil.
	Logger *slog.Logger
	// Recorder receives what the endpoint knows of each request. Nil means that it is not recorded.
	Recorder Recorder
	// Auditor decides whether a call may run, after all other checks. Nil means that it may.
	Auditor Auditor
	// Denier tells which callers are denied. Nil means that none is, and that [Handler.End] does nothing.
	Denier Denier
}

// NewHandler serves a catalog. Everything that it dispatches is recovered from panics, limited in time, and checked
// again for the required scopes and those of the operation.
func NewHandler(c Config, catalog mcptools.Catalog) *Handler {
	h := &Handler{
		era: c.Settings.Era, scopes: newScopeTable(catalog),
		recorder: c.Recorder, auditor: c.Auditor, open: newOpenRequests(c.Denier),
		writeTimeout: defaultWriteTimeout, closeTimeout: 5 * time.Second,
	}
	if h.recorder == nil {
		h.recorder = discard{}
	}
	h.closing, h.closeStreams = context.WithCancel(context.Background())
	h.stopped, h.stop = context.WithCancel(context.Background())
	h.server = newServer(c, catalog)
	h.versions = mcp.SupportedProtocolVersions()
	h.initialStates = newInitialStates(h.versions)
	h.headerParameters = map[string]bool{}
	for _, t := range catalog.Tools {
		if t.HasHeaderParameters() {
			h.headerParameters[t.Name] = true
		}
	}
	s := c.Settings.WithByteLimits(0)
	h.sessions = newSessionTable(s)
	h.sessions.stopped = h.stopped
	h.bytes = newQuota(s.MaxBytesPerUser, s.MaxBytes)
	h.streams = newQuota(s.MaxStreamsPerUser, s.MaxStreams)
	h.calls = newQuota(s.MaxCallsPerUser, s.MaxCalls)
	h.relays = relaysOf(catalog)
	m := middleware{
		scopes: h.scopes, relays: h.relays, stopped: h.stopped, calls: h.calls, endable: h.open != nil,
		logger: c.Logger,
	}
	h.server.AddReceivingMiddleware(m.wrap)
	h.callRelayed = m.wrap(notDispatched)

	serverFor := func(*http.Request) *mcp.Server { return h.server }
	sdk := mcp.NewStreamableHTTPHandler(serverFor, &mcp.StreamableHTTPOptions{
		Stateless: true,
		// Closing the response cancels the request (MCP 2026-07-28, Streamable HTTP, Cancellation).
		PropagateRequestCancellation: true,
		// The server in front compares Host with the configured resource. The SDK's check would reject every
		// request that a proxy on the same machine forwards.
		DisableLocalhostProtection: true,
		MaxRequestBodyBytes:        -1, // bodies have been read, and bounded, before
	})
	calls := h.withKeepalive(h.recordSDKResult(methodCallTool, h.endCalls(sdk)))
	streams := h.endStreams(h.withKeepalive(h.recordSDKResult("", sdk)))
	h.sdk.calls = disableProxyBuffering(h.limitCalls(calls))
	h.sdk.streams = disableProxyBuffering(h.limitStreams(streams))
	h.sdk.others = disableProxyBuffering(h.recordSDKResult("", sdk))
	h.first = h.With(c.Policy)
	return h
}

func newServer(c Config, catalog mcptools.Catalog) *mcp.Server {
	options := &mcp.ServerOptions{
		Capabilities: capabilities(catalog),
		// Responses depend on the caller's scopes.
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.CacheScope = "private" },
	}
	if catalog.Options != nil {
		catalog.Options(options)
	}
	// The SDK's keepalive pings each session. It would end those of clients without a standalone stream, which
	// cannot receive a ping, and keep pinging after a call without a session. Idle sessions end by their timeout.
	options.KeepAlive = 0
	// One page for each list, so that no cursor exists and every cursor can be rejected (see checkCursor).
	options.PageSize = max(1, longestList(catalog))
	server := mcp.NewServer(&c.Info, options)
	catalog.Register(server)
	return server
}

// capabilities are set explicitly: by default the SDK announces logging, and lists that change.
func capabilities(c mcptools.Catalog) *mcp.ServerCapabilities {
	capabilities := &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}
	if len(c.Prompts) > 0 {
		capabilities.Prompts = &mcp.PromptCapabilities{}
	}
	if len(c.Resources)+len(c.ResourceTemplates) > 0 {
		capabilities.Resources = &mcp.ResourceCapabilities{}
	}
	return capabilities
}

// longestList returns the number of entries of the longest list.
func longestList(c mcptools.Catalog) int {
	return max(len(c.Tools), len(c.Prompts), len(c.Resources), len(c.ResourceTemplates))
}

func (h *Handler) hasSessions() bool { return h.era == EraDual }

// Route is [Endpoint.Route] with the policy of [Config].
func (h *Handler) Route(r *http.Request) (scopes []string, handler http.Handler, done func()) {
	return h.first.Route(r)
}

// Route parses r far enough to name the scopes that its operation needs, and returns the handler that serves it.
// done releases what Route reserved and must be called once when the request is over. Route implements
// server.Mount.
func (e *Endpoint) Route(r *http.Request) (scopes []string, handler http.Handler, done func()) {
	e.recordOperation(r, message{})
	if rpcErr := checkHeaders(r.Header); rpcErr != nil {
		return nil, e.errorHandler(rpcErr), noReservation
	}
	switch {
	case r.Method != http.MethodPost && e.isUnsupportedLegacyVersion(r):
		rpcErr := errUnsupportedVersion(nil, r.Header.Get(versionHeader), e.versions)
		return nil, e.errorHandler(rpcErr), noReservation
	case r.Method != http.MethodPost && e.hasSessions():
		return nil, e.sessionHandler(r.Method), noReservation
	case r.Method != http.MethodPost || !isJSON(r.Header.Get("Content-Type")):
		return nil, e.withCallContext(message{}, e.sdk.others), noReservation // it rejects what it does not serve
	}
	reserved := e.bytes.reserve(principal(r.Context()))
	m, rpcErr := e.readMessage(r, reserved)
	e.recordOperation(r, m)
	if rpcErr != nil {
		return nil, e.errorHandler(rpcErr), reserved.release
	}
	return e.scopes.of(m.operation), e.route(r, m), reserved.release
}

// noReservation is the done function of requests whose body is not read.
func noReservation() {}

// principal returns the key of the caller in the limits. It is empty without an identity; such a request is rejected
// later.
func principal(ctx context.Context) string {
	if id := providers.IdentityFrom(ctx); id != nil {
		return id.Principal()
	}
	return ""
}

// readMessage reads the body of r and parses the message in it.
func (e *Endpoint) readMessage(r *http.Request, reserved *reservation) (message, *rpcError) {
	body, rpcErr := readBody(r, e.policy.MaxBodyBytes, reserved)
	if rpcErr != nil {
		return message{}, rpcErr
	}
	m, rpcErr := parseMessage(body)
	if rpcErr == nil && m.method == methodListen && len(body) > maxRetainedBytes {
		// The stream retains the message until it ends.
		rpcErr = errTooLarge(m.id, "a message with this method is limited to 16 KiB")
	}
	if rpcErr == nil {
		rpcErr = m.reserveValues(reserved)
	}
	if rpcErr == nil {
		rpcErr = m.checkLargeParams()
	}
	if rpcErr == nil && e.isUnsupportedLegacyVersion(r) {
		rpcErr = errUnsupportedVersion(m.id, r.Header.Get(versionHeader), e.versions)
	}
	m.reserved = reserved
	return m, rpcErr
}

func (e *Endpoint) route(r *http.Request, m message) http.Handler {
	switch {
	case isModern(r, m):
		normalizeHeaders(r.Header)
	case e.hasSessions():
		return e.newSessionPost(m)
	default:
		r.Header.Del(sessionHeader) // there are no sessions, so a tool must not see an ID
	}
	if conn := e.stateless(r, m, r.Header.Get(versionHeader)); conn != nil {
		return conn
	}
	if rpcErr := cmp.Or(checkLongName(r.Header, m), m.checkDecodable()); rpcErr != nil {
		return e.errorHandler(rpcErr)
	}
	r.Body = m.newBody()
	switch {
	case m.method == methodListen:
		return e.withCallContext(m, e.sdk.streams)
	case invokesHandler(m.method):
		return e.withCallContext(m, e.endableCalls(m.id))
	}
	return e.withCallContext(m, e.sdk.others)
}

// limitCalls rejects a caller with too many calls in flight with a status and a Retry-After. The calls themselves
// are counted in middleware.runLimited: in a session a call continues after its request.
func (h *Handler) limitCalls(next http.Handler) http.Handler {
	return h.withIdentity(func(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
		if rpcErr := h.beginCall(r, caller, nil); rpcErr != nil {
			h.writeError(w, r, rpcErr)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// beginCall returns an error if a call must not run now. id is that of the request, if it is known.
func (h *Handler) beginCall(r *http.Request, caller *providers.Identity, id json.RawMessage) *rpcError {
	if rpcErr := h.overCallLimit(caller); rpcErr != nil {
		return rpcErr
	}
	if h.auditor == nil {
		return nil
	}
	if err := h.auditor.BeginCall(r.Context()); err != nil {
		return errNotRecorded(id, err)
	}
	return nil
}

// overCallLimit returns an error if the caller has too many calls in flight.
func (h *Handler) overCallLimit(caller *providers.Identity) *rpcError {
	if err := h.calls.full(caller.Principal()); err != nil {
		return errLimit("calls", ReasonTooManyCalls, err)
	}
	return nil
}

// isModern distinguishes the eras: a request of MCP 2026-07-28 names its version in a header, or at least in _meta,
// and has no session. (If the header is missing, the SDK reports it: MCP 2026-07-28, Streamable HTTP, Server
// Validation.) Versions are dates, so they compare as strings.
func isModern(r *http.Request, m message) bool {
	return r.Header.Get(versionHeader) >= modernVersion ||
		m.version != nil && r.Header.Get(sessionHeader) == ""
}

// isUnsupportedLegacyVersion reports whether r names an old version that is not supported. (The SDK rejects unknown
// newer ones.)
func (h *Handler) isUnsupportedLegacyVersion(r *http.Request) bool {
	version := r.Header.Get(versionHeader)
	return version != "" && version < modernVersion && !slices.Contains(h.versions, version)
}

// legacyVersions are the versions that have sessions.
func (h *Handler) legacyVersions() []string {
	return slices.DeleteFunc(slices.Clone(h.versions), func(version string) bool { return version >= modernVersion })
}

// limitStreams serves a stream that stays open for notifications. It bounds their number and ends them: a stream
// must not outlive the token that opened it, nor keep the server from stopping.
func (h *Handler) limitStreams(next http.Handler) http.Handler {
	return h.withIdentity(func(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
		if err := h.streams.acquire(caller.Principal()); err != nil {
			h.writeError(w, r, errLimit("streams", ReasonTooManyStreams, err))
			return
		}
		defer h.streams.release(caller.Principal(), 1)
		ctx, cancel := h.withTokenExpiry(r.Context(), caller)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// withTokenExpiry returns a context that ends with the caller's token, and with CloseStreams.
func (h *Handler) withTokenExpiry(
	ctx context.Context, caller *providers.Identity,
) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(ctx, caller.ExpiryWithLeeway)
	stop := context.AfterFunc(h.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// withIdentity passes the identity of the request to serve, and rejects a request without one. In a session it is
// the identity of this request, not of the one that opened the session.
func (h *Handler) withIdentity(serve func(http.ResponseWriter, *http.Request, *providers.Identity)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := providers.IdentityFrom(r.Context())
		if caller == nil {
			h.writeError(w, r, errUnauthenticated())
			return
		}
		serve(w, r, caller)
	})
}

// Sessions returns the number of open sessions.
func (h *Handler) Sessions() int { return h.sessions.count() }

// CloseStreams ends all standalone and listening streams, and every one that is opened later. Calls in flight
// continue. Call it when the server starts to stop: an HTTP server waits for open streams until its deadline.
func (h *Handler) CloseStreams() { h.closeStreams() }

// CloseSessions ends all sessions, and the calls that continue in them. Call it after the HTTP server stopped. It
// waits until the handlers return, and five seconds at most.
func (h *Handler) CloseSessions() {
	h.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var closing sync.WaitGroup
		for s := range h.server.Sessions() { // takes the SDK's lock, which a handler may hold
			closing.Go(func() { _ = s.Close() }) // no client waits for the error
		}
		closing.Wait()
	}()
	select {
	case <-done:
	case <-time.After(h.closeTimeout):
	}
}
