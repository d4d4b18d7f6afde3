package doctor

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/diagnostics"
)

func pass(context.Context) diagnostics.Outcome { return diagnostics.OK("good") }

func fail(context.Context) diagnostics.Outcome { return diagnostics.Failed("bad", "fix it") }

type brief struct {
	Name    string
	Verdict diagnostics.Verdict
	Why     string
}

func briefs(results []Result) []brief {
	var list []brief
	for _, r := range results {
		list = append(list, brief{r.Name, r.Verdict, r.Found + r.Reason})
	}
	return list
}

func TestChecksAreSkippedIfOneTheyNeedStopped(t *testing.T) {
	stopping := func(o diagnostics.Outcome, why string) func(context.Context) diagnostics.Outcome {
		o.Stop = why
		return func(context.Context) diagnostics.Outcome { return o }
	}
	var l checkList
	good := l.add(check{name: "good", run: pass})
	bad := l.add(check{name: "bad", run: fail})
	warned := l.add(check{name: "warned", run: stopping(diagnostics.Warning("hm", "see"), "it is warned")})
	warnedOnly := l.add(check{name: "warned only", run: stopping(diagnostics.Warning("hm", "see"), "")})
	skipped := l.add(check{name: "skipped", run: stopping(diagnostics.Skipped("it does not apply"), "")})
	none := l.add(check{name: "none", run: stopping(diagnostics.Skipped("there is none"),
		"there is no such thing")})
	l.add(check{name: "needs good", needs: []*check{good, warnedOnly, skipped}, run: pass})
	after := l.add(check{name: "needs bad", needs: []*check{good, bad}, run: pass})
	l.add(check{name: "needs what needs bad", needs: []*check{after}, run: pass})
	l.add(check{name: "needs warned", needs: []*check{warned}, run: pass})
	l.add(check{name: "needs none", needs: []*check{none}, run: pass})
	l.add(check{name: "needs nothing", run: pass})
	want := []brief{
		{"good", diagnostics.VerdictOK, "good"},
		{"bad", diagnostics.VerdictFailed, "bad"},
		{"warned", diagnostics.VerdictWarning, "hm"},
		{"warned only", diagnostics.VerdictWarning, "hm"},
		{"skipped", diagnostics.VerdictSkipped, "it does not apply"},
		{"none", diagnostics.VerdictSkipped, "there is none"},
		{"needs good", diagnostics.VerdictOK, "good"},
		{"needs bad", diagnostics.VerdictSkipped, "bad failed"},
		{"needs what needs bad", diagnostics.VerdictSkipped, "bad failed"},
		{"needs warned", diagnostics.VerdictSkipped, "it is warned"},
		{"needs none", diagnostics.VerdictSkipped, "there is no such thing"},
		{"needs nothing", diagnostics.VerdictOK, "good"},
	}
	if diff := cmp.Diff(want, briefs(l.run(t.Context(), time.Minute))); diff != "" {
		t.Error(diff)
	}
}

// An incomplete run never looks like a good one.
func TestIncompleteRunFails(t *testing.T) {
	for name, c := range map[string]struct {
		slow func(cancel context.CancelFunc)
		want string
	}{
		"everything is slow": {func(context.CancelFunc) {
			time.Sleep(200 * time.Millisecond) // far beyond the limit: timers fire late on a busy machine
		}, "the time for all checks was exceeded"},
		"it is interrupted": {func(cancel context.CancelFunc) { cancel() }, "the checks were interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var l checkList
			first := l.add(check{name: "first", run: func(context.Context) diagnostics.Outcome {
				c.slow(cancel)
				return diagnostics.OK("good")
			}})
			second := l.add(check{name: "second", needs: []*check{first}, run: pass})
			l.add(check{name: "third", needs: []*check{second}, run: pass})
			l.add(check{name: "fourth", run: pass})
			want := []brief{
				{"first", diagnostics.VerdictOK, "good"},
				{"second", diagnostics.VerdictFailed, c.want},
				{"third", diagnostics.VerdictSkipped, c.want},
				{"fourth", diagnostics.VerdictSkipped, "no time was left"},
			}
			results := l.run(ctx, 20*time.Millisecond)
			if diff := cmp.Diff(want, briefs(results)); diff != "" || !Failed(results) {
				t.Error(diff)
			}
		})
	}
}

func TestEveryCheckHasAQuarterOfTheTimeout(t *testing.T) {
	const limit = 400 * time.Millisecond
	var l checkList
	for range 2 {
		l.add(check{name: "slow", run: func(ctx context.Context) diagnostics.Outcome {
			deadline, bounded := ctx.Deadline()
			if left := time.Until(deadline); !bounded || left > limit/4 {
				t.Errorf("it has %s", left)
			}
			return diagnostics.OK("good")
		}})
	}
	l.run(t.Context(), limit)
}
