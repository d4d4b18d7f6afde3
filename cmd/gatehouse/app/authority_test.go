package app

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/signins"
)

// authority makes the provider of a fixture one with an authorization server, whose events and state the test sets.
type authority struct {
	mu     sync.Mutex
	state  signins.Status
	noKeys providers.Reason // why tokens cannot be verified; empty if they can
	list   []signins.SignIn
	broken error // of the store
	limits []int // of the pages that were read
}

// use replaces the settings of the provider.
func (a *authority) use(cfg *configs.Config) { cfg.Provider = &authoritySettings{cfg.Provider, a} }

func (a *authority) set(change func(*authority)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

type authoritySettings struct {
	providers.Settings
	authority *authority
}

// Open implements [providers.Settings].
func (s *authoritySettings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	p, err := s.Settings.Open(ctx, info)
	return &authorityProvider{p, s.authority, info}, err
}

// KeepsSignIns implements [signins.Keeper].
func (*authoritySettings) KeepsSignIns() bool { return true }

type authorityProvider struct {
	providers.Provider
	*authority
	info providers.ServerInfo
}

// Keys implements [providers.KeyReporter].
func (p *authorityProvider) Keys() providers.KeyStatus {
	status := p.Provider.(providers.KeyReporter).Keys()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noKeys != "" {
		status.Usable, status.Reason = false, p.noKeys
	}
	return status
}

// eventRequest is the body of a request to /event.
type eventRequest struct {
	Status int
	Events []providers.SignInEvent
}

// Routes implements [providers.RouteProvider]: /event records what the request says, and /denied asks for a subject.
func (p *authorityProvider) Routes() []providers.Route {
	return []providers.Route{
		{Path: "/event", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var sent eventRequest
			if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
				http.Error(w, err.Error(), http.StatusTeapot)
				return
			}
			for _, e := range sent.Events {
				p.info.Record(r.Context(), e)
			}
			w.WriteHeader(sent.Status)
		})},
		{Path: "/denied", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			signedIn := time.Now()
			if at := r.FormValue("at"); at != "" {
				signedIn, _ = time.Parse(time.RFC3339, at)
			}
			reason, denied := p.info.Denied(&providers.Identity{Issuer: p.info.Resource.Origin(),
				Subject: r.FormValue("subject"), Client: r.FormValue("client"), IssuedAt: signedIn})
			if denied {
				http.Error(w, string(reason), http.StatusForbidden)
			}
		})},
	}
}

// SignInStatus implements [signins.Reporter].
func (p *authorityProvider) SignInStatus() signins.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// SignIns implements [signins.Manager].
func (p *authorityProvider) SignIns(_ context.Context, f signins.Filter, after string, limit int) (
	list []signins.SignIn, next string, err error,
) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = append(p.limits, limit)
	if p.broken != nil {
		return nil, "", p.broken
	}
	for _, s := range p.authority.list {
		if s.ID <= after || !fits(f, s) {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].ID, nil
		}
		list = append(list, s)
	}
	return list, "", nil
}

// EndSignIns implements [signins.Manager].
func (p *authorityProvider) EndSignIns(ctx context.Context, f signins.Filter) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(s signins.SignIn) bool {
		if !fits(f, s) {
			return false
		}
		n++
		p.info.Record(ctx, providers.SignInEvent{Kind: "signin.end", Reason: "ended_by_operator", Subject: s.Subject,
			ClientID: s.ClientID, SignIn: s.ID})
		return true
	})
	return n, p.broken
}

func fits(f signins.Filter, s signins.SignIn) bool {
	return (f.ID == "" || f.ID == s.ID) && (f.Subject == "" || f.Subject == s.Subject) &&
		(f.ClientID == "" || strings.HasPrefix(s.ClientID, f.ClientID))
}
