package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// requests makes the bytes of the next request on a connection. It is called by one goroutine at a time for each connection.
type requests func(connection int) []byte

// result is what a slice of load came to.
type result struct {
	answered int
	wrong    int // answers with another status than the expected one
	waited   []time.Duration
}

func (r result) median() time.Duration {
	if len(r.waited) == 0 {
		return 0
	}
	slices.Sort(r.waited)
	return r.waited[len(r.waited)/2]
}

// load sends requests over a number of connections, on each the next when the last is answered, until ctx ends.
func load(ctx context.Context, address string, connections, status int, next requests) (result, error) {
	var (
		mu       sync.Mutex
		all      result
		failure  error
		loaders  sync.WaitGroup
		failures atomic.Int64
	)
	for c := range connections {
		loaders.Go(func() {
			one, err := loadOne(ctx, address, status, func() []byte { return next(c) })
			mu.Lock()
			defer mu.Unlock()
			all.answered, all.wrong, all.waited = all.answered+one.answered, all.wrong+one.wrong, append(all.waited, one.waited...)
			if err != nil && failures.Add(1) == 1 {
				failure = err
			}
		})
	}
	loaders.Wait()
	return all, failure
}

func loadOne(ctx context.Context, address string, status int, next func() []byte) (result, error) {
	var (
		r       result
		conn    net.Conn
		answers *bufio.Reader
		err     error
	)
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for ctx.Err() == nil {
		if conn == nil {
			if conn, err = net.Dial("tcp", address); err != nil {
				return r, err
			}
			answers = bufio.NewReader(conn)
		}
		begin := time.Now()
		_ = conn.SetDeadline(begin.Add(10 * time.Second))
		resp, _, err := exchange(conn, answers, next())
		if err != nil {
			return r, err
		}
		r.waited = append(r.waited, time.Since(begin))
		r.answered++
		if resp.StatusCode != status {
			r.wrong++
		}
		if resp.Close {
			_ = conn.Close()
			conn = nil
		}
	}
	return r, nil
}

func exchange(conn net.Conn, answers *bufio.Reader, request []byte) (*http.Response, []byte, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// ask sends one request on a connection of its own.
func ask(address string, request []byte) (*http.Response, []byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return exchange(conn, bufio.NewReader(conn), request)
}

// post is a request on the wire.
func post(address, token, body string, header ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /mcp HTTP/1.1\r\nHost: %s\r\nUser-Agent: compare\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n", address, len(body))
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// modernCall is a call of 2026-07-28.
func modernCall(address, token string) []byte {
	return post(address, token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"compare","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "greet")
}

// legacyCall is a call of 2025-11-25, in a session unless that is empty.
func legacyCall(address, token, session string) []byte {
	header := []string{"Mcp-Protocol-Version", "2025-11-25"}
	if session != "" {
		header = append(header, "Mcp-Session-Id", session)
	}
	return post(address, token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`, header...)
}

// openSession begins a session of 2025-11-25.
func openSession(address, token string) (string, error) {
	resp, body, err := ask(address, post(address, token,
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"compare","version":"1"}}}`))
	if err != nil {
		return "", err
	}
	session := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != http.StatusOK || session == "" {
		return "", fmt.Errorf("no session: %d %s", resp.StatusCode, body)
	}
	_, _, err = ask(address, post(address, token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25"))
	return session, err
}
