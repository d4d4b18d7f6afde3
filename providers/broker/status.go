package broker

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/signins"
	"gatehouse/providers/token"
)

// provider is a [token.Provider] with its authorization server.
type provider struct {
	*token.Provider
	issuer *authserver.Issuer
	store  string
	watch  *providerWatch
}

// Routes implements [providers.RouteProvider].
func (p *provider) Routes() []providers.Route { return p.issuer.Routes() }

// Index is the page at the origin of an authorization server that runs alone.
func (p *provider) Index() http.Handler { return p.issuer.Index() }

// Keys implements [providers.KeyReporter]. If the keys are not usable because of the store, the reason says so.
func (p *provider) Keys() providers.KeyStatus {
	status := p.Provider.Keys()
	if reason, err := p.issuer.Ready(); err != nil && !status.Usable {
		status.Reason = reason
	}
	return status
}

// SignInStatus implements [signins.Reporter].
func (p *provider) SignInStatus() signins.Status {
	// The issuer reads its keys from the store every few seconds, so this recovers without requests.
	problem, _ := p.issuer.Ready()
	s := signins.Status{Store: p.store, StoreProblem: problem, KeyCreated: p.issuer.KeyCreated()}
	s.ProviderProblem, s.Confirmed = p.watch.state()
	return s
}

// SignIns implements [signins.Manager].
func (p *provider) SignIns(ctx context.Context, f signins.Filter, after string, limit int) (
	[]signins.SignIn, string, error,
) {
	return p.issuer.SignIns(ctx, f, after, limit)
}

// EndSignIns implements [signins.Manager].
func (p *provider) EndSignIns(ctx context.Context, f signins.Filter) (int, error) {
	return p.issuer.EndSignIns(ctx, f)
}

// KeepsSignIns implements [signins.Keeper].
func (s *Settings) KeepsSignIns() bool { return true }

// providerWatch keeps what the events say about the provider at which people sign in.
type providerWatch struct {
	next func(context.Context, providers.SignInEvent) // nil: the events go nowhere else
	now  func() time.Time

	mu        sync.Mutex
	problem   providers.Reason
	confirmed time.Time
}

// providerProblems are the reasons of events for which the provider is at fault, or this server's client there. A
// browser that sends an invented response, or a response with an invented code, must not cause one of them.
var providerProblems = []providers.Reason{ReasonProviderUnavailable, ReasonProviderClientRefused, ReasonIDTokenInvalid,
	authserver.ReasonRecheckFailed}

// record is the Record of the authorization server.
func (w *providerWatch) record(ctx context.Context, e providers.SignInEvent) {
	if e.Kind == authserver.EventComplete || e.Kind == authserver.EventRecheck {
		w.note(e.Reason)
	}
	if w.next != nil {
		w.next(ctx, e)
	}
}

func (w *providerWatch) note(reason providers.Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case reason == "":
		w.problem, w.confirmed = "", w.now()
	case slices.Contains(providerProblems, reason):
		w.problem = reason
	default: // the answer was about the person, or the store failed
	}
}

func (w *providerWatch) state() (problem providers.Reason, confirmed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem, w.confirmed
}
