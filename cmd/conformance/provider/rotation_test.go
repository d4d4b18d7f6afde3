package provider

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// refetchInterval is provider.key_refetch_interval, as provider.sh sets it.
const refetchInterval = time.Second

// Eight clients call continuously, and each renews its token every two seconds. Meanwhile the provider
// rotates its keys twice: a new key is published, then signs, and the old one is withdrawn when no client has
// a token of it any more. key_max_age is the default, so the server finds a new key only because a token
// names it.
func TestCallsSucceedWhileKeysRotate(t *testing.T) {
	needProvider(t)
	if *tokens == opaque {
		t.Skip("opaque tokens are not signed")
	}
	if *control == "" {
		t.Skip("this provider does not rotate its keys on request")
	}
	operator := connect(t, modern, preregistered)
	before := operator.requestCounts(t)

	var callers callers
	for i := range 8 {
		protocol, registration := modern, preregistered
		if i%2 == 1 {
			protocol = legacy
		}
		if i%4 > 1 {
			registration = dynamic
		}
		callers.clients = append(callers.clients, connect(t, protocol, registration))
	}
	callers.start(t)
	old := callers.clients[0].token(t)

	// The first time, the new key is published for the refetch interval of the server before it signs.
	rotate(t, "publish")
	time.Sleep(refetchInterval + 100*time.Millisecond)
	callers.moveTo(t, rotate(t, "sign"))
	rotate(t, "withdraw")
	time.Sleep(refetchInterval)

	// The second time it signs at once. The server finds it, because its last fetch is longer ago than the
	// interval.
	rotate(t, "publish")
	callers.moveTo(t, rotate(t, "sign"))
	rotate(t, "withdraw")
	time.Sleep(refetchInterval)

	callers.stop()
	for _, client := range callers.clients {
		if client.signIns != 1 {
			t.Errorf("there were %d sign-ins, want 1", client.signIns)
		}
		for _, refusal := range client.traffic.refused() {
			t.Errorf("a request was refused: %s", refusal)
		}
	}
	after := operator.requestCounts(t)
	for _, reason := range []string{"key_unknown", "keys_unavailable", "signature_invalid", "token_expired"} {
		if after[reason] != before[reason] {
			t.Errorf("the server counted %s %d times", reason, after[reason]-before[reason])
		}
	}
	// A token of the third key made the server fetch the keys, and by then the first was withdrawn.
	if status, _ := callOnce(t, old); status != http.StatusUnauthorized {
		t.Errorf("a token of the first key gets %d, want 401: the key was withdrawn", status)
	}
	if now := operator.requestCounts(t)["key_unknown"]; now != after["key_unknown"]+1 {
		t.Errorf("key_unknown was counted %d times, then %d", after["key_unknown"], now)
	}
	fmt.Printf("note: %s\n", callers.summary())
}

// callers are clients that call continuously.
type callers struct {
	clients       []*client
	calls, failed atomic.Int64
	stop          func() // stops the calls and waits for the last
}

func (c *callers) start(t *testing.T) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	for _, client := range c.clients {
		running.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
				}
				c.calls.Add(1)
				if _, err := client.tryCall("greet", map[string]any{"name": "Ada"}); err != nil {
					c.failed.Add(1)
					t.Errorf("a call failed: %v", err)
					return
				}
			}
		})
	}
	c.stop = sync.OnceFunc(func() {
		close(stopped)
		running.Wait()
	})
	t.Cleanup(c.stop)
}

// moveTo waits until every client has sent a token of this key. It fails the test unless tokens of other keys
// were also sent meanwhile.
func (c *callers) moveTo(t *testing.T, key string) {
	t.Helper()
	others := c.requestsWithout(key)
	for deadline := time.Now().Add(15 * time.Second); !c.allHave(key); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || c.failed.Load() > 0 {
			t.Fatalf("not all clients have a token of %s: %s", key, c.summary())
		}
	}
	if c.requestsWithout(key) == others {
		t.Errorf("no token of an old key was used after %s began to sign, so the test proves nothing about them",
			key)
	}
}

func (c *callers) allHave(key string) bool {
	return !slices.ContainsFunc(c.clients, func(client *client) bool { return client.traffic.latestKey() != key })
}

// requests returns the number of requests with a token, by the key that signed it.
func (c *callers) requests() map[string]int {
	sums := map[string]int{}
	for _, client := range c.clients {
		client.traffic.addTo(sums)
	}
	return sums
}

func (c *callers) requestsWithout(key string) (sum int) {
	for other, n := range c.requests() {
		if other != key {
			sum += n
		}
	}
	return sum
}

func (c *callers) summary() string {
	return fmt.Sprintf("%d calls while keys rotated, %d failed; requests by key %v", c.calls.Load(),
		c.failed.Load(), c.requests())
}

// rotate makes the provider take one step of a rotation, and returns the key that signs from then on.
func rotate(t *testing.T, step string) (signing string) {
	t.Helper()
	resp, err := (&http.Client{Transport: network}).Post(*control+"/"+step, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	response, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", step, resp.Status, response, err)
	}
	t.Logf("%s: %s", step, response)
	signing, _, _ = strings.Cut(string(response), " ")
	return signing
}
