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

// requests returns the bytes of the next request on a connection. It is called by one goroutine for each
// connection.
type requests func(connection int) []byte

// result is the result of a slice of load.
type result struct {
	responses  int
	unexpected int // responses with another status than the expected one
	latencies  []time.Duration
}

func (r *result) add(other result) {
	r.responses, r.unexpected = r.responses+other.responses, r.unexpected+other.unexpected
	r.latencies = append(r.latencies, other.latencies...)
}

func (r result) median() time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	slices.Sort(r.latencies)
	return r.latencies[len(r.latencies)/2]
}

// load sends requests over a number of connections until ctx ends. Each sends the next request after the
// response.
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
			all.add(one)
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
		r      result
		conn   net.Conn
		reader *bufio.Reader
		err    error
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
			reader = bufio.NewReader(conn)
		}
		begin := time.Now()
		_ = conn.SetDeadline(begin.Add(10 * time.Second))
		resp, _, err := exchange(conn, reader, next())
		if err != nil {
			return r, err
		}
		r.latencies = append(r.latencies, time.Since(begin))
		r.responses++
		if resp.StatusCode != status {
			r.unexpected++
		}
		if resp.Close {
			_ = conn.Close()
			conn = nil
		}
	}
	return r, nil
}

func exchange(conn net.Conn, reader *bufio.Reader, request []byte) (*http.Response, []byte, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// roundTrip sends one request on a new connection.
func roundTrip(address string, request []byte) (*http.Response, []byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return exchange(conn, bufio.NewReader(conn), request)
}

// post returns the bytes of a POST to the MCP endpoint.
func post(address, token, body string, header ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /mcp HTTP/1.1\r\nHost: %s\r\nUser-Agent: compare\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n", address, len(body))
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// modernMessage returns the message of a call of MCP 2026-07-28.
func modernMessage(id int64, tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s,`+
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
		`"io.modelcontextprotocol/clientInfo":{"name":"compare","version":"1"},`+
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`, id, tool, arguments)
}

// modernCallOf returns a call of MCP 2026-07-28.
func modernCallOf(address, token, tool, arguments string) []byte {
	return post(address, token, modernMessage(1, tool, arguments),
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", tool)
}

// modernCall returns a call of the tool greet.
func modernCall(address, token string) []byte {
	return modernCallOf(address, token, "greet", `{"name":"Ada"}`)
}

// legacyCall returns a call of MCP 2025-11-25, in a session unless that is empty.
func legacyCall(address, token, session string) []byte {
	header := []string{"Mcp-Protocol-Version", "2025-11-25"}
	if session != "" {
		header = append(header, "Mcp-Session-Id", session)
	}
	return post(address, token,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`,
		header...)
}

// openSession opens a session of MCP 2025-11-25 and returns its ID.
func openSession(address, token string) (string, error) {
	resp, body, err := roundTrip(address, post(address, token,
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},`+
			`"clientInfo":{"name":"compare","version":"1"}}}`))
	if err != nil {
		return "", err
	}
	session := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != http.StatusOK || session == "" {
		return "", fmt.Errorf("no session was opened: %d %s", resp.StatusCode, body)
	}
	_, _, err = roundTrip(address, post(address, token,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", session,
		"Mcp-Protocol-Version", "2025-11-25"))
	return session, err
}
