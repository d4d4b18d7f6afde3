package storetest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Redis is a redis-server on a port of the loopback interface.
type Redis struct {
	// Addr is its host and port. They stay the same after Kill and Start.
	Addr    string
	args    []string
	command *exec.Cmd
	output  *bytes.Buffer
}

// StartRedis starts the redis-server in PATH with an empty folder and the arguments, such as "--requirepass". Each
// change is on the disk before it is answered, so that Kill loses nothing. The server ends with the test. The test is
// skipped if there is no redis-server.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not in PATH; Debian has it in the package redis-server")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	r := &Redis{Addr: listener.Addr().String(), args: append([]string{"--bind", host, "--port", port,
		"--dir", t.TempDir(), "--save", "", "--appendonly", "yes", "--appendfsync", "always"}, args...)}
	listener.Close()
	r.Start(t)
	t.Cleanup(func() { r.Kill() })
	return r
}

// URL returns the URL of a database of the server, with a prefix that no other test has.
func (r *Redis) URL(t testing.TB) string {
	prefix := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(t.Name()))
	return fmt.Sprintf("redis://%s/0?prefix=%s:", r.Addr, prefix[max(0, len(prefix)-60):])
}

// Start starts the server again with the records that it had, and returns when it listens.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	r.output = new(bytes.Buffer)
	r.command = exec.Command("redis-server", r.args...)
	r.command.Stdout, r.command.Stderr = r.output, r.output
	r.command.SysProcAttr = endWithParent()
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if r.answers() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Kill()
	t.Fatalf("redis-server does not listen:\n%s", r.output)
}

// answers reports whether the server answers, though it be with an error: it may want a password.
func (r *Redis) answers() bool {
	conn, err := net.DialTimeout("tcp", r.Addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, err = conn.Write([]byte("PING\r\n"))
	if err == nil {
		_, err = conn.Read(make([]byte, 64))
	}
	return err == nil
}

// Kill ends the server as kill -9 does.
func (r *Redis) Kill() {
	if r.command.ProcessState == nil {
		_ = r.command.Process.Kill()
		_ = r.command.Wait()
	}
}

// Pid is the process id.
func (r *Redis) Pid() int { return r.command.Process.Pid }
