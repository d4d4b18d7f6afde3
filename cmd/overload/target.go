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

// target is a server under attack and its issuer.
type target struct {
	issuer    *issuer
	command   *exec.Cmd
	log       *bytes.Buffer
	address   string
	url       string
	responses *tally
}

// tally counts responses by status.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(status string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[status]++
}

func (t *tally) snapshot() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}

// start starts an issuer, and the binary with the memory limit, and waits until the server is ready.
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
	t := &target{issuer: i, log: &bytes.Buffer{}, address: address, url: "http://" + address + "/mcp",
		responses: &tally{n: map[string]int{}}}
	args := append([]string{
		"serve", "--resource=" + t.url, "--server.listen=" + address, "--provider.kind=oidc",
		"--provider.issuer=" + i.URL,
		"--scopes.required=mcp:use", "--tools.demo=true", "--server.drain_time=0s",
		"--server.shutdown_timeout=1s", "--log.level=warn",
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
	return nil, fmt.Errorf("the server did not become ready: %s", t.log)
}

func (t *target) stop() {
	_ = t.command.Process.Kill()
	_ = t.command.Wait()
	t.issuer.Close()
}

// peak returns the peak resident memory of the process in bytes (proc(5), VmHWM).
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
	return 0, errors.New("the server has ended, or /proc does not show its memory")
}

// message is one request to the MCP endpoint.
type message struct {
	token   string
	method  string // JSON-RPC method; empty for the older era, which has no Mcp-Method header
	name    string
	session string
	body    string
}

func (t *target) request(ctx context.Context, m message) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(m.body))
	if err != nil {
		panic(err) // the URL is valid
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

// send sends a message on a new connection, and returns the header of the response.
func (t *target) send(ctx context.Context, m message) http.Header {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(t.request(ctx, m))
	if err != nil {
		t.responses.add("none")
		return nil
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	t.responses.add(strconv.Itoa(resp.StatusCode))
	return resp.Header
}

// otherClient calls a tool ten times a second until stop, with another token and from another address.
func (t *target) otherClient(ctx context.Context, stop <-chan struct{}) (r result) {
	token := t.issuer.token(t.url, "other-client", "mcp:use greet:read")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext}}
	for {
		began := time.Now()
		resp, err := client.Do(t.request(ctx, call("greet", `{"name":"Ada"}`, token)))
		succeeded := false
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			succeeded = resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte("Ada"))
		}
		if r.calls++; !succeeded {
			r.failed++
		}
		r.latency = max(r.latency, time.Since(began))
		select {
		case <-stop:
			return r
		case <-ctx.Done():
			return r
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientCapabilities":{}}`

// modern returns a request of MCP 2026-07-28.
func modern(method, params, token string) message {
	return message{token: token, method: method,
		body: fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s,%s}}`, method, params, meta)}
}

// call returns a call of a tool, of MCP 2026-07-28.
func call(tool, arguments, token string) message {
	m := modern("tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments), token)
	m.name = tool
	return m
}

// legacy returns a request of MCP 2025-11-25.
func legacy(method, params, token, session string) message {
	id := `"id":1,`
	if strings.HasPrefix(method, "notifications/") {
		id = ""
	}
	return message{token: token, session: session,
		body: fmt.Sprintf(`{"jsonrpc":"2.0",%s"method":%q,"params":{%s}}`, id, method, params)}
}
