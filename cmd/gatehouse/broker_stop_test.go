package main

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// While a server drains, load balancers still send requests: sign-ins and refreshes succeed until it closes.
func TestBroker_WorksWhileItDrains(t *testing.T) {
	t.Parallel()
	srv, _ := startBroker(t, map[string]string{
		"server.drain_time": "600ms", "provider.store": "file://" + filepath.Join(t.TempDir(), "sign-ins.db"),
	})
	client := srv.register(t)
	tokens := client.signIn(t, "alice", allScopes()...)
	stopped := make(chan struct{})
	go func() { srv.stop(); close(stopped) }()
	for send(t, http.MethodGet, srv.origin()+"/readyz", "", "", nil).status != http.StatusServiceUnavailable {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // until the background work has ended, if it ends
	r, pair := client.refresh(t, tokens.Refresh)
	if r.status != http.StatusOK {
		t.Errorf("a refresh: %d %s", r.status, r.body)
	}
	if r := whoami(t, srv.url, pair.Access); r.status != http.StatusOK {
		t.Errorf("a call: %d %s", r.status, r.body)
	}
	client.signIn(t, "bob", "mcp:use")
	<-stopped
}
