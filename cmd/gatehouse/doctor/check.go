package doctor

import (
	"context"
	"slices"
	"time"

	"gatehouse/providers/diagnostics"
)

// check is one question.
type check struct {
	// name is the group and the question, such as provider.keys.
	name string
	// subject is what it is about if there are several of that name: a host, an issuer, an address.
	subject string
	// expected is what would be good.
	expected string
	// needs are checks that stand earlier in the list.
	needs []*check
	run   func(ctx context.Context) diagnostics.Outcome

	outcome diagnostics.Outcome
	// stopped is why nothing that needs this check can be looked at; empty if it can.
	stopped string
}

// Result is what one check found. Its texts hold no token, no secret and no text of the other side but quoted names.
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

// list is all checks in their order.
type list []*check

func (l *list) add(c check) *check {
	*l = append(*l, &c)
	return &c
}

// run makes the checks one after the other. A check whose needs were not met is skipped with the reason. When the time is
// over, the next check fails, so that an examination which came to no end is never taken for a good one, and the others
// are skipped.
func (l list) run(ctx context.Context, limit time.Duration) []Result {
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results := make([]Result, 0, len(l))
	late := false
	for _, c := range l {
		switch unmet := c.unmet(); {
		case unmet != "":
			c.outcome = diagnostics.Outcome{Verdict: diagnostics.VerdictSkipped, Reason: unmet, Stop: unmet}
		case late:
			c.outcome = diagnostics.Outcome{Verdict: diagnostics.VerdictSkipped, Reason: "there was no time for it", Stop: "there was no time for it"}
		case ctx.Err() != nil:
			late = true
			c.outcome = diagnostics.Failed(outOfTime, "mend what did not answer above, or give it more time with --timeout")
			if asked.Err() != nil {
				c.outcome = diagnostics.Failed("the examination was interrupted", "let it come to its end")
			}
			c.outcome.Stop = c.outcome.Found
		default:
			c.outcome = c.bounded(ctx, limit/4)
		}
		c.stopped = c.outcome.Stop
		if c.stopped == "" && c.outcome.Verdict == diagnostics.VerdictFailed {
			c.stopped = c.name + " failed"
		}
		results = append(results, c.result())
	}
	return results
}

const outOfTime = "the time for all checks was over"

func (c *check) bounded(ctx context.Context, limit time.Duration) diagnostics.Outcome {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.run(ctx)
}

// unmet is why the check makes no sense, or "".
func (c *check) unmet() string {
	i := slices.IndexFunc(c.needs, func(need *check) bool { return need.stopped != "" })
	if i < 0 {
		return ""
	}
	return c.needs[i].stopped
}

func (c *check) result() Result {
	r := Result{Name: c.name, Subject: c.subject, Verdict: c.outcome.Verdict, Expected: c.expected,
		Found: c.outcome.Found, Fix: c.outcome.Fix, Reason: c.outcome.Reason}
	if c.outcome.Expected != "" {
		r.Expected = c.outcome.Expected
	}
	return r
}
