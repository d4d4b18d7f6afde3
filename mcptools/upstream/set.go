package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

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
	o.grace = cmp.Or(o.grace, stopGrace)
	o.startTimeout = cmp.Or(o.startTimeout, startTimeout)
	o.probeTimeout = cmp.Or(o.probeTimeout, probeTimeout)
	o.MaxCalls = cmp.Or(o.MaxCalls, 1000)
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

// Status returns the HTTP status with which the upstream refused, or 0.
func (e *StartError) Status() int {
	status, _ := errors.AsType[statusError](e.Err)
	return int(status)
}

// Fix says what to do about it. s are the settings of the upstream. It is empty if Err says so.
func (e *StartError) Fix(s Settings) string {
	key := func(name string) string { return "upstreams." + s.Name + "." + name }
	_, isForbidden := errors.AsType[*AddressError](e.Err)
	switch {
	case e.Reason == "":
		return ""
	case s.URL == "":
		return "it gets only PATH, HOME, LANG, TMPDIR and the variables in " + key("env") + " and env_file, and must " +
			"speak MCP on stdio"
	case e.Status() == http.StatusUnauthorized, e.Status() == http.StatusForbidden:
		return "check " + key("url") + ", and the credential in " + key("authorization_file")
	case isForbidden:
		return "fix " + key("url") + " or the DNS; http is for loopback and private networks only"
	case e.Reason == ReasonUnavailable:
		return "start it, or fix " + key("url") + "; it is reached directly, without a proxy"
	}
	return "check that " + key("url") + " is the MCP endpoint (Streamable HTTP), not the one of the transport of 2024, " +
		"which ends in /sse"
}

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

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

// Refused returns the tools of the upstream called name that were asked for and are not offered.
func (s *Set) Refused(name string) []Refusal {
	for _, u := range s.upstreams {
		if u.settings.Name == name {
			return slices.Clone(u.refused)
		}
	}
	return nil
}

// SetMaxCalls sets [Options.MaxCalls]. What exceeds a lower limit is not ended.
func (s *Set) SetMaxCalls(n int) {
	for _, u := range s.upstreams {
		u.setMaxCalls(n)
	}
}

// Close ends the upstreams. It returns when their processes have ended: these have a few seconds to end by themselves,
// and until the end of ctx at most.
func (s *Set) Close(ctx context.Context) {
	s.end()
	stop := context.AfterFunc(ctx, func() { s.hurryOnce.Do(func() { close(s.hurry) }) })
	defer stop()
	s.running.Wait()
}
