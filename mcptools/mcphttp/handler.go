package mcphttp

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// maxRememberedBytes bounds messages of which a session keeps what they say, decoded and many times as large, until it ends or the next
// one comes. What clients really send has about a kilobyte.
const maxRememberedBytes = 16 << 10

// isRemembered reports whether a session keeps what a message of the method says.
func isRemembered(method string) bool {
	return method == methodInitialize || method == methodSetLevel || strings.HasPrefix(method, notifications)
}

// notifications is how the names of methods begin that want no answer.
const notifications = "notifications/"

// usualPatience is how long a client may take to read a piece of an answer.
const usualPatience = 30 * time.Second

// modernVersion is the first protocol version without sessions.
const modernVersion = "2026-07-28"

// Handler is the MCP endpoint. Both eras of the protocol share one server and one address: requests of 2026-07-28 and later are
// served without sessions, all others in one, unless there are to be none (see [Handler.Route]).
type Handler struct {
	settings Settings
	server   *mcp.Server
	versions []string // that the server speaks, newest first
	scopes   scopeTable
	sessions *sessions
	streams  *quota
	calls    *quota
	bytes    *byteQuota
	// maxBodyBytes bounds a body before it is read; 0 if the server in front alone does.
	maxBodyBytes int
	// How a request begins that is served directly, by its version; and the tools whose parameters have to stand in headers too.
	states              map[string]*mcp.ServerSessionState
	parametersInHeaders map[string]bool
	patience            time.Duration // of an exchange
	closeTimeout        time.Duration // of CloseSessions
	probe               lockProbe
	// The SDK's own handler without sessions, for what is not served directly, with the manners that it lacks.
	sdk struct {
		calls   http.Handler // what runs code
		streams http.Handler // what stays open
		others  http.Handler
	}

	closing      context.Context // ended by CloseStreams
	closeStreams context.CancelFunc
	stopped      context.Context // ended by CloseSessions
	stop         context.CancelFunc
}

// Options are what a [Handler] is made of.
type Options struct {
	Settings Settings
	Tools    mcptools.ToolSettings
	// Info is how the server introduces itself.
	Info mcp.Implementation
	// RequiredScopes are needed by every call.
	RequiredScopes []string
	// MaxBodyBytes is server.max_body_bytes, so that a body that announces more is refused unread; 0 means that the server
	// in front bounds bodies alone.
	MaxBodyBytes int
	// Logger gets the stack of a handler that panics. It must not be nil.
	Logger *slog.Logger
}

// NewHandler serves a catalog. Everything that it dispatches is recovered, bounded in time, and checked again for the
// required and for its own scopes.
func NewHandler(o Options, catalog mcptools.Catalog) *Handler {
	h := &Handler{settings: o.Settings, scopes: newScopeTable(catalog), patience: usualPatience, closeTimeout: 5 * time.Second}
	h.closing, h.closeStreams = context.WithCancel(context.Background())
	h.stopped, h.stop = context.WithCancel(context.Background())
	options := &mcp.ServerOptions{
		Capabilities: capabilities(catalog),
		// What stands behind a sign-in is nobody else's to cache.
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.CacheScope = "private" },
	}
	if catalog.Options != nil {
		catalog.Options(options)
	}
	// The SDK would ask every session whether it is still there, and take a client without a standing stream, which cannot hear it,
	// for gone; and after a call without session, go on asking. Idle sessions end by their timeout.
	options.KeepAlive = 0
	// One page for each list, so that no cursor exists and every cursor can be refused (see noCursor).
	options.PageSize = max(1, longestList(catalog))
	h.server = mcp.NewServer(&o.Info, options)
	catalog.Register(h.server)
	h.versions = mcp.SupportedProtocolVersions()
	h.states = statesFor(h.versions)
	h.parametersInHeaders = map[string]bool{}
	for _, t := range catalog.Tools {
		if t.HasHeaderParameters() {
			h.parametersInHeaders[t.Name] = true
		}
	}
	h.sessions = newSessions(o.Settings)
	h.bytes, h.maxBodyBytes = newByteQuota(o.Settings.WithByteLimits(0)), o.MaxBodyBytes
	h.streams = newQuota(o.Settings.MaxStreamsPerUser, o.Settings.MaxStreams)
	h.calls = newQuota(o.Settings.MaxCallsPerUser, o.Settings.MaxCalls)
	g := guard{
		required: o.RequiredScopes, scopes: h.scopes, showAll: o.Tools.ShowAll,
		timeout: o.Settings.CallTimeout, stopped: h.stopped, calls: h.calls, logger: o.Logger,
	}
	h.server.AddReceivingMiddleware(g.around)

	// The server in front bounds bodies by its own setting, which may be more than the SDK's default.
	const alreadyBounded = -1
	same := func(*http.Request) *mcp.Server { return h.server }
	sdk := mcp.NewStreamableHTTPHandler(same, &mcp.StreamableHTTPOptions{
		Stateless: true,
		// Closing the response cancels the request (MCP 2026-07-28, Streamable HTTP, Cancellation).
		PropagateRequestCancellation: true,
		// The server in front checks the Host header against the configured resource; the SDK's check would refuse every
		// request that a proxy on the same machine passes on.
		DisableLocalhostProtection: true,
		MaxRequestBodyBytes:        alreadyBounded,
	})
	calls, streams := h.keptAlive(explained(methodCallTool, sdk)), h.keptAlive(explained("", sdk))
	h.sdk.calls, h.sdk.streams = unbuffered(h.calling(calls)), unbuffered(h.standing(streams))
	h.sdk.others = unbuffered(explained("", sdk))
	return h
}

func (h *Handler) hasSessions() bool { return h.settings.Era == EraDual }

// Route reads which operation r asks for, names the scopes that it needs, and picks the handler of its era, with the
// manners that the SDK lacks around it. It satisfies server.Mount.
func (h *Handler) Route(r *http.Request) (scopes []string, handler http.Handler, done func()) {
	noteOperation(r, message{})
	if refused := checkHeaders(r.Header); refused != nil {
		return nil, refused, nothingHeld
	}
	switch {
	case r.Method != http.MethodPost && h.isUnknownOldVersion(r):
		return nil, unsupportedVersion(nil, r.Header.Get(versionHeader), h.versions), nothingHeld
	case r.Method != http.MethodPost && h.hasSessions():
		return nil, h.ofSession(r.Method), nothingHeld
	case r.Method != http.MethodPost || !isJSON(r.Header.Get("Content-Type")):
		return nil, h.sdk.others, nothingHeld // which knows how to refuse what it cannot serve
	}
	held := h.bytes.reserve(principalOf(r.Context()))
	message, refused := h.readMessage(r, held)
	noteOperation(r, message)
	if refused != nil {
		return nil, refused, held.release
	}
	return h.scopes.of(message.operation), h.route(r, message), held.release
}

// nothingHeld is what [Handler.Route] returns for requests whose body is not read.
func nothingHeld() {}

// principalOf returns the name under which the limits know a caller. Without an identity nothing is served later.
func principalOf(ctx context.Context) string {
	if id := providers.IdentityFrom(ctx); id != nil {
		return id.Principal()
	}
	return ""
}

// readMessage reads the body of r, and what must be known of the message in it.
func (h *Handler) readMessage(r *http.Request, held *reservation) (message, *refusal) {
	body, refused := readBody(r, h.maxBodyBytes, held)
	if refused != nil {
		return message{}, refused
	}
	m, refused := peek(body)
	if refused == nil && m.method == methodListen && len(body) > maxRememberedBytes {
		refused = bodyTooLarge(m.id, "a message of this kind must be short") // its stream keeps it for as long as it lasts
	}
	if refused == nil {
		refused = m.weigh(held)
	}
	if refused == nil {
		refused = m.checkLargeParams()
	}
	if refused == nil && h.isUnknownOldVersion(r) {
		refused = unsupportedVersion(m.id, r.Header.Get(versionHeader), h.versions)
	}
	m.held = held
	return m, refused
}

func (h *Handler) route(r *http.Request, m message) http.Handler {
	switch {
	case isModern(r, m):
		modernHeaders(r.Header)
	case h.hasSessions():
		return &post{exchange: exchange{patience: h.patience, keepalive: h.settings.Keepalive}, handler: h, message: m}
	default:
		r.Header.Del(sessionHeader) // nobody here has one, and no tool shall think so
	}
	if plain := h.direct(r, m, r.Header.Get(versionHeader)); plain != nil {
		return plain
	}
	if refused := cmp.Or(checkLongName(r.Header, m), m.checkDecodable()); refused != nil {
		return refused
	}
	r.Body = m.again()
	switch {
	case m.method == methodListen:
		return h.sdk.streams
	case runsCode(m.method):
		return h.sdk.calls
	}
	return h.sdk.others
}

// calling refuses a caller who has too many calls in flight with a status that says when to come again. The places
// themselves are taken in guard.bounded: a call of the older era goes on when its request is over.
func (h *Handler) calling(next http.Handler) http.Handler {
	return signedIn(func(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
		if refused := h.busy(who); refused != nil {
			refused.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// busy refuses a caller who has too many calls in flight.
func (h *Handler) busy(who *auth.TokenInfo) *refusal {
	if err := h.calls.full(who.UserID); err != nil {
		return tooMany("calls", providers.TooManyCalls, err)
	}
	return nil
}

// isModern tells the eras apart: a request of 2026-07-28 says its version in a header, or at least in its _meta, and has
// no session. (With only the latter the SDK answers that the header is missing: MCP 2026-07-28, Streamable HTTP,
// Server Validation.) Versions are dates, so they compare as strings.
func isModern(r *http.Request, m message) bool {
	return r.Header.Get(versionHeader) >= modernVersion ||
		m.version != nil && r.Header.Get(sessionHeader) == ""
}

// isUnknownOldVersion reports whether r names a version that nobody serves any more. (Newer ones the SDK answers itself.)
func (h *Handler) isUnknownOldVersion(r *http.Request) bool {
	version := r.Header.Get(versionHeader)
	return version != "" && version < modernVersion && !slices.Contains(h.versions, version)
}

// legacyVersions are those that sessions speak.
func (h *Handler) legacyVersions() []string {
	return slices.DeleteFunc(slices.Clone(h.versions), func(version string) bool { return version >= modernVersion })
}

// standing serves a stream that stays open for notifications. Nothing else would bound how many there are, nor end them:
// one must not outlive the token that opened it, nor keep the server from stopping.
func (h *Handler) standing(next http.Handler) http.Handler {
	return signedIn(func(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
		if err := h.streams.take(who.UserID); err != nil {
			tooMany("streams", providers.TooManyStreams, err).ServeHTTP(w, r)
			return
		}
		defer h.streams.give(who.UserID)
		ctx, cancel := h.whileGood(r.Context(), who)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// whileGood returns a context that ends with the token, and when standing streams are closed.
func (h *Handler) whileGood(ctx context.Context, who *auth.TokenInfo) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(ctx, who.Expiration)
	stop := context.AfterFunc(h.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// signedIn hands the identity of this very request on, whatever session it belongs to. Without one nothing is served.
func signedIn(serve func(http.ResponseWriter, *http.Request, *auth.TokenInfo)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, refused := callerOfHTTP(r)
		if refused != nil {
			refused.ServeHTTP(w, r)
			return
		}
		serve(w, r, who)
	})
}

// callerOfHTTP returns whose request it is.
func callerOfHTTP(r *http.Request) (*auth.TokenInfo, *refusal) {
	if who := auth.TokenInfoFromContext(r.Context()); who != nil && who.UserID != "" {
		return who, nil
	}
	return nil, notSignedIn()
}

// Sessions returns how many sessions are open.
func (h *Handler) Sessions() int { return h.sessions.count() }

// CloseStreams ends all standing streams, and every one that is opened from now on. Calls in flight go on. Call it when the
// server begins to stop: an HTTP server waits for open streams until its deadline.
func (h *Handler) CloseStreams() { h.closeStreams() }

// CloseSessions ends all sessions, and the calls in them that nobody waits for any more. Call it after the server stopped.
// It waits no longer than it takes handlers to notice that their context ended, and five seconds at most.
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
