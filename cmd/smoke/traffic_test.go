package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// send calls a tool without a session, in one request with this ID.
func send(ctx context.Context, network http.RoundTripper, url, token, id, tool, arguments string) (status int,
	body string, err error) {
	requestBody := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+
		`"name":%q,"arguments":%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`, tool, arguments)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(requestBody))
	if err != nil {
		return 0, "", err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json",
		"Accept":               "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool, "X-Request-Id": id,
	} {
		r.Header.Set(name, value)
	}
	resp, err := network.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(read), err
}

// attempt is one call.
type attempt struct {
	id           string
	began, ended time.Time
	failure      error
}

// traffic is clients that call continuously, half of them a tool that returns at once, half one that takes a
// second.
type traffic struct {
	mu       sync.Mutex
	attempts []attempt
	running  sync.WaitGroup
	stopped  chan struct{}
}

func startTraffic(t *testing.T, network http.RoundTripper, url, token string) *traffic {
	l := &traffic{stopped: make(chan struct{})}
	for caller := range 32 {
		tool, arguments := "greet", `{"name":"Ada"}`
		if caller%2 == 1 {
			tool, arguments = "countdown", `{"seconds":1}`
		}
		l.running.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				case <-time.After(20 * time.Millisecond):
				}
				a := attempt{id: "traffic-" + rand.Text(), began: time.Now()}
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				status, body, err := send(ctx, network, url, token, a.id, tool, arguments)
				cancel()
				a.ended, a.failure = time.Now(), err
				if err == nil && (status != http.StatusOK || !strings.Contains(body, `"structuredContent"`)) {
					a.failure = fmt.Errorf("the response is %d %s", status, body)
				}
				l.mu.Lock()
				l.attempts = append(l.attempts, a)
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// stop stops the clients, waits for their last calls, and returns all calls.
func (l *traffic) stop() []attempt {
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
	}
	l.running.Wait()
	return l.attempts
}

// failed returns the attempts that failed.
func failed(attempts []attempt) (failures []attempt) {
	for _, a := range attempts {
		if a.failure != nil {
			failures = append(failures, a)
		}
	}
	return failures
}

// summary returns the number of attempts, and the longest duration of those that began after from.
func summary(attempts []attempt, from time.Time) string {
	var after int
	var slowest time.Duration
	for _, a := range attempts {
		if a.began.After(from) {
			after++
			slowest = max(slowest, a.ended.Sub(a.began))
		}
	}
	return fmt.Sprintf("%d calls, %d of them afterwards, of which the longest took %s; %d failed",
		len(attempts), after, slowest.Round(time.Millisecond), len(failed(attempts)))
}
