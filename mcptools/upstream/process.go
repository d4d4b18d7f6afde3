package upstream

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is one run of a command, with pipes to it. It and its descendants are one process group where the operating
// system has groups, so that none of them outlives it.
type process struct {
	command *exec.Cmd
	stdin   *os.File
	stdout  *os.File
	stderr  *os.File
	grace   time.Duration
	exited  chan struct{} // closed when the process has ended
	// drained is closed by the owner when stderr has no writer left: no descendant runs any more.
	drained chan struct{}
}

// stopGrace is how long a process has to end after the end of its input, and again after a signal.
const stopGrace = 5 * time.Second

// orphanGrace is how long descendants have after the process itself has ended.
const orphanGrace = time.Second

// lastWordsTimeout is how long output is read after the process has ended. What it wrote is read in less; descendants
// may write for ever.
const lastWordsTimeout = 20 * time.Millisecond

// startProcess starts a command with exactly these variables.
func startProcess(command, environ []string, grace time.Duration) (*process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environ
	cmd.SysProcAttr = ownGroup()
	p := &process{command: cmd, grace: grace, exited: make(chan struct{}), drained: make(chan struct{})}
	var child [3]*os.File
	var errs [3]error
	child[0], p.stdin, errs[0] = os.Pipe()
	p.stdout, child[1], errs[1] = os.Pipe()
	p.stderr, child[2], errs[2] = os.Pipe()
	err := errors.Join(errs[:]...)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = child[0], child[1], child[2]
		err = cmd.Start()
	}
	for _, f := range child {
		_ = f.Close() // the process has its own; nil is an error that does not matter
	}
	if err != nil {
		p.closePipes()
		return nil, fmt.Errorf("starting %s: %w", command[0], err)
	}
	go func() {
		_ = cmd.Wait() // ProcessState has what matters
		_ = p.stdout.SetReadDeadline(time.Now().Add(lastWordsTimeout))
		close(p.exited)
	}()
	return p, nil
}

func (p *process) closePipes() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		_ = f.Close()
	}
}

// stop ends the process and its descendants, and returns when they have ended: by the end of its input, as MCP says,
// then by SIGTERM, and then by SIGKILL (MCP 2026-07-28, stdio, Shutdown). hurry, which may be nil, skips to SIGKILL.
// The pipes are closed at the end.
func (p *process) stop(hurry <-chan struct{}) {
	_ = p.stdin.Close()
	if !p.waitExit(p.grace, hurry) {
		p.signal(syscall.SIGTERM)
		if !p.waitExit(p.grace, hurry) {
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
	}
	// The process has ended. Descendants, if there are any, keep its group, so that its number is not used again.
	p.signal(syscall.SIGTERM)
	select {
	case <-p.drained:
	case <-hurry:
	case <-time.After(min(orphanGrace, p.grace)):
	}
	p.signal(syscall.SIGKILL)
	p.closePipes()
}

// waitExit waits until the process has ended, and reports false if it has not after d, or when hurry is closed.
func (p *process) waitExit(d time.Duration, hurry <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
	case <-hurry:
	}
	return false
}

// signal sends a signal to the group. It fails if no process of it is left.
func (p *process) signal(s syscall.Signal) { _ = signalGroup(p.command.Process, s) }

// end describes how the process ended, after it did.
func (p *process) end() string { return p.command.ProcessState.String() }

// inherited are the variables that every process gets. The others of this server may be secrets.
var inherited = []string{"PATH", "HOME", "LANG", "TMPDIR"}

// environment returns the variables of the process of an upstream. user replaces [UserPlaceholder].
func environment(s Settings, user string) []string {
	var environ []string
	for _, name := range inherited {
		if value, isSet := os.LookupEnv(name); isSet {
			environ = append(environ, name+"="+value)
		}
	}
	for _, variable := range s.Environ() {
		environ = append(environ, strings.ReplaceAll(variable, UserPlaceholder, user))
	}
	return environ
}

// commandFor returns the command of the process of an upstream.
func commandFor(s Settings, user string) []string {
	command := []string{s.Command[0]}
	for _, arg := range s.Command[1:] {
		command = append(command, strings.ReplaceAll(arg, UserPlaceholder, user))
	}
	return command
}
