package broker

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	output *buffer
	exited chan struct{}
}

// maxShown is how much of the output a failed test shows, in bytes.
const maxShown = 6 << 10

// run starts a program. It is killed at the end of the test, and its output is shown if the test has failed.
func run(t *testing.T, dir string, environ []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), output: &buffer{}, exited: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, environ...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			output := p.output.String()
			t.Logf("%s %q\n%s", name, args, output[max(0, len(output)-maxShown):])
		}
	})
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop sends SIGTERM, waits, and returns the exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	return p.cmd.ProcessState.ExitCode()
}

// waitFor waits until is, unless the process ends before.
func (p *process) waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("%s: the process has ended: %v\n%s", what, p.cmd.ProcessState, p.output)
		default:
		}
		return is()
	})
}

// replica is one process of gatehouse.
type replica struct {
	*process
	address  string
	operator string
	link     *link // to the store, nil for a file
	args     []string
}

// startReplica starts gatehouse, waits until it is ready, and adds it to the front.
func (w *world) startReplica(t *testing.T, more ...string) *replica {
	t.Helper()
	r := w.launch(t, more...)
	r.waitFor(t, r.address+" is ready", func() bool { return isReady("http://" + r.address + "/readyz") })
	w.front.add(r.address)
	return r
}

// launch starts gatehouse.
func (w *world) launch(t *testing.T, more ...string) *replica {
	t.Helper()
	r := &replica{address: freeAddress(t), operator: freeAddress(t)}
	r.args = slices.Concat([]string{"serve", "--server.listen=" + r.address, "--operator.listen=" + r.operator,
		"--audit.dir=" + filepath.Join(w.dir, "audit", r.address)}, w.settings, more)
	if w.store != nil {
		r.link = startLink(w.t, w.store.address)
		r.args = append(r.args, "--provider.store=redis://"+r.link.address+"/0")
	}
	r.process = w.run(r.args)
	w.replicas = append(w.replicas, r)
	return r
}

// restart starts a replica that has ended, at the same address, and waits until it is ready.
func (w *world) restart(r *replica) {
	w.t.Helper()
	w.seen.scan(w.t, "the output of a replica", []byte(r.output.String()))
	r.process = w.run(r.args)
	r.waitFor(w.t, r.address+" is ready", func() bool { return isReady("http://" + r.address + "/readyz") })
}

// run runs gatehouse.
func (w *world) run(args []string) *process {
	w.t.Helper()
	p := run(w.t, w.dir, w.environ, *program, args...)
	w.t.Cleanup(func() {
		for _, word := range []string{"panic", "DATA RACE"} {
			if strings.Contains(p.output.String(), word) {
				w.t.Errorf("the output of gatehouse has %q", word)
			}
		}
	})
	return p
}

// buffer is the output of a process.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
