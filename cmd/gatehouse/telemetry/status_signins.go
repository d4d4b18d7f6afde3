package telemetry

import (
	"cmp"
	"slices"
	"time"

	"gatehouse/cmd/gatehouse/app"
)

// signInEvent is an event of the authorization server, with how often it went well and how often not.
type signInEvent struct {
	Event, OK, NotOK, Level string
	// Refused are the most frequent reasons.
	Refused []signInRefusal
}

type signInRefusal struct {
	Reason, Count string
	count         int64
}

// topRefusals is how many reasons of an event are shown.
const topRefusals = 3

// SignInEvents returns a row for each event that has happened, sorted by name.
func (v *statusView) SignInEvents() (rows []signInEvent) {
	if v.SignIns == nil {
		return nil
	}
	for event, outcomes := range v.SignIns.Events {
		row := signInEvent{Event: event}
		var ok, others int64
		for outcome, n := range outcomes {
			if outcome == "ok" {
				ok = n
				continue
			}
			others += n
			row.Refused = append(row.Refused, signInRefusal{outcome, number(n), n})
		}
		slices.SortFunc(row.Refused, func(a, b signInRefusal) int {
			return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.Reason, b.Reason))
		})
		row.Refused = row.Refused[:min(len(row.Refused), topRefusals)]
		row.OK, row.NotOK, row.Level = number(ok), number(others), levelIf(others > 0, levelWarn)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b signInEvent) int { return cmp.Compare(a.Event, b.Event) })
	return rows
}

// SignInRows returns the state of what the authorization server needs.
func (v *statusView) SignInRows() []row {
	s := v.SignIns
	store := row{Name: "store", Value: s.Store, Level: levelGood}
	if s.StoreProblem != "" {
		store.Note, store.Level = "the last operation failed: "+string(s.StoreProblem), levelBad
	}
	provider := row{Name: "provider", Value: "in order", Note: "no person confirmed since the start", Level: levelGood}
	if s.Confirmed != nil {
		provider.Note = "last confirmed a person " + v.since(*s.Confirmed)
	}
	if s.ProviderProblem != "" {
		provider.Value, provider.Level = string(s.ProviderProblem), levelBad
	}
	key := row{Name: "signing key", Value: "none", Level: levelBad}
	if age := s.KeyAgeSeconds; age != nil {
		key.Value, key.Level = span(time.Duration(*age*float64(time.Second)))+" old", ""
	}
	return []row{store, provider, key}
}

func signInProblems(s *app.SignInStatus) (problems []problem) {
	if s == nil {
		return nil
	}
	if s.StoreProblem != "" {
		problems = append(problems, problem{Text: "The store of sign-ins failed: no one can sign in or get another token",
			Reason: s.StoreProblem})
	}
	if s.ProviderProblem != "" {
		problems = append(problems, problem{Text: "The provider where people sign in gave no usable answer",
			Reason: s.ProviderProblem})
	}
	return problems
}
