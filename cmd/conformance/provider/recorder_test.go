package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// recorder is a transport that records requests with a token. A client whose request is refused signs in
// again and repeats it, so the refusal shows nowhere else.
type recorder struct {
	mu       sync.Mutex
	requests map[string]int // with a token, by the key that signed it
	latest   string         // key
	refusals []string       // of requests with a token
}

func newRecorder() *recorder { return &recorder{requests: map[string]int{}} }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	token, signedIn := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	resp, err := network.RoundTrip(req)
	if !signedIn {
		return resp, err
	}
	key := headerOf(token).KeyID
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[key]++
	r.latest = key
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		r.refusals = append(r.refusals, fmt.Sprintf("%s by %s: %s %s", req.Method, key, resp.Status,
			resp.Header.Get("WWW-Authenticate")))
	}
	return resp, err
}

func (r *recorder) latestKey() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest
}

func (r *recorder) addTo(sums map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, n := range r.requests {
		sums[key] += n
	}
}

func (r *recorder) refused() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refusals)
}
