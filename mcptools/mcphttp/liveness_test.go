package mcphttp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestIsStuck_WhenTheLockIsHeldForMoreThanTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lock := make(chan struct{}, 1) // a mutex would stop the clock of the bubble
		var probe lockProbe
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go probe.run(ctx, func() { lock <- struct{}{}; <-lock })
		after := func(d time.Duration, want bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := probe.isStuck(); got != want {
				t.Errorf("stuck is %v, want %v", got, want)
			}
		}
		after(time.Minute, false)
		lock <- struct{}{}
		after(12*time.Second, false) // the probe begins to wait within five seconds
		after(4*time.Second, true)
		after(time.Hour, true)
		<-lock
		after(time.Second, false)
		cancel()
	})
}

func TestCloseSessions_DoesNotWaitForTheLockOfTheSDK(t *testing.T) {
	release, holding := make(chan struct{}), make(chan struct{})
	catalog := fullCatalog()
	catalog.Options = func(o *mcp.ServerOptions) {
		o.SetCacheable = func(context.Context, mcp.Request, *mcp.Cacheable) { // the SDK calls it while it holds its lock
			close(holding)
			<-release
		}
	}
	h := handlerOf(catalog)
	h.closeTimeout = 50 * time.Millisecond
	url := serve(t, h, time.Now().Add(time.Hour))
	listed := make(chan struct{})
	go func() { defer close(listed); sendTo(t, url, modern("tools/list", "")) }()
	<-holding
	stopped := make(chan struct{})
	go func() { defer close(stopped); h.CloseSessions() }()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("CloseSessions waits for the lock")
	}
	close(release)
	<-listed
}
