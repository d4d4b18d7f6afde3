package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is a server under attack, and its issuer.
type target struct {
	issuer  *issuer
	command *exec.Cmd
	log     *bytes.Buffer
	address string
	url     string
	answers *tally
}

// tally counts answers by status.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[what]++
}

func (t *tally) snapshot() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}

func start(ctx context.Context, binary string, settings []string) (*target, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := ln.Addr().String()
	_ = ln.Close()
	i, err := newIssuer()
	if err != nil {
		return nil, err
	}
	t := &target{issuer: i, log: &bytes.Buffer{}, address: address, url: "http://" + address + "/mcp", answers: &tally{n: map[string]int{}}}
	args := append([]string{
		"serve", "--resource=" + t.url, "--server.listen=" + address, "--provider.kind=oidc", "--provider.issuer=" + i.URL,
		"--scopes.required=mcp:use", "--tools.demo=true", "--server.drain_time=0s", "--server.shutdown_timeout=1s", "--log.level=warn",
	}, settings...)
	t.command = exec.CommandContext(ctx, binary, args...)
	t.command.Env = []string{"PATH=" + os.Getenv("PATH"), fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit)}
	t.command.Stdout, t.command.Stderr = io.Discard, t.log
	if err := t.command.Start(); err != nil {
		i.Close()
		return nil, err
	}
	for range 600 {
		resp, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return t, nil
			}
		}
		select {
		case <-ctx.Done():
			t.stop()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.stop()
	return nil, fmt.Errorf("the server does not become ready: %s", t.log)
}

func (t *target) stop() {
	_ = t.command.Process.Kill()
	_ = t.command.Wait()
	t.issuer.Close()
}

// peak is the most memory that the process has had (proc(5), VmHWM), in bytes.
func (t *target) peak() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("the server has ended, or its memory is not shown")
}

// message is one request to the MCP endpoint.
type message struct {
	token   string
	method  string // JSON-RPC; empty for the older era, which repeats nothing in headers
	name    string
	session string
	body    string
}

func (t *target) request(ctx context.Context, m message) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(m.body))
	if err != nil {
		panic(err) // the address is ours
	}
	r.Header.Set("Authorization", "Bearer "+m.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	version := "2025-11-25"
	if m.method != "" {
		version = "2026-07-28"
		r.Header.Set("Mcp-Method", m.method)
		if m.name != "" {
			r.Header.Set("Mcp-Name", m.name)
		}
	}
	r.Header.Set("Mcp-Protocol-Version", version)
	if m.session != "" {
		r.Header.Set("Mcp-Session-Id", m.session)
	}
	return r
}

// send sends a message on a connection of its own, and returns the header of the answer.
func (t *target) send(ctx context.Context, m message) http.Header {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(t.request(ctx, m))
	if err != nil {
		t.answers.add("none")
		return nil
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	t.answers.add(strconv.Itoa(resp.StatusCode))
	return resp.Header
}

// neighbour calls a tool ten times a second until stop, as another caller from another address.
func (t *target) neighbour(ctx context.Context, stop <-chan struct{}) (r result) {
	token := t.issuer.token(t.url, "neighbour", "mcp:use greet:read")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext}}
	for {
		began := time.Now()
		resp, err := client.Do(t.request(ctx, call("greet", `{"name":"Ada"}`, token)))
		good := false
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			good = resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte("Ada"))
		}
		if r.calls++; !good {
			r.refused++
		}
		r.waiting = max(r.waiting, time.Since(began))
		select {
		case <-stop:
			return r
		case <-ctx.Done():
			return r
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// modern is a request of 2026-07-28.
func modern(method, params, token string) message {
	return message{token: token, method: method, body: fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s,%s}}`, method, params, meta)}
}

func call(tool, arguments, token string) message {
	m := modern("tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments), token)
	m.name = tool
	return m
}

// legacy is a request of 2025-11-25.
func legacy(method, params, token, session string) message {
	id := `"id":1,`
	if strings.HasPrefix(method, "notifications/") {
		id = ""
	}
	return message{token: token, session: session, body: fmt.Sprintf(`{"jsonrpc":"2.0",%s"method":%q,"params":{%s}}`, id, method, params)}
}
