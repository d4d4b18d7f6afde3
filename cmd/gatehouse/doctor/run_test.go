package doctor

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/diagnostics"
)

func fine(context.Context) diagnostics.Outcome { return diagnostics.OK("good") }

func broken(context.Context) diagnostics.Outcome { return diagnostics.Failed("bad", "mend it") }

type short struct {
	Name    string
	Verdict diagnostics.Verdict
	Why     string
}

func inShort(results []Result) []short {
	var list []short
	for _, r := range results {
		list = append(list, short{r.Name, r.Verdict, r.Found + r.Reason})
	}
	return list
}

func TestWhatACheckNeedsDecidesWhetherItIsMade(t *testing.T) {
	stopping := func(o diagnostics.Outcome, why string) func(context.Context) diagnostics.Outcome {
		o.Stop = why
		return func(context.Context) diagnostics.Outcome { return o }
	}
	var l list
	good := l.add(check{name: "good", run: fine})
	bad := l.add(check{name: "bad", run: broken})
	warned := l.add(check{name: "warned", run: stopping(diagnostics.Warning("hm", "see"), "it is warned")})
	doubtful := l.add(check{name: "doubtful", run: stopping(diagnostics.Warning("hm", "see"), "")})
	unasked := l.add(check{name: "unasked", run: stopping(diagnostics.Skipped("it does not apply"), "")})
	none := l.add(check{name: "none", run: stopping(diagnostics.Skipped("there is none"), "there is no such thing")})
	l.add(check{name: "needs good", needs: []*check{good, doubtful, unasked}, run: fine})
	after := l.add(check{name: "needs bad", needs: []*check{good, bad}, run: fine})
	l.add(check{name: "needs what needs bad", needs: []*check{after}, run: fine})
	l.add(check{name: "needs warned", needs: []*check{warned}, run: fine})
	l.add(check{name: "needs none", needs: []*check{none}, run: fine})
	l.add(check{name: "needs nothing", run: fine})
	want := []short{
		{"good", diagnostics.VerdictOK, "good"},
		{"bad", diagnostics.VerdictFailed, "bad"},
		{"warned", diagnostics.VerdictWarning, "hm"},
		{"doubtful", diagnostics.VerdictWarning, "hm"},
		{"unasked", diagnostics.VerdictSkipped, "it does not apply"},
		{"none", diagnostics.VerdictSkipped, "there is none"},
		{"needs good", diagnostics.VerdictOK, "good"},
		{"needs bad", diagnostics.VerdictSkipped, "bad failed"},
		{"needs what needs bad", diagnostics.VerdictSkipped, "bad failed"},
		{"needs warned", diagnostics.VerdictSkipped, "it is warned"},
		{"needs none", diagnostics.VerdictSkipped, "there is no such thing"},
		{"needs nothing", diagnostics.VerdictOK, "good"},
	}
	if diff := cmp.Diff(want, inShort(l.run(t.Context(), time.Minute))); diff != "" {
		t.Error(diff)
	}
}

// An examination that was cut short must never look like a good one.
func TestAnExaminationThatComesToNoEndIsNotAGoodOne(t *testing.T) {
	for name, c := range map[string]struct {
		slow func(cancel context.CancelFunc)
		want string
	}{
		"everything is slow": {func(context.CancelFunc) { time.Sleep(30 * time.Millisecond) }, "the time for all checks was over"},
		"it is interrupted":  {func(cancel context.CancelFunc) { cancel() }, "the examination was interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var l list
			first := l.add(check{name: "first", run: func(context.Context) diagnostics.Outcome { c.slow(cancel); return diagnostics.OK("good") }})
			second := l.add(check{name: "second", needs: []*check{first}, run: fine})
			l.add(check{name: "third", needs: []*check{second}, run: fine})
			l.add(check{name: "fourth", run: fine})
			want := []short{
				{"first", diagnostics.VerdictOK, "good"},
				{"second", diagnostics.VerdictFailed, c.want},
				{"third", diagnostics.VerdictSkipped, c.want},
				{"fourth", diagnostics.VerdictSkipped, "there was no time for it"},
			}
			results := l.run(ctx, 20*time.Millisecond)
			if diff := cmp.Diff(want, inShort(results)); diff != "" || !Failed(results) {
				t.Error(diff)
			}
		})
	}
}

func TestEveryCheckHasAQuarterOfTheTime(t *testing.T) {
	const limit = 400 * time.Millisecond
	var l list
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
