package upstream

import (
	"context"
	"errors"
	"sync/atomic"
)

// How a call ends, besides the reasons of failures.
const (
	// OutcomeOK means that the upstream answered, also with an error of its own.
	OutcomeOK = "ok"
	// OutcomeTimeout means that it did not answer in time, and OutcomeCanceled that the call was given up before.
	OutcomeTimeout  = "timeout"
	OutcomeCanceled = "canceled"
)

// Outcomes returns every way in which a call can end: the keys of [Status].Calls.
func Outcomes() []string {
	all := []string{OutcomeOK, OutcomeTimeout, OutcomeCanceled}
	for _, doc := range Reasons() {
		all = append(all, string(doc.Code))
	}
	return all
}

// callCounts counts calls by outcome. The map does not change.
type callCounts map[string]*atomic.Int64

func newCallCounts() callCounts {
	c := callCounts{}
	for _, outcome := range Outcomes() {
		c[outcome] = &atomic.Int64{}
	}
	return c
}

// add counts a call that ended with err.
func (c callCounts) add(err error) { c[outcomeOf(err)].Add(1) }

// outcomeOf returns the outcome of a call that ended with err, which is one of the upstream if it is neither a failure
// nor the end of the context.
func outcomeOf(err error) string {
	switch reason := reasonOf(err); {
	case reason != "":
		return string(reason)
	case errors.Is(err, context.DeadlineExceeded):
		return OutcomeTimeout
	case errors.Is(err, context.Canceled):
		return OutcomeCanceled
	}
	return OutcomeOK
}

func (c callCounts) snapshot() map[string]int64 {
	all := make(map[string]int64, len(c))
	for outcome, n := range c {
		all[outcome] = n.Load()
	}
	return all
}
