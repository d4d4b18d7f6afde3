package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// logBuffer is a log that tests can read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var discardLogger = slog.New(slog.DiscardHandler)

var quick = backoff{first: 5 * time.Millisecond, max: 20 * time.Millisecond, reset: time.Hour}

// open opens upstreams and closes them at the end of the test.
func open(t testing.TB, o Options, all ...Settings) *Set {
	t.Helper()
	set, err := tryOpen(t, o, all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func tryOpen(t testing.TB, o Options, all ...Settings) (*Set, error) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = discardLogger
	}
	if o.backoff == (backoff{}) {
		o.backoff = quick
	}
	if o.grace == 0 {
		o.grace = 300 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	set, err := Open(ctx, all, o)
	if err == nil {
		t.Cleanup(func() { closeSet(set) })
	}
	return set, err
}

func closeSet(set *Set) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	set.Close(ctx)
}

var alice = &providers.Identity{Issuer: "https://issuer", Subject: "alice", Client: "desk", Scopes: []string{"a"}}

// callOf returns a call of alice.
func callOf(u *upstream, tool, arguments string) *call {
	for _, o := range u.offers {
		if o.remote == tool {
			return &call{offer: o, caller: alice, arguments: json.RawMessage(arguments)}
		}
	}
	panic("there is no tool " + tool)
}

// do makes a call in the first upstream, and returns the result or the reason and text of the failure.
func do(t testing.TB, set *Set, tool, arguments string) string {
	t.Helper()
	return doCall(t, set, callOf(set.upstreams[0], tool, arguments))
}

func doCall(t testing.TB, set *Set, c *call) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return outcome(set.upstreams[0].call(ctx, c))
}

func outcome(result json.RawMessage, err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return string(f.reason) + ": " + f.text
	}
	if f, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return fmt.Sprintf("fault %d: %s %s", f.Code, f.Message, f.Data)
	}
	if err != nil {
		return err.Error()
	}
	return string(result)
}

// textOf returns the text of a result.
func textOf(t testing.TB, result string) string {
	t.Helper()
	var r struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := json.Unmarshal([]byte(result), &r); err != nil || len(r.Content) != 1 {
		t.Fatalf("%v: %s", err, result)
	}
	return r.Content[0].Text
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came true: " + what)
		}
	}
}

// answers returns a function that reports whether the first upstream answers. Its state may be an old one.
func answers(t testing.TB, set *Set) func() bool {
	return func() bool { return strings.HasPrefix(do(t, set, "pid", `{}`), "{") }
}

// Whatever a process writes besides, the calls work.
func TestStdio_Habits(t *testing.T) {
	t.Parallel()
	for _, habits := range [][]string{
		{"plain"}, {"modern"}, {"noise"}, {"banner"}, {"split"}, {"stderr"},
		{"modern", "noise", "banner", "split", "stderr"},
	} {
		t.Run(strings.Join(habits, " "), func(t *testing.T) {
			t.Parallel()
			set := open(t, Options{}, fixture(t, habits...))
			for range 3 {
				if got := textOf(t, do(t, set, "sleep", `{"text":"h\u00e9 \ud83d\ude00"}`)); got != "h\u00e9 \U0001F600" {
					t.Errorf("the text is %q", got)
				}
			}
			s := set.Status()[0]
			era := "2025-11-25"
			if habits[0] == "modern" {
				era = "2026-07-28"
			}
			if s.Era != era || s.Server != "raw 1" || s.State != StateReady || s.Offered != len(rawTools) || s.Stray != 0 {
				t.Errorf("the status is %+v", s)
			}
			if hasNoise := strings.Contains(strings.Join(habits, ""), "noise"); hasNoise != (s.Noise > 0) {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

const (
	lostText        = "upstream_lost: the server behind this tool stopped while it ran; it may have taken effect"
	unavailableText = "upstream_unavailable: the server behind this tool cannot be reached; " +
		"nothing was sent, try again later"
	malformedText = "upstream_malformed: the server behind this tool answered what cannot be passed on; " +
		"it may have taken effect"
	tooLargeText = "upstream_too_large: the server behind this tool answered what cannot be passed on; " +
		"it may have taken effect"
)

// The era of an upstream is found out whatever it answers to the first request.
func TestStdio_Handshake(t *testing.T) {
	t.Parallel()
	for habit, want := range map[string]string{
		"plain": "2025-11-25", "modern": "2026-07-28", "silent": "2025-11-25", "odd": "2025-11-25",
		"old_version": "2025-11-25", "2024": "2024-11-05", "toolless": "2025-11-25", "modern,late": "2026-07-28",
		"other_version": "it supports no protocol version that this server does",
		"1999":          `it speaks the protocol version "1999-01-01", which this server does not support`,
	} {
		t.Run(habit, func(t *testing.T) {
			t.Parallel()
			set, err := tryOpen(t, Options{probeTimeout: 200 * time.Millisecond}, fixture(t, habit))
			if err != nil {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if s := set.Status()[0]; s.Era != want || (s.Offered == 0) != (habit == "toolless") {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

// A process that does not read delays its callers until their time is over, and later ones get whole lines.
func TestStdio_ProcessThatDoesNotRead(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	u := set.upstreams[0]
	var calls sync.WaitGroup
	calls.Go(func() {
		if got := do(t, set, "pause", `{}`); got != text("paused") {
			t.Errorf("the call that stops the reading: %s", got)
		}
	})
	time.Sleep(50 * time.Millisecond)
	long := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 1<<20)) // more than a pipe holds
	for range 3 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			if _, err := u.call(ctx, callOf(u, "sleep", long)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a call that cannot be written: %v", err)
			}
			if d := time.Since(began); d > 700*time.Millisecond {
				t.Errorf("it took %v", d)
			}
		})
	}
	time.Sleep(120 * time.Millisecond)
	if got := do(t, set, "sleep", `{"text":"good"}`); got != text("good") {
		t.Errorf("a later call: %s", got)
	}
	calls.Wait()
	if s := set.Status()[0]; s.Restarts != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// A call that is given up while it is being written ends at once, and the process is told when it has read the rest.
func TestStdio_CallGivenUpWhileItIsWritten(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	u := set.upstreams[0]
	var pause sync.WaitGroup
	defer pause.Wait()
	pause.Go(func() { do(t, set, "pause", `{}`) })
	time.Sleep(50 * time.Millisecond)
	l := linkOf(t, u)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	var givenUp time.Time
	go func() {
		defer cancel()
		for writing := 0; writing < 5; time.Sleep(10 * time.Millisecond) { // the call of pause is written at once
			writing = (writing + 1) * len(l.writing)
		}
		givenUp = time.Now()
	}()
	file := filepath.Join(t.TempDir(), "mark")
	more := strings.Repeat("x", 1<<20) // more than a pipe holds
	_, err := u.call(ctx, callOf(u, "slow", fmt.Sprintf(`{"file":%q,"text":%q}`, file, more)))
	if d := time.Since(givenUp); !errors.Is(err, context.Canceled) || d > 700*time.Millisecond {
		t.Errorf("after %v: %v", d, err)
	}
	eventually(t, "the process is told", func() bool { return exists(file) })
	if got := do(t, set, "sleep", `{"text":"next"}`); got != text("next") {
		t.Errorf("the next call: %s", got)
	}
}

// A call that is given up before it is written is not cancelled at the process, which does not know it.
func TestStdio_CallGivenUpBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	u := set.upstreams[0]
	l := linkOf(t, u)
	l.writing <- struct{}{} // as during the write of another call
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := u.call(ctx, callOf(u, "sleep", `{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call: %v", err)
	}
	if len(l.background) > 0 || len(l.unsent) > 0 {
		t.Errorf("%d notifications and %q wait to be written", len(l.background), l.unsent)
	}
	<-l.writing
}

// linkOf returns the link to the process of an upstream.
func linkOf(t *testing.T, u *upstream) *stdioLink {
	t.Helper()
	s, release, err := u.source.acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	return s.link.(*stdioLink)
}

// The end of one write does not end the next, even if a context ends at the same time as its write.
func TestStdio_EndOfOneWriteDoesNotEndTheNext(t *testing.T) {
	t.Parallel()
	l := linkOf(t, open(t, Options{}, fixture(t, "plain")).upstreams[0])
	message := appendNotification(nil, "notifications/other", nil)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5000 {
		_ = l.write(over, message, 0) // it has room in the pipe
		if err := l.write(t.Context(), message, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A slow upstream leaves room for the calls of others.
func TestUpstream_CallsInFlight(t *testing.T) {
	t.Parallel()
	set := open(t, Options{MaxCalls: 4}, fixture(t, "plain"))
	u := set.upstreams[0]
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 2 {
		begun := make(chan struct{})
		c := callOf(u, "slow", `{}`)
		c.report = func(p progress) {
			if p.progress == 1 {
				close(begun)
			}
		}
		calls.Go(func() { _, _ = u.call(ctx, c) })
		<-begun
	}
	if got := do(t, set, "pid", `{}`); !strings.Contains(got, "is busy; nothing was sent") {
		t.Errorf("the third call: %s", got)
	}
	set.SetMaxCalls(6)
	if got := do(t, set, "pid", `{}`); !strings.HasPrefix(got, "{") {
		t.Errorf("with a higher limit: %s", got)
	}
	set.SetMaxCalls(1)
	cancel()
	calls.Wait()
	if got := do(t, set, "pid", `{}`); !strings.HasPrefix(got, "{") {
		t.Errorf("a later call: %s", got)
	}
}

// An upstream that writes without a pause, and one that dies again and again, harm neither another upstream nor their
// own calls.
func TestUpstream_HarmsNoOther(t *testing.T) {
	t.Parallel()
	noisy, dying, good := fixture(t, "chatter"), fixture(t, "plain"), fixture(t, "plain")
	noisy.Name, noisy.Prefix = "noisy", "noisy_"
	dying.Name, dying.Prefix = "dying", "dying_"
	set := open(t, Options{}, good, noisy, dying)
	for i, u := range set.upstreams {
		for range 20 {
			if i == 2 {
				_, _ = u.call(t.Context(), callOf(u, "die", `{}`))
				continue
			}
			if got := outcome(u.call(t.Context(), callOf(u, "sleep", `{"text":"good"}`))); got != text("good") {
				t.Errorf("%s: %s", u.settings.Name, got)
			}
		}
	}
	if s := set.Status(); s[0].Noise != 0 || s[1].Noise == 0 || s[0].Restarts+s[1].Restarts != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// The time limit of an upstream is shorter than that of the server, and the upstream is told.
func TestUpstream_CallTimeout(t *testing.T) {
	t.Parallel()
	s := fixture(t, "plain")
	s.CallTimeout = 100 * time.Millisecond
	url := gate(t, open(t, Options{}, s))
	file := filepath.Join(t.TempDir(), "mark")
	got := post(t, url, "", "slow", fmt.Sprintf(`,"arguments":{"file":%q}`, file))
	if !strings.Contains(got, `"text":"context deadline exceeded"}],"isError":true`) {
		t.Errorf("the call got %s", got)
	}
	eventually(t, "the upstream was told", func() bool { return exists(file) })
}

// Every wrong answer fails its own call only, and has its reason.
func TestStdio_WrongAnswers(t *testing.T) {
	t.Parallel()
	s := fixture(t, "plain")
	s.MaxMessageBytes, s.CallTimeout = 64<<10, 500*time.Millisecond
	set := open(t, Options{}, s)
	for _, c := range []struct{ tool, arguments, want string }{
		{"double", `{}`, text("first")},
		{"huge", `{"n":100000}`, tooLargeText},
		{"huge", `{"n":2000000}`, "upstream_lost"}, // more than maxLineFactor times the limit: the process is ended
		{"malformed", `{}`, malformedText},
		{"surrogate", `{}`, malformedText},
		{"both", `{}`, malformedText},
		{"not_object", `{}`, malformedText},
		{"die", `{}`, lostText},
		{"close_output", `{}`, lostText},
		{"fault", `{"n":-32602}`, "fault -32602: at 10.0.0.1 " + strings.Repeat("m", 1012) + " (truncated) "},
		{"fault", `{"n":-32022}`, "fault -32603: at 10.0.0.1 " + strings.Repeat("m", 1012) + " (truncated) "},
		{"fault", `{"n":7}`, "fault 7: at 10.0.0.1 " + strings.Repeat("m", 1012) + " (truncated) "},
		{"sleep", `{"text":"good"}`, text("good")},
	} {
		eventually(t, "it answers", answers(t, set))
		if got := do(t, set, c.tool, c.arguments); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %.200s, not %.200s", c.tool, c.arguments, got, c.want)
		}
	}
}

// What belongs to no call is dropped, and the call waits for its own answer.
func TestStdio_StrayAnswers(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	u := set.upstreams[0]
	for _, tool := range []string{"wrong_id", "string_id", "nothing", "late"} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if _, err := u.call(ctx, callOf(u, tool, `{}`)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", tool, err)
		}
		cancel()
	}
	do(t, set, "double", `{}`)
	if got := textOf(t, do(t, set, "sleep", `{"text":"good"}`)); got != "good" {
		t.Errorf("afterwards: %s", got)
	}
	eventually(t, "the stray answers are counted", func() bool { return set.Status()[0].Stray >= 7 })
	if s := set.Status()[0]; s.Restarts != 0 || s.State != StateReady {
		t.Errorf("the status is %+v", s)
	}
}

// Calls run at once, and each gets its own answer.
func TestStdio_CallsInParallel(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			want := fmt.Sprintf("call %d", i)
			if got := textOf(t, do(t, set, "sleep", fmt.Sprintf(`{"text":%q,"n":%d}`, want, i%7))); got != want {
				t.Errorf("%s got %q", want, got)
			}
		})
	}
	calls.Wait()
}

// The upstream learns that a call was cancelled, and progress reaches the caller in order.
func TestStdio_ProgressAndCancellation(t *testing.T) {
	t.Parallel()
	for _, era := range []string{"plain", "modern"} {
		set := open(t, Options{}, fixture(t, era))
		u := set.upstreams[0]
		file := filepath.Join(t.TempDir(), "mark")
		c := callOf(u, "slow", fmt.Sprintf(`{"file":%q}`, file))
		ctx, cancel := context.WithCancel(context.Background())
		var got []progress
		c.report = func(p progress) {
			if got = append(got, p); len(got) == 2 {
				cancel()
			}
		}
		if _, err := u.call(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", era, err)
		}
		want := []progress{{1, 9, "step 1"}, {2, 9, "step 2"}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the progress is %v", era, got)
		}
		eventually(t, "the upstream was told", func() bool { return exists(file) })
	}
}

// A caller that reads progress slowly, or not at all, delays no other, and its call ends.
func TestStdio_ProgressFlood(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	u := set.upstreams[0]
	c := callOf(u, "flood", `{"n":20000}`)
	block, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.report = func(progress) { once.Do(func() { close(begun) }); <-block }
	done := make(chan string)
	go func() { done <- doCall(t, set, c) }()
	<-begun
	if got := textOf(t, do(t, set, "sleep", `{"text":"good"}`)); got != "good" {
		t.Error(got)
	}
	close(block)
	if got := textOf(t, <-done); got != "done" {
		t.Error(got)
	}
}

// The process asks for nothing that it gets, and is answered at once.
func TestStdio_QuestionsOfTheProcess(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	const want = `{"jsonrpc":"2.0","id":"p","result":{}}` + "\n" +
		`{"jsonrpc":"2.0","id":77,"error":{"code":-32601,"message":"method not found"}}`
	if got := textOf(t, do(t, set, "legacy_ask", `{}`)); got != want {
		t.Errorf("it was answered %s", got)
	}
}

// A process gets four variables of this server, and those that are set for it.
func TestStdio_Environment(t *testing.T) {
	t.Setenv("GATEHOUSE_SECRET", "hunter2")
	t.Setenv("LANG", "C.UTF-8")
	s := fixture(t, "plain")
	s.Env = append(s.Env, "A=b=c")
	s.EnvFile = "TOKEN=t\n"
	set := open(t, Options{}, s)
	got := textOf(t, do(t, set, "env", `{}`))
	for _, line := range strings.Split(got, "\n") {
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TMPDIR", "A", "TOKEN", fixtureVariable:
		default:
			t.Errorf("it has %s", name)
		}
	}
	for _, want := range []string{"A=b=c", "TOKEN=t", "LANG=C.UTF-8"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
