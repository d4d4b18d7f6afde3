package upstream

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Each call is counted once, by how it ended. What the upstream answers is no failure of it.
func TestStatus_CountsCalls(t *testing.T) {
	t.Parallel()
	s := fixture(t, "plain")
	s.MaxMessageBytes, s.CallTimeout = 64<<10, 2*time.Second
	set := open(t, Options{}, s)
	url := gate(t, set)
	want := map[string]int64{}
	for _, outcome := range Outcomes() {
		want[outcome] = 0
	}
	check := func(after string) {
		t.Helper()
		if got := set.Status()[0].Calls; !maps.Equal(got, want) {
			t.Errorf("after %s: %v, not %v", after, got, want)
		}
	}
	check("the start")
	for _, c := range []struct{ tool, arguments, outcome string }{
		{"echo", `{}`, OutcomeOK},
		{"fault", `{"n":-32602}`, OutcomeOK},
		{"malformed", `{}`, string(ReasonMalformed)},
		{"huge", `{"n":100000}`, string(ReasonTooLarge)},
		{"nothing", `{}`, OutcomeTimeout},
		{"die", `{}`, string(ReasonLost)},
	} {
		post(t, url, "", c.tool, `,"arguments":`+c.arguments)
		want[c.outcome]++
		check(c.tool)
	}
	eventually(t, "it is ready again", func() bool { // the end of a process is answered before it is in the status
		now := set.Status()[0]
		return now.Restarts == 1 && now.State == StateReady
	})

	file := filepath.Join(t.TempDir(), "mark")
	client := clientOf(t, url, "alice", "2025-11-25", nil)
	ctx, cancel := context.WithCancel(t.Context())
	params := &mcp.CallToolParams{Name: "slow", Arguments: map[string]any{"file": file}}
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := client.CallTool(ctx, params); err == nil {
		t.Error("the call was not given up")
	}
	want[OutcomeCanceled]++
	eventually(t, "the upstream was told", func() bool { return exists(file) })
	eventually(t, "the call has ended", func() bool { return set.Status()[0].Calls[OutcomeCanceled] == 1 })
	check("a call that was given up")

	closeSet(set)
	post(t, url, "", "echo", "")
	want[string(ReasonUnavailable)]++
	check("the end")
}

// The states of an upstream, with the reason for each. What is known of it stays known.
func TestStatus_States(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	s := fixture(t, "plain")
	self := s.Command[0]
	if err := os.Symlink(self, program); err != nil {
		t.Skip(err)
	}
	s.Command = Command{program}
	set := open(t, Options{backoff: backoff{first: 300 * time.Millisecond, max: time.Second, reset: time.Hour}}, s)
	is := func(state State, reason string, restarts int) func() bool {
		return func() bool {
			s := set.Status()[0]
			return s.State == state && string(s.Reason) == reason && s.Restarts == restarts
		}
	}
	eventually(t, "it is ready", is(StateReady, "", 0))
	do(t, set, "die", `{}`)
	eventually(t, "it restarts", is(StateRestarting, "upstream_lost", 0))
	eventually(t, "it is ready again", is(StateReady, "", 1))
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	do(t, set, "die", `{}`)
	eventually(t, "it is down", is(StateDown, "upstream_unavailable", 1))
	if s := set.Status()[0]; s.Era != "2025-11-25" || s.Server != "raw 1" || s.Tools != len(rawTools) {
		t.Errorf("it is %+v", s)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready at last", is(StateReady, "", 2))
}
