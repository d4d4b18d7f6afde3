package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// process is a server under load.
type process struct {
	command *exec.Cmd
	address string
	started time.Time
}

// cores returns the number of cores of the machine; runtime.NumCPU does not count those that this program is
// not bound to.
func cores() int {
	all, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*") // the pattern is valid
	return max(len(all), runtime.NumCPU())
}

// prepare returns a server that is to be started by begin. Its output, with the access log, goes to the null device.
func (s settings) prepare(
	ctx context.Context, address string, environ []string, program string, args ...string,
) *process {
	if !s.relayed && cores() > 1 {
		if taskset, err := exec.LookPath("taskset"); err == nil {
			program, args = taskset, append([]string{"-c", "0", program}, args...)
		}
	}
	p := &process{command: exec.CommandContext(ctx, program, args...), address: address}
	p.command.Env = append(os.Environ(), environ...)
	return p
}

func (p *process) begin() error {
	p.started = time.Now()
	return p.command.Start()
}

// await waits until the server accepts connections.
func (p *process) await(ctx context.Context) error {
	for range 20_000 {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Microsecond):
		}
	}
	return errors.New("the server does not accept connections")
}

func (p *process) stop() {
	_ = p.command.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = p.command.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		_ = p.command.Process.Kill()
		<-done
	}
}

// cpu returns the CPU time of all threads of the process (proc(5), schedstat).
func (p *process) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.command.Process.Pid))
	if err != nil || len(files) == 0 {
		return 0, errors.New("the server has ended")
	}
	var all time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended; Go rarely ends one
		}
		first, _, _ := strings.Cut(string(content), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		all += time.Duration(n)
	}
	return all, nil
}

// memory returns the resident memory of the process in bytes (proc(5), VmRSS).
func (p *process) memory() (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("/proc does not show the memory of the server")
}
