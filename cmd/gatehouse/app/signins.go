package app

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/signins"
	"gatehouse/server"
)

// isDenied asks the list of denials in force.
func (a *App) isDenied(id *providers.Identity) (providers.Reason, bool) {
	if a.Denials == nil {
		return "", false
	}
	return a.Denials.Check(id)
}

// SignInStatus is the state of the authorization server of the provider.
type SignInStatus struct {
	// Store is memory, file or redis, and StoreProblem why its last operation failed.
	Store        string           `json:"store"`
	StoreProblem providers.Reason `json:"store_problem,omitempty"`
	// ProviderProblem is why the provider where people sign in gave no usable answer to the last question, and Confirmed
	// when it last said that a person may sign in; nil if not since the start.
	ProviderProblem providers.Reason `json:"provider_problem,omitempty"`
	Confirmed       *time.Time       `json:"confirmed,omitempty"`
	// KeyAgeSeconds is the age of the key that signs tokens; nil if there is none.
	KeyAgeSeconds *float64 `json:"key_age_seconds,omitempty"`
	// Events counts what happened since the start, by event, and then by outcome: ok, or a reason.
	Events map[string]map[string]int64 `json:"events"`
}

// signInStatus returns nil if the provider has no authorization server.
func (a *App) signInStatus(p providers.Provider, now time.Time) *SignInStatus {
	reporter, ok := p.(signins.Reporter)
	if !ok {
		return nil
	}
	state := reporter.SignInStatus()
	s := &SignInStatus{
		Store: state.Store, StoreProblem: state.StoreProblem, ProviderProblem: state.ProviderProblem,
		Events: a.signIns.Counts(),
	}
	if !state.Confirmed.IsZero() {
		confirmed := state.Confirmed.UTC()
		s.Confirmed = &confirmed
	}
	if !state.KeyCreated.IsZero() {
		age := now.Sub(state.KeyCreated).Seconds()
		s.KeyAgeSeconds = &age
	}
	return s
}

// observeSignIns registers the state of an authorization server. Without one, there are no series.
func (a *App) observeSignIns(g *gauges) {
	events := g.newCounter("gatehouse.signins.events",
		"What happened at the authorization server, by outcome: ok, or the reason of the refusal or the end.")
	storeOK := g.newGauge("gatehouse.signins.store.ok", "0 if the last operation of the store of sign-ins failed.")
	providerOK := g.newGauge("gatehouse.signins.provider.ok",
		"0 if the provider where people sign in did not answer the last question, or has refused this program.")
	confirmed := g.seconds("gatehouse.signins.provider.confirmed.age",
		"Time since the provider where people sign in has last said that a person may.")
	keyAge := g.seconds("gatehouse.signins.key.age", "Age of the key that signs tokens.")
	labels := newSignInLabels()
	g.reads = append(g.reads, func(o metric.Observer) {
		reporter, ok := a.Provider().(signins.Reporter)
		if !ok {
			return
		}
		labels.observe(o, events, a.signIns.Counts())
		state := reporter.SignInStatus()
		o.ObserveInt64(storeOK, oneIf(state.StoreProblem == ""))
		o.ObserveInt64(providerOK, oneIf(state.ProviderProblem == ""))
		if !state.Confirmed.IsZero() {
			o.ObserveFloat64(confirmed, time.Since(state.Confirmed).Seconds())
		}
		if !state.KeyCreated.IsZero() {
			o.ObserveFloat64(keyAge, time.Since(state.KeyCreated).Seconds())
		}
	})
}

// signInLabels are the values that labels of events may have. A provider of another module may have more.
type signInLabels struct{ events, outcomes []string }

func newSignInLabels() signInLabels {
	l := signInLabels{server.SignInEvents(), []string{string(server.OutcomeOK)}}
	for _, doc := range configs.Reasons() {
		l.outcomes = append(l.outcomes, string(doc.Code))
	}
	return l
}

// observe observes a series for each event from the start, so that the first success of one is an increase.
func (l signInLabels) observe(
	o metric.Observer, counter metric.Int64Observable, counts map[string]map[string]int64,
) {
	type series struct{ event, outcome string }
	all := map[series]int64{}
	for _, event := range l.events {
		all[series{event, string(server.OutcomeOK)}] = 0
	}
	known := func(values []string, value string) string {
		if slices.Contains(values, value) {
			return value
		}
		return "_OTHER"
	}
	for event, outcomes := range counts {
		for outcome, n := range outcomes {
			all[series{known(l.events, event), known(l.outcomes, outcome)}] += n
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(all), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.event, b.event), cmp.Compare(a.outcome, b.outcome))
	}) {
		o.ObserveInt64(counter, all[s], metric.WithAttributes(attribute.String("gatehouse.event", s.event),
			attribute.String("gatehouse.outcome", s.outcome)))
	}
}
