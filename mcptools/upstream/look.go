package upstream

import (
	"context"
	"slices"
	"time"

	"gatehouse/providers"
)

// Found is what an upstream says about itself.
type Found struct {
	// Era is the protocol version, and Server the name and version of the upstream.
	Era, Server string
	// Definitions are those of all its tools, sorted by name.
	Definitions []Definition
	// Took is the time from the start to the list of tools.
	Took time.Duration
	// HasSession reports whether the upstream, by HTTP, has opened a session.
	HasSession bool
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
	began := time.Now()
	s, definitions, err := u.connector.connect(ctx, userKey(&providers.Identity{}))
	if err != nil {
		return nil, u.startError(err)
	}
	found := &Found{Era: s.version, Server: s.server, Definitions: definitions, Took: time.Since(began)}
	if l, isHTTP := s.link.(*httpLink); isHTTP {
		found.HasSession = l.sessionID != ""
	}
	s.close(u.connector.hurry)
	return found, nil
}
