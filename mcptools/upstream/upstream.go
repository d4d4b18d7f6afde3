package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/time/rate"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// source gives out sessions with an upstream.
type source interface {
	// run works until ctx ends and everything has ended.
	run(ctx context.Context)
	// acquire returns a session for a call of caller. The error is a *failure or that of ctx.
	acquire(ctx context.Context, caller *providers.Identity) (_ *session, release func(), _ error)
	// next waits for the session that follows old.
	next(ctx context.Context, old *session) (*session, error)
	status(*Status)
}

// upstream is one upstream.
type upstream struct {
	settings  Settings
	client    client
	logger    *slog.Logger
	connector connector
	source    source
	identity  identity
	counters  counters
	calls     callCounts
	limit     *rate.Limiter // of log lines about calls
	inFlight  atomic.Int64  // calls
	maxCalls  atomic.Int64  // see [Set.SetMaxCalls]

	mu      sync.Mutex
	tools   int  // that the upstream has
	isFixed bool // offers and refused do not change any more
	offers  []offer
	refused []Refusal
	changed []string
}

func newUpstream(running context.Context, s Settings, o Options, hurry <-chan struct{}) (*upstream, error) {
	u := &upstream{
		settings: s, client: newClient(o.Version), logger: o.Logger.With("upstream", s.Name),
		identity: identity{
			kind: s.Identity, audience: s.URL, hasCredential: s.Authorization != "",
			scopes: s.Scopes(), minter: o.Minter,
		},
		limit: rate.NewLimiter(rate.Every(time.Second), 10),
	}
	u.setMaxCalls(o.MaxCalls)
	u.calls = newCallCounts()
	u.counters.logger, u.counters.throttle = u.logger, newThrottle()
	u.client.probeTimeout = o.probeTimeout
	if s.Identity == IdentityJWT && o.Minter == nil {
		return nil, errors.New("identity: jwt needs a minter")
	}
	u.connector = connector{client: u.client, timeout: o.startTimeout, hurry: hurry, logger: u.logger}
	b := processBackoff
	if s.URL != "" {
		b = httpBackoff
		e, err := u.newEndpoint(o)
		if err != nil {
			return nil, err
		}
		u.connector.open = func(string) (link, error) { return openHTTP(e), nil }
	} else {
		u.connector.open = func(user string) (link, error) {
			return openStdio(s, user, o.grace, &u.counters, u.logger)
		}
	}
	if o.backoff != (backoff{}) {
		b = o.backoff
	}
	if s.Processes == ProcessesPerUser {
		u.source = newPool(running, u.connector, b, s, u.found)
	} else {
		shared := newSupervisor(u.connector, b, u.found)
		shared.waits = s.URL != ""
		u.source = shared
	}
	return u, nil
}

func (u *upstream) newEndpoint(o Options) (*endpoint, error) {
	address, err := url.Parse(u.settings.URL)
	if err != nil {
		return nil, err
	}
	return &endpoint{
		url: u.settings.URL, userAgent: u.client.userAgent, authorization: u.settings.AuthorizationHeader(),
		max: u.settings.MaxMessageBytes, transport: newTransport(address, o.dialer(address.Scheme == "https")),
		own: u.identity.own, counters: &u.counters,
		long: make(chan struct{}, maxLongMessages), finishing: make(chan struct{}, maxFinishing),
	}, nil
}

// start fixes the tools, and runs the source until running ends.
func (u *upstream) start(ctx, running context.Context, group *sync.WaitGroup) error {
	if u.settings.Pinned != nil {
		u.fix(u.settings.Pinned.Definitions())
		group.Go(func() { u.source.run(running) })
		return nil
	}
	shared, isShared := u.source.(*supervisor)
	if !isShared {
		found, err := u.look(ctx)
		if err != nil {
			return err
		}
		u.fix(found.Definitions)
		u.source.(*pool).introduce(found.Era, found.Server)
		group.Go(func() { u.source.run(running) })
		return nil
	}
	shared.isAwaited = true
	group.Go(func() { shared.run(running) })
	if err := shared.first(ctx); err != nil {
		return u.startError(err)
	}
	return nil
}

func (u *upstream) startError(err *startError) *StartError {
	return &StartError{Name: u.settings.Name, Reason: err.reason(), Err: err.cause, Output: err.output}
}

// found receives what the upstream lists at the start of a session. The first list fixes the tools, if nothing else
// has; later ones show what changed.
func (u *upstream) found(definitions []Definition) {
	u.fix(definitions)
	digests := map[string]string{}
	for _, d := range definitions {
		digests[d.Name] = d.SHA256
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tools = len(definitions)
	var changed []string
	for _, o := range u.offers {
		if digests[o.remote] != o.sha256 {
			changed = append(changed, o.name)
		}
	}
	if len(changed) > 0 && !slices.Equal(changed, u.changed) {
		u.logger.Warn("definitions of an upstream changed: the tools cannot be called", "reason", ReasonChanged,
			"tools", changed[:min(len(changed), maxLogged)], "number", len(changed))
	}
	u.changed = changed
}

// maxLogged bounds how many tools are named in the log.
const maxLogged = 20

// fix fixes the tools, if they are not yet.
func (u *upstream) fix(definitions []Definition) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.isFixed {
		return
	}
	u.isFixed, u.tools = true, len(definitions)
	u.offers, u.refused = u.settings.offers(definitions)
	for _, r := range u.refused[:min(len(u.refused), maxLogged)] {
		u.logger.Warn("a tool of an upstream is not offered", "tool", providers.Printable(r.Tool, maxToolName),
			"error", r.Reason)
	}
}

// relay returns the handler of a tool.
func (u *upstream) relay(o offer) mcptools.RelayHandler {
	return func(ctx context.Context, req *mcp.CallToolRequest, params json.RawMessage) (*mcptools.Verbatim, error) {
		c, err := newCall(ctx, o, req, params)
		if err != nil {
			return nil, err
		}
		if u.settings.CallTimeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, u.settings.CallTimeout)
			defer cancel()
		}
		ctx, end := u.startSpan(ctx, o)
		result, err := u.call(ctx, c)
		end(err)
		u.calls.add(err)
		if reason := reasonOf(err); reason != "" && u.limit.Allow() {
			u.logger.Warn("a call of an upstream failed", "reason", reason, "tool", o.name, "error", err)
		}
		return c.verbatim(result, err)
	}
}

// setMaxCalls gives the upstream half of the calls of this server.
func (u *upstream) setMaxCalls(n int) { u.maxCalls.Store(int64(max(1, n/2))) }

// call sends a call. It is sent twice only if the upstream did not know the session of the first one.
func (u *upstream) call(ctx context.Context, c *call) (json.RawMessage, error) {
	defer u.inFlight.Add(-1)
	if u.inFlight.Add(1) > u.maxCalls.Load() {
		return nil, errBusy("too many calls are in flight")
	}
	s, release, err := u.source.acquire(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	defer release()
	noteSession(ctx, s)
	result, err := c.do(ctx, s, u.client, u.identity)
	if !errors.Is(err, errSessionUnknown) {
		return result, err
	}
	if s, err = u.source.next(ctx, s); err != nil {
		return nil, err
	}
	if result, err = c.do(ctx, s, u.client, u.identity); errors.Is(err, errSessionUnknown) {
		err = errRefused(err)
	}
	return result, err
}
