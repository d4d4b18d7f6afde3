package upstream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
)

// user returns a caller.
func user(name string) *providers.Identity {
	return &providers.Identity{Issuer: "https://issuer", Subject: name}
}

// callAs makes a call of a user in the first upstream.
func callAs(t testing.TB, set *Set, name, tool, arguments string) string {
	t.Helper()
	c := callOf(set.upstreams[0], tool, arguments)
	c.caller = user(name)
	return doCall(t, set, c)
}

// pidOf returns the pid of a user's process.
func pidOf(t testing.TB, set *Set, name string) int {
	t.Helper()
	pid, err := strconv.Atoi(textOf(t, callAs(t, set, name, "pid", `{}`)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func perUser(t testing.TB, habits ...string) Settings {
	s := fixture(t, habits...)
	s.Processes = ProcessesPerUser
	return s
}

// Each caller has a process, whatever the era and the session; {user} names it.
func TestPool_ProcessPerUser(t *testing.T) {
	t.Parallel()
	s := perUser(t, "plain")
	s.Env = append(s.Env, "OWN_FILE=/data/{user}.json")
	set := open(t, Options{}, s)
	if s := set.Status()[0]; s.State != StateReady || s.Processes != 0 || s.MaxProcesses != 50 ||
		s.Offered != len(rawTools) || s.Era != "2025-11-25" || s.Server != "raw 1" {
		t.Errorf("the status is %+v", s)
	}
	alice, bob := pidOf(t, set, "alice"), pidOf(t, set, "bob")
	if alice == bob || pidOf(t, set, "alice") != alice {
		t.Errorf("the processes are %d and %d", alice, bob)
	}
	url := gate(t, set)
	for _, session := range []string{"", sessionOfAlice(t, url)} {
		if got := post(t, url, session, "pid", ""); !strings.Contains(got, `"`+strconv.Itoa(alice)+`"`) {
			t.Errorf("by the endpoint: %s, not %d", got, alice)
		}
	}
	for _, name := range []string{"alice", "../../etc/passwd\x00", ""} {
		want := "OWN_FILE=/data/" + userKey(user(name)) + ".json"
		got := textOf(t, callAs(t, set, name, "env", `{}`))
		if !strings.Contains(got, want) || len(userKey(user(name))) != 32 {
			t.Errorf("%q: %s is missing in %s", name, want, got)
		}
	}
	if s := set.Status()[0]; s.Processes != 4 || s.Server != "raw 1" || s.Era != "2025-11-25" {
		t.Errorf("the status is %+v", s)
	}
	closeSet(set)
	if isRunning(alice) || isRunning(bob) {
		t.Error("a process still runs")
	}
}

// The number of processes is bounded: the longest idle one ends first, and a call for which there is none is refused.
func TestPool_Bound(t *testing.T) {
	t.Parallel()
	s := perUser(t, "plain")
	s.MaxProcesses = 2
	set := open(t, Options{}, s)
	alice, bob := pidOf(t, set, "alice"), pidOf(t, set, "bob")
	carol := pidOf(t, set, "carol")
	if isRunning(alice) || !isRunning(bob) || !isRunning(carol) {
		t.Errorf("alice runs: %v, bob: %v, carol: %v", isRunning(alice), isRunning(bob), isRunning(carol))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for _, name := range []string{"bob", "carol"} {
		begun := make(chan struct{})
		c := callOf(set.upstreams[0], "slow", `{}`)
		c.caller, c.report = user(name), func(p progress) {
			if p.progress == 1 {
				close(begun)
			}
		}
		calls.Go(func() { _, _ = set.upstreams[0].call(ctx, c) })
		<-begun
	}
	want := "upstream_unavailable: the server behind this tool is busy; nothing was sent, try again later"
	if got := callAs(t, set, "dave", "pid", `{}`); got != want {
		t.Errorf("while all are busy: %s", got)
	}
	if pidOf(t, set, "bob") != bob {
		t.Error("bob's process was replaced")
	}
	cancel()
	calls.Wait()
	if pidOf(t, set, "dave"); isRunning(bob) == isRunning(carol) {
		t.Error("not one process made room")
	}
}

// Many callers at once never start more processes than the bound.
func TestPool_Storm(t *testing.T) {
	t.Parallel()
	users := 20
	if os.Getenv("GATEHOUSE_LONG") != "" {
		users = 200
	}
	s := perUser(t, "plain")
	s.MaxProcesses = 3
	set := open(t, Options{}, s)
	p := set.upstreams[0].source.(*pool)
	var mu sync.Mutex
	var started []*stdioLink
	most := 0
	start := p.open
	p.open = func(user string) (link, error) {
		mu.Lock()
		defer mu.Unlock()
		l, err := start(user)
		if err != nil {
			return nil, err
		}
		started = append(started, l.(*stdioLink))
		running := 0
		for _, one := range started {
			if !isClosed(one.process.exited) {
				running++
			}
		}
		most = max(most, running)
		return l, nil
	}
	var calls sync.WaitGroup
	for i := range users {
		calls.Go(func() {
			for {
				got := callAs(t, set, fmt.Sprint("user", i), "sleep", fmt.Sprintf(`{"text":"%d"}`, i))
				if got == text(strconv.Itoa(i)) {
					return
				}
				if !strings.Contains(got, "is busy") {
					t.Errorf("a call got %s", got)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	calls.Wait()
	if most > 3 || len(started) < users {
		t.Errorf("%d processes ran, %d at once", len(started), most)
	}
}

// An idle process ends, and a later call starts another one.
func TestPool_Idle(t *testing.T) {
	t.Parallel()
	s := perUser(t, "plain")
	s.Idle = 50 * time.Millisecond
	set := open(t, Options{}, s)
	first := pidOf(t, set, "alice")
	if got := callAs(t, set, "alice", "sleep", `{"text":"long","n":150}`); got != text("long") {
		t.Errorf("a call longer than the idle time: %s", got)
	}
	eventually(t, "it has ended", func() bool { return !isRunning(first) })
	if second := pidOf(t, set, "alice"); second == first {
		t.Error("it is the same process")
	}
	if s := set.Status()[0]; s.Restarts != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// The death of one caller's process is not felt by the others, and its restart is delayed.
func TestPool_Death(t *testing.T) {
	t.Parallel()
	b := quick
	b.first, b.max = 200*time.Millisecond, 200*time.Millisecond
	set := open(t, Options{backoff: b}, perUser(t, "plain"))
	bob := pidOf(t, set, "bob")
	if got := callAs(t, set, "alice", "die", `{}`); got != lostText {
		t.Errorf("the call got %s", got)
	}
	if got := callAs(t, set, "alice", "pid", `{}`); got != unavailableText {
		t.Errorf("the next call got %s", got)
	}
	if pidOf(t, set, "bob") != bob {
		t.Error("bob has another process")
	}
	eventually(t, "alice has a process again", func() bool {
		return strings.HasPrefix(callAs(t, set, "alice", "pid", `{}`), "{")
	})
	if s := set.Status()[0]; s.Restarts != 1 {
		t.Errorf("the status is %+v", s)
	}
}

// A process that cannot start is not started for every call.
func TestPool_FailingStart(t *testing.T) {
	t.Parallel()
	marks := filepath.Join(t.TempDir(), "starts")
	s := perUser(t, "plain")
	found, err := Look(t.Context(), s, Options{Logger: discardLogger})
	if err != nil {
		t.Fatal(err)
	}
	offered, _ := found.Offered(s)
	s.Pinned, err = NewPins("x", definitionsOf(offered))
	if err != nil {
		t.Fatal(err)
	}
	s.Command = Command{"sh", "-c", "echo x >>" + marks + "; exit 1"}
	b := quick
	b.first, b.max = time.Minute, time.Minute
	set := open(t, Options{backoff: b}, s)
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if got := callAs(t, set, "alice", "pid", `{}`); got != unavailableText {
				t.Errorf("a call got %s", got)
			}
		})
	}
	calls.Wait()
	if content, _ := os.ReadFile(marks); strings.Count(string(content), "x") != 1 {
		t.Errorf("it was started %d times", strings.Count(string(content), "x"))
	}
	if s := set.Status()[0]; s.State != StateDown || s.Reason == "" {
		t.Errorf("the status is %+v", s)
	}
}
