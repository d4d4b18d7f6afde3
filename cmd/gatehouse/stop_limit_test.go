package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	osSignal "os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/server"
)

// blockedWriter is a full pipe that no process reads.
type blockedWriter struct{ release chan struct{} }

func (w blockedWriter) Write(p []byte) (int, error) { <-w.release; return len(p), nil }

func TestStopLimit_EndsCommandInTime(t *testing.T) {
	t.Parallel()
	settings := server.DefaultSettings()
	graceful := settings.DrainTime + settings.ShutdownTimeout
	for name, c := range map[string]struct {
		lasts      time.Duration // after the signal; forever if negative
		configured bool          // the configuration is loaded
		logHangs   bool
		code       int
		takes      time.Duration
		want       string // in the output
	}{
		"gracefully": {lasts: graceful, configured: true, code: exitOK, takes: graceful},
		"late": {
			lasts: -1, configured: true, code: exitHung, takes: graceful + stopMargin,
			want: `level=ERROR msg="stopped by force" after=26.5s did_not_end="[a step]"`,
		},
		"late, with a log that hangs": {
			lasts: -1, configured: true, logHangs: true, code: exitHung, takes: graceful + stopMargin + lastLineTimeout,
		},
		"late, before the configuration is loaded": {
			lasts: -1, code: exitHung, takes: stopMargin, want: "did not end: a step",
		},
		"late, with standard error that hangs": {
			lasts: -1, logHangs: true, code: exitHung, takes: stopMargin + lastLineTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				out := &syncBuffer{}
				limit := &stopLimit{stderr: out}
				logger := slog.New(slog.NewTextHandler(out, nil))
				if c.logHangs {
					limit.stderr = blockedWriter{release}
					logger = slog.New(slog.NewTextHandler(blockedWriter{release}, nil))
				}
				ctx, signal := context.WithCancel(t.Context())
				begin := time.Now()
				signal()
				code := limit.run(ctx, func() int {
					if c.configured {
						limit.configure(settings, logger)
					}
					limit.begin("a step")
					if c.lasts < 0 {
						<-release
					}
					time.Sleep(c.lasts)
					return exitOK
				})
				if took := time.Since(begin); code != c.code || took != c.takes || took > graceful+2*time.Second {
					t.Errorf("it ended with %d after %s, want %d after %s", code, took, c.code, c.takes)
				}
				if got := out.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 1 {
					t.Errorf("the output is %q, want %q", got, c.want)
				}
				close(release)
				synctest.Wait()
			})
		})
	}
}

func TestStopLimit_WithoutSignal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := &stopLimit{}
		code := limit.run(t.Context(), func() int { time.Sleep(time.Hour); return exitFailure })
		if code != exitFailure {
			t.Errorf("exit code %d", code)
		}
	})
}

// runMain is the environment variable that makes the test binary run as the program itself.
const runMain = "TEST_RUN_MAIN"

// process is the program in a process of its own.
type process struct {
	*exec.Cmd
	stderr *syncBuffer
	ended  chan struct{} // closed when the process has ended
}

// startProcess runs the program with args on a free port, from a shell that runs before first.
func startProcess(t *testing.T, before string, stdout *os.File, args ...string) (p *process, address string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address = freeAddress(t)
	args = append([]string{
		"-c", before + `exec "$0" "$@"`, self, "--resource=http://" + address + "/mcp", "--server.drain_time=0s",
		"--server.shutdown_timeout=100ms",
	}, args...)
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--config=") }) {
		args = append(args, "--provider.signing_algorithm=ES256") // of the local issuer
	}
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
			t.Logf("standard error:\n%s", p.stderr)
		}
	})
	return p, address
}

// logs waits until the log of the program has a text.
func (p *process) logs(t *testing.T, want string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(p.stderr.String(), want) {
			return
		}
	}
	t.Fatalf("the log has no %q", want)
}

// healthy waits until the program is healthy, and reports whether it became so.
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

// end sends a signal, and returns the exit code and how long the program took to end.
func (p *process) end(t *testing.T, signal os.Signal) (code int, took time.Duration) {
	t.Helper()
	begin := time.Now()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the process does not end")
	}
	return p.ProcessState.ExitCode(), time.Since(begin)
}

// A closing terminal must not fail calls.
func TestSignals_StopServerGracefully(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			if signal == syscall.SIGHUP && osSignal.Ignored(signal) {
				t.Skip("these tests run under nohup, and the server inherits that SIGHUP is ignored")
			}
			p, address := startProcess(t, "", nil)
			if !p.healthy(address) {
				t.Fatal("the server is not healthy")
			}
			code, _ := p.end(t, signal)
			log := p.stderr.String()
			if code != exitOK || !strings.Contains(log, "msg=stopping") || !strings.Contains(log, "msg=stopped") {
				t.Errorf("exit code %d", code)
			}
		})
	}
	t.Run("no hangup under nohup", func(t *testing.T) {
		t.Parallel()
		p, address := startProcess(t, `trap "" HUP; `, nil)
		if !p.healthy(address) {
			t.Fatal("the server is not healthy")
		}
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if !p.healthy(address) {
			t.Fatal("an ignored signal ended the process")
		}
		if code, _ := p.end(t, syscall.SIGTERM); code != exitOK || strings.Count(p.stderr.String(), "msg=stopping") != 1 {
			t.Errorf("exit code %d", code)
		}
	})
}

// A real process with output that hangs: a full pipe that no process reads.
func TestProcess_EndsInTimeWhenOutputHangs(t *testing.T) {
	if os.Getenv("GATEHOUSE_LONG") == "" {
		t.Skip("it takes 6 s; set GATEHOUSE_LONG=1")
	}
	t.Parallel()
	const limit = 100*time.Millisecond + 2*time.Second + time.Second // the last second is for a busy machine
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
		time.Sleep(time.Second) // nothing shows when it hangs
		code, took := p.end(t, syscall.SIGTERM)
		log := p.stderr.String()
		if code != exitHung || took > limit || strings.Count(log, `msg="stopped by force"`) != 1 ||
			!strings.Contains(log, "output of the banner") {
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

// A reload that ends after the signal does not shorten a stop that has begun.
func TestStopLimit_DoesNotShrinkAfterSignal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		long, short := server.DefaultSettings(), server.DefaultSettings()
		short.DrainTime, short.ShutdownTimeout = 0, time.Second
		limit := &stopLimit{}
		limit.configure(long, slog.New(slog.DiscardHandler))
		ctx, signal := context.WithCancel(t.Context())
		code := limit.run(ctx, func() int {
			signal()
			time.Sleep(time.Second)
			limit.configure(short, slog.New(slog.DiscardHandler))
			time.Sleep(long.ShutdownTimeout)
			return exitOK
		})
		if code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
}
