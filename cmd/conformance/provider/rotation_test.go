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

// Eight clients call all the time, and each comes for a new token every two seconds. Meanwhile the provider rotates its keys
// twice, as real ones do: a new key is published beside the old one, then signs, and the old one goes when nobody has a
// token of it any more. key_max_age is the default, so that the server finds a new key only because a token names it.
func TestCallsGoOnWhileKeysRotate(t *testing.T) {
	needProvider(t)
	if *tokens == opaque {
		t.Skip("opaque tokens are not signed")
	}
	operator := connect(t, modern, preregistered)
	before := operator.outcomes(t)

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

	// With notice: the new key is there for as long as the server may rest between two fetches, and only then used.
	order(t, "publish")
	time.Sleep(refetchInterval + 100*time.Millisecond)
	callers.moveTo(t, order(t, "sign"))
	order(t, "withdraw")
	time.Sleep(refetchInterval)

	// Without: it signs as soon as it is published. That can only go well because the server has rested since it last fetched.
	order(t, "publish")
	callers.moveTo(t, order(t, "sign"))
	order(t, "withdraw")
	time.Sleep(refetchInterval)

	callers.stop()
	for _, client := range callers.clients {
		if client.signIns != 1 {
			t.Errorf("a person was asked %d times, want once", client.signIns)
		}
		for _, refusal := range client.seen.refused() {
			t.Errorf("a request was refused: %s", refusal)
		}
	}
	after := operator.outcomes(t)
	for _, reason := range []string{"key_unknown", "keys_unavailable", "signature_invalid", "token_expired"} {
		if after[reason] != before[reason] {
			t.Errorf("the server counted %s %d times", reason, after[reason]-before[reason])
		}
	}
	// A token of the third key had the server fetch them all, and by then the first was gone.
	if status, _ := ask(t, old); status != http.StatusUnauthorized {
		t.Errorf("a token of the first key gets %d, want 401: the key was withdrawn", status)
	}
	if now := operator.outcomes(t)["key_unknown"]; now != after["key_unknown"]+1 {
		t.Errorf("key_unknown was counted %d times, then %d", after["key_unknown"], now)
	}
	fmt.Printf("note: %s\n", callers.summary())
}

// callers are clients that call as fast as they can.
type callers struct {
	clients       []*client
	calls, failed atomic.Int64
	stop          func() // ends the calls and waits for the last
}

func (c *callers) start(t *testing.T) {
	over := make(chan struct{})
	var running sync.WaitGroup
	for _, client := range c.clients {
		running.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				c.calls.Add(1)
				if _, err := client.try("greet", map[string]any{"name": "Ada"}); err != nil {
					c.failed.Add(1)
					t.Errorf("a call failed: %v", err)
					return
				}
			}
		})
	}
	c.stop = sync.OnceFunc(func() {
		close(over)
		running.Wait()
	})
	t.Cleanup(c.stop)
}

// moveTo waits until every client has come with a token of this key, and fails unless tokens of others were good meanwhile.
func (c *callers) moveTo(t *testing.T, key string) {
	t.Helper()
	others := c.requestsWithout(key)
	for deadline := time.Now().Add(15 * time.Second); !c.allHave(key); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || c.failed.Load() > 0 {
			t.Fatalf("not all clients have a token of %s: %s", key, c.summary())
		}
	}
	if c.requestsWithout(key) == others {
		t.Errorf("no token of an old key was used after %s began to sign, so that nothing is proven about them", key)
	}
}

func (c *callers) allHave(key string) bool {
	return !slices.ContainsFunc(c.clients, func(client *client) bool { return client.seen.latestKey() != key })
}

// requests are those that carried a token, by the key that signed it.
func (c *callers) requests() map[string]int {
	sums := map[string]int{}
	for _, client := range c.clients {
		client.seen.addTo(sums)
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
	return fmt.Sprintf("%d calls while keys rotated, %d failed; requests by key %v", c.calls.Load(), c.failed.Load(), c.requests())
}

// order has the provider take one step of a rotation, and returns the key that signs from now on.
func order(t *testing.T, step string) (signing string) {
	t.Helper()
	resp, err := (&http.Client{Transport: network}).Post(*control+"/"+step, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", step, resp.Status, answer, err)
	}
	t.Logf("%s: %s", step, answer)
	signing, _, _ = strings.Cut(string(answer), " ")
	return signing
}
