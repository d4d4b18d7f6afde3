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

// Rolling a deployment must not cost a call. Readiness fails first; whoever spreads the load sees it and sends no more;
// what was begun is finished.
func TestStoppingUnderLoadFailsNoCall(t *testing.T) {
	h := startHouse(t, map[string]string{"server.drain_time": "1s"})
	token := h.token(t, "alice", "mcp:use", "greet:read")
	for range 3 {
		h.openStream(t, token, h.openSession(t, token))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	get := func(path string) int {
		resp, err := client.Get(h.origin() + path)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	var elsewhere atomic.Bool // the balancer sends traffic to another server
	var calls, failures atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for !elsewhere.Load() {
				body, header := callModern("greet", `{"name":"Ada"}`)
				req, err := http.NewRequest(http.MethodPost, h.url, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				header["Authorization"] = "Bearer " + token
				header["Content-Type"] = "application/json"
				header["Accept"] = "application/json, text/event-stream"
				for k, v := range header {
					req.Header.Set(k, v)
				}
				resp, err := client.Do(req)
				calls.Add(1)
				if err != nil {
					failures.Add(1)
					t.Log(err)
					continue
				}
				content, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !strings.Contains(string(content), "Hello, Ada!") {
					failures.Add(1)
					t.Log(resp.StatusCode, err)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	stopped := make(chan struct{})
	go func() { h.stop(); close(stopped) }()
	for range 200 {
		if get("/readyz") == http.StatusServiceUnavailable {
			elsewhere.Store(true)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !elsewhere.Load() {
		t.Error("readiness never failed")
		elsewhere.Store(true)
	}
	if status := get("/health"); status != http.StatusOK {
		t.Errorf("while draining /health answered %d", status)
	}
	workers.Wait()
	<-stopped
	if failures.Load() > 0 || calls.Load() < 20 {
		t.Errorf("%d of %d calls failed", failures.Load(), calls.Load())
	}
}
