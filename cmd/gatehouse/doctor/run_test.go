package doctor

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

func fine(context.Context) providers.Outcome { return providers.Fine("good") }

func broken(context.Context) providers.Outcome { return providers.Broken("bad", "mend it") }

type short struct {
	Name    string
	Verdict providers.Verdict
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
	stopping := func(o providers.Outcome, why string) func(context.Context) providers.Outcome {
		o.Stop = why
		return func(context.Context) providers.Outcome { return o }
	}
	var l list
	good := l.add(check{name: "good", run: fine})
	bad := l.add(check{name: "bad", run: broken})
	warned := l.add(check{name: "warned", run: stopping(providers.Doubtful("hm", "see"), "it is warned")})
	doubtful := l.add(check{name: "doubtful", run: stopping(providers.Doubtful("hm", "see"), "")})
	unasked := l.add(check{name: "unasked", run: stopping(providers.Unasked("it does not apply"), "")})
	none := l.add(check{name: "none", run: stopping(providers.Unasked("there is none"), "there is no such thing")})
	l.add(check{name: "needs good", needs: []*check{good, doubtful, unasked}, run: fine})
	after := l.add(check{name: "needs bad", needs: []*check{good, bad}, run: fine})
	l.add(check{name: "needs what needs bad", needs: []*check{after}, run: fine})
	l.add(check{name: "needs warned", needs: []*check{warned}, run: fine})
	l.add(check{name: "needs none", needs: []*check{none}, run: fine})
	l.add(check{name: "needs nothing", run: fine})
	want := []short{
		{"good", providers.VerdictOK, "good"},
		{"bad", providers.VerdictFailed, "bad"},
		{"warned", providers.VerdictWarning, "hm"},
		{"doubtful", providers.VerdictWarning, "hm"},
		{"unasked", providers.VerdictSkipped, "it does not apply"},
		{"none", providers.VerdictSkipped, "there is none"},
		{"needs good", providers.VerdictOK, "good"},
		{"needs bad", providers.VerdictSkipped, "bad failed"},
		{"needs what needs bad", providers.VerdictSkipped, "bad failed"},
		{"needs warned", providers.VerdictSkipped, "it is warned"},
		{"needs none", providers.VerdictSkipped, "there is no such thing"},
		{"needs nothing", providers.VerdictOK, "good"},
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
			first := l.add(check{name: "first", run: func(context.Context) providers.Outcome { c.slow(cancel); return providers.Fine("good") }})
			second := l.add(check{name: "second", needs: []*check{first}, run: fine})
			l.add(check{name: "third", needs: []*check{second}, run: fine})
			l.add(check{name: "fourth", run: fine})
			want := []short{
				{"first", providers.VerdictOK, "good"},
				{"second", providers.VerdictFailed, c.want},
				{"third", providers.VerdictSkipped, c.want},
				{"fourth", providers.VerdictSkipped, "there was no time for it"},
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
		l.add(check{name: "slow", run: func(ctx context.Context) providers.Outcome {
			deadline, bounded := ctx.Deadline()
			if left := time.Until(deadline); !bounded || left > limit/4 {
				t.Errorf("it has %s", left)
			}
			return providers.Fine("good")
		}})
	}
	l.run(t.Context(), limit)
}
