package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// isRunning reports whether a process exists, and is no zombie.
func isRunning(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return len(after) == 0 || after[0] != 'Z'
}

// pidsOf returns the pid of the process of a set, and that of its descendant.
func pidsOf(t testing.TB, set *Set) (process, child int) {
	t.Helper()
	process, err := strconv.Atoi(textOf(t, do(t, set, "pid", `{}`)))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := set.upstreams[0].source.(*supervisor)
	s.mu.Lock()
	l, _ := s.current.link.(*stdioLink)
	s.mu.Unlock()
	for _, line := range l.output() {
		if text, isChild := strings.CutPrefix(line, "child "); isChild {
			child, _ = strconv.Atoi(text)
		}
	}
	return process, child
}

// Nothing is left of a process, whatever it and its descendants ignore.
func TestProcess_NoOrphans(t *testing.T) {
	t.Parallel()
	stop := func(_ *testing.T, set *Set, _ int) { closeSet(set) }
	for name, c := range map[string]struct {
		habits []string
		end    func(t *testing.T, set *Set, pid int)
	}{
		"the end of a good process":               {[]string{"plain"}, stop},
		"the end of one with a deaf descendant":   {[]string{"parent"}, stop},
		"the end of a deaf one with a descendant": {[]string{"deaf", "parent"}, stop},
		"the end in a hurry": {[]string{"deaf", "parent"}, func(t *testing.T, set *Set, _ int) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			began := time.Now()
			set.Close(ctx)
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("it took %v", d)
			}
		}},
		"its death": {[]string{"parent"}, func(_ *testing.T, _ *Set, pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }},
		"its end during a call": {[]string{"parent"}, func(t *testing.T, set *Set, _ int) {
			do(t, set, "die", `{}`)
		}},
		"the end of its output": {[]string{"deaf", "parent"}, func(t *testing.T, set *Set, _ int) {
			s := set.upstreams[0].source.(*supervisor)
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = s.current.link.(*stdioLink).process.stdout.SetReadDeadline(time.Now())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if name == "the end in a hurry" {
				o.grace = time.Minute
			}
			set := open(t, o, fixture(t, c.habits...))
			process, child := pidsOf(t, set)
			if c.habits[len(c.habits)-1] == "parent" && !isRunning(child) {
				t.Fatalf("descendant %d does not run", child)
			}
			c.end(t, set, process)
			eventually(t, "the process has ended", func() bool { return !isRunning(process) })
			eventually(t, "the descendant has ended", func() bool { return child == 0 || !isRunning(child) })
		})
	}
}

// All calls in flight are answered at once when the process dies, and later calls work.
func TestProcess_Death(t *testing.T) {
	t.Parallel()
	var log logBuffer
	set := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, fixture(t, "plain", "parent"))
	process, _ := pidsOf(t, set)
	var calls sync.WaitGroup
	var inFlight atomic.Int32
	outcomes := make(chan string, 32)
	for range cap(outcomes) {
		c := callOf(set.upstreams[0], "slow", `{}`)
		c.report = func(p progress) {
			if p.progress == 2 {
				inFlight.Add(1)
			}
		}
		calls.Go(func() { outcomes <- doCall(t, set, c) })
	}
	eventually(t, "all are in flight", func() bool { return inFlight.Load() == 32 })
	killed := time.Now()
	_ = syscall.Kill(process, syscall.SIGKILL)
	calls.Wait()
	if d := time.Since(killed); d > 500*time.Millisecond {
		t.Errorf("the answers came after %v", d)
	}
	for range cap(outcomes) {
		if got := <-outcomes; got != lostText {
			t.Errorf("a call got %s", got)
		}
	}
	if got := do(t, set, "pid", `{}`); got != unavailableText && !strings.HasPrefix(got, `{"content"`) {
		t.Errorf("a call after the death got %s", got)
	}
	eventually(t, "it answers", answers(t, set))
	if next, _ := pidsOf(t, set); next == process {
		t.Error("it is the same process")
	}
	if s := set.Status()[0]; s.Restarts != 1 || s.State != StateReady {
		t.Errorf("the status is %+v", s)
	}
	for _, want := range []string{"upstream=far", "reason=upstream_lost", "signal: killed", "child "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, &log)
		}
	}
}

// A process that lives, but does not read any more, is replaced.
func TestProcess_ClosesItsInput(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain", "deaf"))
	if got := do(t, set, "close_input", `{}`); got != text("closed") {
		t.Error(got)
	}
	eventually(t, "it is replaced", func() bool {
		do(t, set, "pid", `{}`)
		return set.Status()[0].Restarts == 1
	})
	eventually(t, "it answers", answers(t, set))
}

// TestProcess_Killed kills the process again and again under load: no call without an answer, and none runs twice.
func TestProcess_Killed(t *testing.T) {
	t.Parallel()
	kills := 5
	if os.Getenv("GATEHOUSE_LONG") != "" {
		kills = 100
	}
	set := open(t, Options{}, fixture(t, "plain"))
	file := filepath.Join(t.TempDir(), "effects")
	var stop atomic.Bool
	var calls sync.WaitGroup
	var mu sync.Mutex
	ok, lost := map[string]bool{}, map[string]bool{}
	for caller := range 8 {
		calls.Go(func() {
			for i := 0; !stop.Load(); i++ {
				name := fmt.Sprintf("%d-%d", caller, i)
				got := do(t, set, "count", fmt.Sprintf(`{"file":%q,"text":%q,"n":1}`, file, name))
				mu.Lock()
				switch got {
				case text(name):
					ok[name] = true
				case lostText:
					lost[name] = true
				case unavailableText:
					time.Sleep(time.Millisecond)
				default:
					t.Errorf("a call got %s", got)
				}
				mu.Unlock()
			}
		})
	}
	for range kills {
		eventually(t, "it answers", answers(t, set))
		time.Sleep(10 * time.Millisecond)
		s := set.upstreams[0].source.(*supervisor)
		s.mu.Lock()
		if s.current != nil {
			_ = syscall.Kill(s.current.link.(*stdioLink).process.command.Process.Pid, syscall.SIGKILL)
		}
		restarts := s.restarts
		s.mu.Unlock()
		eventually(t, "it is restarted", func() bool { return set.Status()[0].Restarts > restarts })
	}
	stop.Store(true)
	calls.Wait()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	effects := map[string]int{}
	for _, name := range strings.Fields(string(content)) {
		effects[name]++
	}
	for name, n := range effects {
		if n > 1 {
			t.Errorf("%s ran %d times", name, n)
		}
		if !ok[name] && !lost[name] {
			t.Errorf("%s ran, but its caller was told that nothing was sent", name)
		}
		delete(ok, name)
	}
	for name := range ok {
		t.Errorf("%s has an answer, but did not run", name)
	}
	t.Logf("%d effects, %d calls lost", len(effects), len(lost))
}

// A process that cannot start, or ends at once, is reported with what it wrote.
func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	absent := fixture(t, "plain")
	absent.Command = Command{"gatehouse-no-such-program"}
	noExecutable := fixture(t, "plain")
	noExecutable.Command = Command{filepath.Join(t.TempDir(), "program")}
	if err := os.WriteFile(noExecutable.Command[0], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	silent := fixture(t, "plain")
	silent.Command = Command{"sleep", "600"}
	for name, c := range map[string]struct {
		settings Settings
		want     string
		output   string
	}{
		"a program that does not exist":  {absent, "executable file not found", ""},
		"a file that cannot be executed": {noExecutable, "permission denied", ""},
		"a process that ends at once": {
			fixture(t, "dies"), "the process ended: exit status 3", `no configuration\x1b[31m here`,
		},
		"a process that never answers":        {silent, "it does not answer in time", ""},
		"a process that writes without a end": {fixture(t, "endless"), "it writes a line without an end", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.settings.Command[0] == "sleep" {
				if _, err := exec.LookPath("sleep"); err != nil {
					t.Skip(err)
				}
			}
			_, err := tryOpen(t, Options{startTimeout: 2 * time.Second}, c.settings)
			start, _ := errors.AsType[*StartError](err)
			if start == nil || start.Name != "far" || !strings.Contains(start.Error(), c.want) || start.Reason == "" ||
				!strings.Contains(strings.Join(start.Output, "\n"), c.output) {
				t.Errorf("the error is %+v", start)
			}
		})
	}
}
