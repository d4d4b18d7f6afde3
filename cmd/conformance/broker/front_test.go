package broker

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// front is the proxy in front of the replicas. Each request goes to the next one.
type front struct {
	address string
	seen    *secrets

	mu       sync.Mutex
	replicas []string
	next     int
}

func startFront(t *testing.T, seen *secrets) *front {
	t.Helper()
	f := &front{seen: seen}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: f.choose()})
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	f.address = "localhost:" + target.Port() // cookies of the provider, on 127.0.0.1, are not sent to it
	return f
}

func (f *front) add(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, address)
}

// choose returns the address of the next replica.
func (f *front) choose() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.replicas) == 0 {
		return "127.0.0.1:1"
	}
	f.next++
	return f.replicas[f.next%len(f.replicas)]
}

// unavailable is an answer with status 503.
func unavailable(w http.ResponseWriter) {
	w.WriteHeader(http.StatusServiceUnavailable)
}
