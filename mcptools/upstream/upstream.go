package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/time/rate"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// Options configure [Open].
type Options struct {
	// Logger must not be nil.
	Logger *slog.Logger
	// Version is that of this server, which upstreams get.
	Version string
	// MaxCalls is how many calls this server has in flight at most. An upstream has half of them at most, so that a slow
	// one leaves room for other tools. 0 means 1000.
	MaxCalls int
	// Minter makes the tokens of upstreams with identity: jwt. It may be nil if there are none.
	Minter *Minter

	// Tests set these.
	grace        time.Duration // see stopGrace
	startTimeout time.Duration
	probeTimeout time.Duration
	backoff      backoff
	dialer       func(isHTTPS bool) *dialer
}

// startTimeout is how long an upstream may take from its start to its list of tools. npx may have to download it.
const startTimeout = time.Minute

func (o Options) withDefaults() Options {
	if o.grace == 0 {
		o.grace = stopGrace
	}
	if o.startTimeout == 0 {
		o.startTimeout = startTimeout
	}
	if o.probeTimeout == 0 {
		o.probeTimeout = probeTimeout
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = 1000
	}
	if o.dialer == nil {
		o.dialer = newDialer
	}
	return o
}

// StartError is why [Open] or [Look] cannot use an upstream.
type StartError struct {
	// Name is that of the upstream.
	Name string
	// Reason is empty if the upstream answers, but has a tool with a name that is taken.
	Reason providers.Reason
	// Err may name addresses and files of this machine.
	Err error
	// Output are the last lines that its process wrote to stderr. They are safe to show on a terminal.
	Output []string
}

// Error implements error.
func (e *StartError) Error() string { return fmt.Sprintf("upstream %s: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

// State is that of an upstream.
type State string

// The states.
const (
	// StateConnecting lasts until the first attempt has ended.
	StateConnecting State = "connecting"
	StateReady      State = "ready"
	// StateRestarting begins when a session is lost.
	StateRestarting State = "restarting"
	// StateDown begins when an attempt has failed; another one follows.
	StateDown State = "down"
)

// Status is the state of an upstream.
type Status struct {
	Name string
	// Transport is "stdio" or "http".
	Transport string
	State     State
	// Reason is that of the last failed attempt, in [StateDown].
	Reason providers.Reason
	// Era is the protocol version, and Server the name and version of the upstream, as far as they are known.
	Era, Server string
	// Tools is how many tools the upstream has, Offered how many of them the catalog has, and Skipped how many were
	// asked for but cannot be offered.
	Tools, Offered, Skipped int
	// Changed are the offered tools that cannot be called, because their definition at the upstream changed.
	Changed []string
	Pinned  bool
	// Restarts counts the sessions after the first.
	Restarts int
	// Processes is how many processes run, with one for each caller.
	Processes int
	// Noise counts what the upstream wrote that is no message, and Stray the messages that nothing waited for.
	Noise, Stray int64
}

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
	limit     *rate.Limiter // of log lines about calls
	slots     chan struct{} // of calls in flight

	mu      sync.Mutex
	tools   int  // that the upstream has
	isFixed bool // offers and refused do not change any more
	offers  []offer
	refused []Refusal
	changed []string
}

// Set are the upstreams of a server. Their tools are fixed when it is opened; whether a call succeeds depends on the
// state of the upstream.
type Set struct {
	upstreams []*upstream
	hurry     chan struct{}
	hurryOnce sync.Once
	end       context.CancelFunc
	running   sync.WaitGroup
}

// Open starts the upstreams. One without pins has to answer: its tools are those that it lists now. One with pins need
// not. The error has a *[StartError] for each upstream that cannot be used, and one for each name that two tools have.
// ctx limits the start; the upstreams run until Close.
func Open(ctx context.Context, all []Settings, o Options) (*Set, error) {
	o = o.withDefaults()
	running, end := context.WithCancel(context.Background())
	set := &Set{hurry: make(chan struct{}), end: end}
	errs := make([]error, len(all))
	var starting sync.WaitGroup
	for i, s := range all {
		u, err := newUpstream(running, s, o, set.hurry)
		if err != nil {
			errs[i] = &StartError{Name: s.Name, Reason: ReasonUnavailable, Err: err}
			continue
		}
		set.upstreams = append(set.upstreams, u)
		starting.Go(func() { errs[i] = u.start(ctx, running, &set.running) })
	}
	starting.Wait()
	err := errors.Join(errors.Join(errs...), set.checkNames())
	if err != nil {
		set.Close(ctx)
		return nil, err
	}
	return set, nil
}

func newUpstream(running context.Context, s Settings, o Options, hurry <-chan struct{}) (*upstream, error) {
	u := &upstream{
		settings: s, client: newClient(o.Version), logger: o.Logger.With("upstream", s.Name),
		identity: identity{
			kind: s.Identity, audience: s.URL, hasCredential: s.Authorization != "", minter: o.Minter,
		},
		limit: rate.NewLimiter(rate.Every(time.Second), 10), slots: make(chan struct{}, max(1, o.MaxCalls/2)),
	}
	u.counters.logger, u.client.probeTimeout = u.logger, o.probeTimeout
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
		counters: &u.counters,
	}, nil
}

// start fixes the tools, and runs the source until running ends.
func (u *upstream) start(ctx, running context.Context, group *sync.WaitGroup) error {
	if u.settings.Pinned != nil {
		u.fix(u.settings.Pinned.definitions())
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
		group.Go(func() { u.source.run(running) })
		return nil
	}
	group.Go(func() { shared.run(running) })
	if _, err := shared.next(ctx, nil); err != nil {
		failed := &startError{cause: err}
		_ = errors.As(err, &failed)
		return u.startError(failed)
	}
	return nil
}

func (u *upstream) startError(err *startError) *StartError {
	return &StartError{Name: u.settings.Name, Reason: err.reason(), Err: err.cause, Output: err.output}
}

// Found is what an upstream says about itself.
type Found struct {
	// Era is the protocol version, and Server the name and version of the upstream.
	Era, Server string
	// Definitions are those of all its tools, sorted by name.
	Definitions []Definition
}

// Offered returns the definitions of the tools that s offers, and the reasons why others that it asks for are not.
func (f Found) Offered(s Settings) (offered []Definition, refused []Refusal) {
	offers, refused := s.offers(f.Definitions)
	for _, o := range offers {
		i := slices.IndexFunc(f.Definitions, func(d Definition) bool { return d.Name == o.remote })
		offered = append(offered, f.Definitions[i])
	}
	return offered, refused
}

// Look connects to an upstream once, and ends it again. The error is a *[StartError].
func Look(ctx context.Context, s Settings, o Options) (*Found, error) {
	hurry, cancel := context.WithCancel(ctx)
	defer cancel()
	u, err := newUpstream(ctx, s, o.withDefaults(), hurry.Done())
	if err != nil {
		return nil, &StartError{Name: s.Name, Reason: ReasonUnavailable, Err: err}
	}
	return u.look(ctx)
}

// look connects once. With a process for each caller, the process belongs to none of them.
func (u *upstream) look(ctx context.Context) (*Found, error) {
	s, definitions, err := u.connector.connect(ctx, userKey(&providers.Identity{}))
	if err != nil {
		return nil, u.startError(err)
	}
	s.close(u.connector.hurry)
	return &Found{Era: s.version, Server: s.server, Definitions: definitions}, nil
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

// checkNames returns an error for each name that tools of two upstreams have.
func (s *Set) checkNames() error {
	owners := map[string]string{}
	var errs []error
	for _, u := range s.upstreams {
		for _, o := range u.offers {
			if owner, isTaken := owners[o.name]; isTaken {
				errs = append(errs, &StartError{Name: u.settings.Name,
					Err: fmt.Errorf("its tool %s has the name of a tool of upstream %s: set another prefix", o.name, owner)})
				continue
			}
			owners[o.name] = u.settings.Name
		}
	}
	return errors.Join(errs...)
}

// Tools returns the tools of all upstreams, in the order of the settings.
func (s *Set) Tools() []mcptools.Tool {
	var tools []mcptools.Tool
	for _, u := range s.upstreams {
		for _, o := range u.offers {
			tools = append(tools, mcptools.Relay(o.tool, o.scopes, u.relay(o)))
		}
	}
	return tools
}

// Status returns the states, in the order of the settings.
func (s *Set) Status() []Status {
	var all []Status
	for _, u := range s.upstreams {
		all = append(all, u.status())
	}
	return all
}

func (u *upstream) status() Status {
	s := Status{Name: u.settings.Name, Transport: "stdio", Pinned: u.settings.Pinned != nil}
	if u.settings.URL != "" {
		s.Transport = "http"
	}
	u.source.status(&s)
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Tools, s.Offered, s.Skipped, s.Changed = u.tools, len(u.offers), len(u.refused), slices.Clone(u.changed)
	s.Noise, s.Stray = u.counters.noise.Load(), u.counters.stray.Load()
	return s
}

// Refused returns the tools of the upstream called name that were asked for and are not offered.
func (s *Set) Refused(name string) []Refusal {
	for _, u := range s.upstreams {
		if u.settings.Name == name {
			return slices.Clone(u.refused)
		}
	}
	return nil
}

// Close ends the upstreams. It returns when their processes have ended: these have a few seconds to end by themselves,
// and until the end of ctx at most.
func (s *Set) Close(ctx context.Context) {
	s.end()
	stop := context.AfterFunc(ctx, func() { s.hurryOnce.Do(func() { close(s.hurry) }) })
	defer stop()
	s.running.Wait()
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
		result, err := u.call(ctx, c)
		if reason := reasonOf(err); reason != "" && u.limit.Allow() {
			u.logger.Warn("a call of an upstream failed", "reason", reason, "tool", o.name, "error", err)
		}
		return c.verbatim(result, err)
	}
}

// call sends a call. It is sent twice only if the upstream did not know the session of the first one.
func (u *upstream) call(ctx context.Context, c *call) (json.RawMessage, error) {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		return nil, errBusy("too many calls are in flight")
	}
	s, release, err := u.source.acquire(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	defer release()
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
