// Package upstreams contains tests only. They put MCP servers from npm, and one with the habits of Python servers,
// behind gatehouse as it is shipped. ../upstreams.sh installs the servers and runs the tests.
package upstreams

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	program = flag.String("gatehouse", "", "the program gatehouse")
	modules = flag.String("modules", "", "the folder node_modules with the servers")
	python  = flag.String("python", "", "the program python3")
)

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needServers(t *testing.T) {
	t.Helper()
	if *program == "" || *modules == "" {
		t.Skip("no servers are installed: cmd/conformance/upstreams.sh installs them, and runs this test")
	}
}

// npmServer is the command of a server of @modelcontextprotocol, with arguments.
func npmServer(name string, args ...string) []string {
	script := filepath.Join(*modules, "@modelcontextprotocol/server-"+name, "dist/index.js")
	return append([]string{"node", script}, args...)
}

// gate is a gatehouse that serves.
type gate struct {
	url    string // of the MCP endpoint
	output *buffer
	cmd    *exec.Cmd
	exited chan struct{}
}

// maxShown is how much of the output a failed test shows, in bytes.
const maxShown = 8 << 10

// startGate starts gatehouse and waits until it is ready. ADDRESS in an argument is replaced by a free address.
func startGate(t *testing.T, environ []string, args ...string) *gate {
	t.Helper()
	address := freeAddress(t)
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "ADDRESS", address)
	}
	g := &gate{url: "http://" + address + "/mcp", output: &buffer{}, exited: make(chan struct{})}
	g.cmd = exec.Command(*program, args...)
	// A folder without npm's configuration and without a profile.
	g.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environ...)
	g.cmd.Stdout, g.cmd.Stderr = g.output, g.output
	g.cmd.Dir = filepath.Dir(*modules) // where npx finds the servers
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.exited)
	}()
	t.Cleanup(func() {
		groups := groupsOf(t, g.cmd.Process.Pid)
		_ = g.cmd.Process.Kill()
		<-g.exited
		kill(groups)
		for _, word := range []string{"panic", "level=ERROR", "hunter2"} {
			if strings.Contains(g.output.String(), word) {
				t.Errorf("the output has %q", word)
			}
		}
		if t.Failed() {
			output := g.output.String()
			t.Logf("gatehouse %q\n%s", args, output[max(0, len(output)-maxShown):])
		}
	})
	eventually(t, "gatehouse is ready", func() bool {
		select {
		case <-g.exited:
			t.Fatalf("gatehouse has ended: %v", g.cmd.ProcessState)
		default:
		}
		return get("http://"+address+"/readyz") == http.StatusOK
	})
	return g
}

// stop sends SIGTERM and waits for the end. No process of an upstream is left.
func (g *gate) stop(t *testing.T) (took time.Duration) {
	t.Helper()
	groups := groupsOf(t, g.cmd.Process.Pid)
	began := time.Now()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	took = time.Since(began)
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	if len(groups) == 0 {
		t.Error("there was no process of an upstream")
	}
	for _, group := range groups {
		for _, p := range processes(t) {
			if p.group == group {
				t.Errorf("process %d of the group of an upstream is left", p.id)
			}
		}
	}
	kill(groups)
	return took
}

// kill ends process groups, so that a failed test leaves no process.
func kill(groups []int) {
	for _, group := range groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

// run runs gatehouse to its end.
func run(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command(*program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	raw, err := cmd.CombinedOutput()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatal(err)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// running is a process.
type running struct{ id, parent, group int }

// processes returns all processes that have not ended (proc(5), stat).
func processes(t *testing.T) (all []running) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		t.Fatal("there is no /proc")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may contain anything.
		var p running
		var state byte
		_, err = fmt.Sscanf(string(content[bytes.LastIndexByte(content, ')')+1:]), " %c %d %d", &state, &p.parent, &p.group)
		if err != nil {
			t.Fatal(err)
		}
		if p.id, err = strconv.Atoi(filepath.Base(filepath.Dir(file))); err != nil {
			t.Fatal(err)
		}
		if state != 'Z' && state != 'X' {
			all = append(all, p)
		}
	}
	return all
}

// groupsOf returns the process groups of the children of a process. Each upstream on stdio has one.
func groupsOf(t *testing.T, pid int) (groups []int) {
	t.Helper()
	for _, p := range processes(t) {
		if p.parent == pid && !slices.Contains(groups, p.group) {
			groups = append(groups, p.group)
		}
	}
	return groups
}

// childWith returns the child of gatehouse whose command line has text.
func (g *gate) childWith(t *testing.T, text string) int {
	t.Helper()
	for _, p := range processes(t) {
		if p.parent != g.cmd.Process.Pid {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.id))
		if strings.Contains(string(line), text) {
			return p.id
		}
	}
	t.Fatalf("gatehouse has no child %s", text)
	return 0
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func get(address string) (status int) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(address)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
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
