package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/server"
)

// blockedWriter is the end of a pipe that is full and that no process reads.
type blockedWriter struct{ release chan struct{} }

func (w blockedWriter) Write(p []byte) (int, error) { <-w.release; return len(p), nil }

func TestACommandEndsInTimeAfterASignal(t *testing.T) {
	settings := server.DefaultSettings()
	orderly := settings.DrainTime + settings.ShutdownTimeout
	for name, c := range map[string]struct {
		lasts     time.Duration // after the signal; for ever if negative
		serving   bool          // it has read its configuration
		logIsHung bool
		code      int
		takes     time.Duration
		says      string
	}{
		"in order":                             {orderly, true, false, exitOK, orderly, ""},
		"late":                                 {-1, true, false, exitHung, orderly + stopMargin, `level=ERROR msg="stopped by force" after=26.5s did_not_end="[a step]"`},
		"late, with a log that is not read":    {-1, true, true, exitHung, orderly + stopMargin + lastLineTime, ""},
		"late, before it had a configuration":  {-1, false, false, exitHung, stopMargin, "did not end: a step"},
		"late, and its output is not read yet": {-1, false, true, exitHung, stopMargin + lastLineTime, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				out := &syncBuffer{}
				limit := &stopLimit{stderr: out}
				logger := slog.New(slog.NewTextHandler(out, nil))
				if c.logIsHung {
					limit.stderr = blockedWriter{release}
					logger = slog.New(slog.NewTextHandler(blockedWriter{release}, nil))
				}
				ctx, signal := context.WithCancel(t.Context())
				begin := time.Now()
				signal()
				code := limit.run(ctx, func() int {
					if c.serving {
						limit.serving(settings, logger)
					}
					limit.begin("a step")
					if c.lasts < 0 {
						<-release
					}
					time.Sleep(c.lasts)
					return exitOK
				})
				if took := time.Since(begin); code != c.code || took != c.takes || took > orderly+2*time.Second {
					t.Errorf("it ended with %d after %s, want %d after %s", code, took, c.code, c.takes)
				}
				if said := out.String(); !strings.Contains(said, c.says) || strings.Count(said, "\n") > 1 {
					t.Errorf("it said %q, want %q", said, c.says)
				}
				close(release)
				synctest.Wait()
			})
		})
	}
}

func TestACommandWithoutASignalTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := &stopLimit{}
		if code := limit.run(t.Context(), func() int { time.Sleep(time.Hour); return exitFailure }); code != exitFailure {
			t.Errorf("exit code %d", code)
		}
	})
}

// runMain is set in the environment of a test process that is the program itself.
const runMain = "TEST_RUN_MAIN"

// process is the program as a process of its own.
type process struct {
	*exec.Cmd
	stderr *syncBuffer
	ended  chan struct{} // closed when it has ended
}

// startProcess runs the program with these arguments, on a free port of this computer, through a shell that
// does what before says first.
func startProcess(t *testing.T, before string, stdout *os.File, args ...string) (p *process, address string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address = freeAddress(t)
	args = append([]string{"-c", before + `exec "$0" "$@"`, self, "--resource=http://" + address + "/mcp", "--server.drain_time=0s", "--server.shutdown_timeout=100ms"}, args...)
	p = &process{Cmd: exec.Command("/bin/sh", args...), stderr: &syncBuffer{}, ended: make(chan struct{})}
	p.Dir, p.Env, p.Stderr = t.TempDir(), []string{runMain + "=1"}, p.stderr
	if stdout != nil {
		p.Stdout = stdout
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("it wrote:\n%s", p.stderr)
		}
	})
	return p, address
}

// healthy reports whether the program answers, now or soon.
func (p *process) healthy(address string) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			return false
		default:
		}
		if resp, err := client.Get("http://" + address + "/health"); err == nil {
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}
	}
	return false
}

// end sends a signal and returns the exit code and how long the program took.
func (p *process) end(t *testing.T, signal os.Signal) (code int, took time.Duration) {
	t.Helper()
	begin := time.Now()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	return p.ProcessState.ExitCode(), time.Since(begin)
}

// A terminal that closes, and a service manager that asks for a reload, must cost no call.
func TestSignalsStopTheServerInOrder(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			p, address := startProcess(t, "", nil)
			if !p.healthy(address) {
				t.Fatal("it does not serve")
			}
			if code, _ := p.end(t, signal); code != exitOK || !strings.Contains(p.stderr.String(), "msg=stopping") || !strings.Contains(p.stderr.String(), "msg=stopped") {
				t.Errorf("exit code %d", code)
			}
		})
	}
	t.Run("not hangup under nohup", func(t *testing.T) {
		t.Parallel()
		p, address := startProcess(t, `trap "" HUP; `, nil)
		if !p.healthy(address) {
			t.Fatal("it does not serve")
		}
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if !p.healthy(address) {
			t.Fatal("a signal that its parent ignores ended it")
		}
		if code, _ := p.end(t, syscall.SIGTERM); code != exitOK || strings.Count(p.stderr.String(), "msg=stopping") != 1 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestHangupStaysIgnoredWhereItIs(t *testing.T) {
	for _, ignored := range []bool{false, true} {
		got := len(stopSignals(func(os.Signal) bool { return ignored }))
		if want := map[bool]int{false: 3, true: 2}[ignored]; got != want {
			t.Errorf("with SIGHUP ignored %v it stops on %d signals, want %d", ignored, got, want)
		}
	}
}

// The whole process, with something that really hangs: a pipe that is full and that no process reads.
func TestTheProcessEndsInTimeWhateverHangs(t *testing.T) {
	if os.Getenv("GATEHOUSE_LONG") == "" {
		t.Skip("it takes some seconds; set GATEHOUSE_LONG=1")
	}
	const limit = 100*time.Millisecond + 2*time.Second + time.Second // the last one for a busy machine
	full := func(t *testing.T) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = w.Write(make([]byte, 4096))
		}
		return w
	}
	t.Run("the output of the banner", func(t *testing.T) {
		p, _ := startProcess(t, "", full(t))
		time.Sleep(time.Second) // it does not say that it hangs
		code, took := p.end(t, syscall.SIGTERM)
		if code != exitHung || took > limit || strings.Count(p.stderr.String(), `msg="stopped by force"`) != 1 || !strings.Contains(p.stderr.String(), "output of the banner") {
			t.Errorf("exit code %d after %s", code, took)
		}
	})
	t.Run("the log", func(t *testing.T) {
		p, _ := startProcess(t, "exec 2>&1; ", full(t), "--log.level=debug")
		time.Sleep(time.Second)
		if code, took := p.end(t, syscall.SIGTERM); code != exitHung || took > limit {
			t.Errorf("exit code %d after %s", code, took)
		}
	})
}
