package demo

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// callCountdown calls the tool over the SDK's in-memory transport: a bubble of synctest has no network.
func callCountdown(
	ctx context.Context, t *testing.T, seconds int, onProgress func(float64),
) (*mcp.CallToolResult, error) {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcptools.Catalog{Tools: []mcptools.Tool{countdown()}}.Register(server)
	serverEnd, clientEnd := mcp.NewInMemoryTransports()
	serving, err := server.Connect(t.Context(), serverEnd, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			onProgress(r.Params.Progress)
		},
	})
	session, err := client.Connect(t.Context(), clientEnd, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = session.Close()
		_ = serving.Wait()
	}()
	params := &mcp.CallToolParams{Name: "countdown", Arguments: map[string]any{"seconds": seconds}}
	params.SetProgressToken("p1")
	return session.CallTool(ctx, params)
}

func TestCountdown_ReportsProgressEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var progress []float64
		var elapsed []time.Duration
		result, err := callCountdown(t.Context(), t, 3, func(p float64) {
			progress, elapsed = append(progress, p), append(elapsed, time.Since(begin))
		})
		if err != nil || result.IsError || time.Since(begin) != 3*time.Second {
			t.Fatalf("after %v: %+v, %v", time.Since(begin), result, err)
		}
		synctest.Wait()
		for i, p := range progress {
			if p != float64(i+1) || elapsed[i] != time.Duration(i+1)*time.Second {
				t.Errorf("progress %v after %v", p, elapsed[i])
			}
		}
		if len(progress) != 3 {
			t.Errorf("%d notifications, want 3", len(progress))
		}
	})
}

func TestCountdown_StopsWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		_, err := callCountdown(ctx, t, maxCountdown, func(float64) {})
		// Closing the session waits for the tool.
		if took := time.Since(begin); err == nil || took > 3*time.Second || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("it ended after %v with %v", took, err)
		}
	})
}
