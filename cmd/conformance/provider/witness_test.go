package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// witness sees what a client sends and gets. A client that is refused signs in again and repeats its request, so that nobody
// but a witness would notice.
type witness struct {
	mu       sync.Mutex
	requests map[string]int // with a token, by the key that signed it
	latest   string         // key
	refusals []string       // of requests with a token
}

func newWitness() *witness { return &witness{requests: map[string]int{}} }

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	token, signedIn := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	resp, err := network.RoundTrip(req)
	if !signedIn {
		return resp, err
	}
	key := headerOf(token).KeyID
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[key]++
	w.latest = key
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		w.refusals = append(w.refusals, fmt.Sprintf("%s by %s: %s %s", req.Method, key, resp.Status, resp.Header.Get("WWW-Authenticate")))
	}
	return resp, err
}

func (w *witness) latestKey() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest
}

func (w *witness) addTo(sums map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, n := range w.requests {
		sums[key] += n
	}
}

func (w *witness) refused() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refusals)
}
