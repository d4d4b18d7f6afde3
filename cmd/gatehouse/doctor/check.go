package doctor

import (
	"context"
	"slices"
	"time"

	"gatehouse/providers/diagnostics"
)

// check is one check before and after it runs.
type check struct {
	// name is the group and the check, such as provider.keys.
	name string
	// subject tells checks of the same name apart: a host, an issuer, an address.
	subject string
	// expected describes the good case.
	expected string
	// needs are checks earlier in the list.
	needs []*check
	// takesLong is set if it may take all the time that is left.
	takesLong bool
	run       func(ctx context.Context) diagnostics.Outcome

	outcome diagnostics.Outcome
	// stopped is why the checks that need this one are skipped; empty if they run.
	stopped string
}

// Result is the result of one check. Its texts contain no token, no secret, and no data from the other side
// except quoted names.
type Result struct {
	Name     string              `json:"name"`
	Subject  string              `json:"subject,omitempty"`
	Verdict  diagnostics.Verdict `json:"result"`
	Expected string              `json:"expected"`
	Found    string              `json:"found,omitempty"`
	Fix      string              `json:"fix,omitempty"`
	// Reason is why a check was skipped.
	Reason string `json:"reason,omitempty"`
}

// Failed reports whether any check failed.
func Failed(results []Result) bool { return count(results, diagnostics.VerdictFailed) > 0 }

func count(results []Result, verdict diagnostics.Verdict) int {
	n := 0
	for _, r := range results {
		if r.Verdict == verdict {
			n++
		}
	}
	return n
}

// checkList is all checks in their order.
type checkList []*check

func (l *checkList) add(c check) *check {
	*l = append(*l, &c)
	return &c
}

const (
	timeExceeded = "the time for all checks was exceeded"
	noTimeLeft   = "no time was left"
)

// run runs the checks one after the other. A check is skipped if one that it needs has stopped. When the time
// is exceeded, the next check fails, so that an incomplete run never looks like a good one, and the rest is
// skipped.
func (l checkList) run(parent context.Context, limit time.Duration) []Result {
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	results := make([]Result, 0, len(l))
	ended := false
	for _, c := range l {
		switch unmet := c.unmet(); {
		case unmet != "":
			c.outcome = diagnostics.Outcome{Verdict: diagnostics.VerdictSkipped, Reason: unmet, Stop: unmet}
		case ended:
			c.outcome = diagnostics.Outcome{
				Verdict: diagnostics.VerdictSkipped, Reason: noTimeLeft, Stop: noTimeLeft,
			}
		case ctx.Err() != nil:
			ended = true
			c.outcome = diagnostics.Failed(timeExceeded, "fix what did not respond above, or set a longer --timeout")
			if parent.Err() != nil {
				c.outcome = diagnostics.Failed("the checks were interrupted", "run the command again to the end")
			}
			c.outcome.Stop = c.outcome.Found
		default:
			c.outcome = c.runWithin(ctx, limit)
		}
		c.stopped = c.outcome.Stop
		if c.stopped == "" && c.outcome.Verdict == diagnostics.VerdictFailed {
			c.stopped = c.name + " failed"
		}
		results = append(results, c.result())
	}
	return results
}

// runWithin runs the check in a part of the time for all checks.
func (c *check) runWithin(ctx context.Context, limit time.Duration) diagnostics.Outcome {
	if !c.takesLong {
		limit /= 4
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.run(ctx)
}

// unmet returns why a check that this one needs has stopped, or "".
func (c *check) unmet() string {
	i := slices.IndexFunc(c.needs, func(need *check) bool { return need.stopped != "" })
	if i < 0 {
		return ""
	}
	return c.needs[i].stopped
}

func (c *check) result() Result {
	r := Result{
		Name: c.name, Subject: c.subject, Verdict: c.outcome.Verdict, Expected: c.expected,
		Found: c.outcome.Found, Fix: c.outcome.Fix, Reason: c.outcome.Reason,
	}
	if c.outcome.Expected != "" {
		r.Expected = c.outcome.Expected
	}
	return r
}
