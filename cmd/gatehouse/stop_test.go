package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A rolling deployment must not fail a call: readiness fails first, the load balancer sees it and sends no more
// requests, and those in flight are finished.
func TestStop_UnderLoadFailsNoCall(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"server.drain_time": "1s"})
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	for range 3 {
		srv.openStream(t, token, srv.openSession(t, token))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	status := func(path string) int {
		resp, err := client.Get(srv.origin() + path)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	greet := func() (content string, err error) {
		body, header := callModern("greet", `{"name":"Ada"}`)
		req, err := http.NewRequest(http.MethodPost, srv.url, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		header["Authorization"] = "Bearer " + token
		header["Content-Type"] = "application/json"
		header["Accept"] = "application/json, text/event-stream"
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return resp.Status + " " + string(raw), err
	}
	var unready atomic.Bool // the load balancer has seen that readiness fails
	var calls, failures atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for !unready.Load() {
				calls.Add(1)
				if content, err := greet(); err != nil || !strings.Contains(content, "Hello, Ada!") {
					failures.Add(1)
					t.Log(content, err)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	stopped := make(chan struct{})
	go func() { srv.stop(); close(stopped) }()
	for range 200 {
		if status("/readyz") == http.StatusServiceUnavailable {
			unready.Store(true)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !unready.Load() {
		t.Error("readiness never failed")
		unready.Store(true)
	}
	if got := status("/health"); got != http.StatusOK {
		t.Errorf("/health returned %d while draining", got)
	}
	workers.Wait()
	<-stopped
	if failures.Load() > 0 || calls.Load() < 20 {
		t.Errorf("%d of %d calls failed", failures.Load(), calls.Load())
	}
}
