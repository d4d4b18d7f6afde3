package authserver

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What unauthenticated clients can fill is bounded in number and time. These bounds are too large, or too
// slow, to reach over HTTP in a test.

func TestExpiringMap(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	t.Run("the oldest make room", func(t *testing.T) {
		s := newExpiringMap[int, string](time.Minute, 3)
		for n := range 5 {
			s.put(start, n, fmt.Sprint(n))
		}
		for n := range 5 {
			if value, ok := s.get(start, n); ok != (n >= 2) || ok && value != fmt.Sprint(n) {
				t.Errorf("%d: %q, %t", n, value, ok)
			}
		}
	})
	t.Run("what is put again becomes the youngest", func(t *testing.T) {
		s := newExpiringMap[int, string](time.Minute, 2)
		s.put(start, 1, "a")
		s.put(start, 2, "b")
		s.put(start, 1, "c")
		s.put(start, 3, "d")
		if _, ok := s.get(start, 2); ok {
			t.Error("the oldest is still there")
		}
		if value, _ := s.get(start, 1); value != "c" {
			t.Errorf("value %q", value)
		}
	})
	t.Run("expired values are removed, not only hidden", func(t *testing.T) {
		s := newExpiringMap[int, string](time.Minute, 10)
		s.put(start, 1, "a")
		s.put(start.Add(30*time.Second), 2, "b")
		if _, ok := s.get(start.Add(time.Minute), 1); ok || len(s.items) != 1 || s.order.Len() != 1 {
			t.Errorf("there: %t, %d items, %d in order", ok, len(s.items), s.order.Len())
		}
	})
	t.Run("a removed value leaves nothing in the map", func(t *testing.T) {
		s := newExpiringMap[int, string](time.Minute, 10)
		s.put(start, 1, "a")
		s.remove(1)
		s.remove(1)
		if len(s.items) != 0 || s.order.Len() != 0 {
			t.Errorf("%d items, %d in order", len(s.items), s.order.Len())
		}
	})
	t.Run("without a lifetime things stay", func(t *testing.T) {
		s := newExpiringMap[int, string](0, 10)
		s.put(start, 1, "a")
		if _, ok := s.get(start.Add(1000*time.Hour), 1); !ok {
			t.Error("it is gone")
		}
	})
}

func TestPendingRequestsAreBounded(t *testing.T) {
	now := time.Now()
	request := func(id string) *authorization { return &authorization{client: &client{id: id}} }
	t.Run("a client's oldest request makes room for its own, and no other client's", func(t *testing.T) {
		s := newStore()
		other := s.putRequest(now, request("other"))
		first, second := s.putRequest(now, request("busy")), s.putRequest(now, request("busy"))
		for range maxClientPending - 1 {
			s.putRequest(now, request("busy"))
		}
		if len(s.requests.items) != maxClientPending+1 {
			t.Errorf("%d requests", len(s.requests.items))
		}
		for id, want := range map[string]bool{other: true, first: false, second: true} {
			if _, ok := s.showRequest(now, id); ok != want {
				t.Errorf("a request is there: %t, want %t", ok, want)
			}
		}
	})
	t.Run("a request whose page was sent stays while others are added", func(t *testing.T) {
		s := newStore()
		shown := s.putRequest(now, request("shared"))
		s.showRequest(now, shown)
		for n := range maxRequests + 10 {
			s.putRequest(now, request("shared"))
			s.putRequest(now, request(fmt.Sprint(n)))
		}
		if len(s.requests.items) != maxRequests {
			t.Errorf("%d requests", len(s.requests.items))
		}
		if _, ok := s.takeRequest(now, shown); !ok {
			t.Error("it is gone")
		}
	})
	t.Run("if all pages were sent the oldest request is removed", func(t *testing.T) {
		s := newStore()
		var ids []string
		for range maxClientPending + 1 {
			id := s.putRequest(now, request("busy"))
			s.showRequest(now, id)
			ids = append(ids, id)
		}
		if _, ok := s.takeRequest(now, ids[0]); ok || len(s.requests.items) != maxClientPending {
			t.Errorf("the oldest is there: %t; %d requests", ok, len(s.requests.items))
		}
	})
}

func TestConfidentialRegistrationsAreBounded(t *testing.T) {
	r := newClientRegistry(nil)
	used := &client{id: "used", origin: dynamic, secret: new([sha256.Size]byte)}
	r.add(used)
	r.authenticated(used)
	for n := range 2 * maxConfidentialClients {
		r.add(&client{id: fmt.Sprint(n), origin: dynamic, secret: new([sha256.Size]byte)})
	}
	if _, ok := r.find("used"); !ok {
		t.Error("registrations that were never used pushed out one that was")
	}
	if len(r.unused.items) != maxConfidentialClients || len(r.used.items) != 1 {
		t.Errorf("%d unused, %d used", len(r.unused.items), len(r.used.items))
	}
	for n := range 2 * maxConfidentialClients {
		r.authenticated(used)
		r.authenticated(&client{id: fmt.Sprint(n), origin: dynamic, secret: new([sha256.Size]byte)})
	}
	if _, ok := r.find("used"); !ok || len(r.used.items) != maxConfidentialClients {
		t.Errorf("the most recently used is there: %t; %d used", ok, len(r.used.items))
	}
}

func TestDocumentFetchesAreBounded(t *testing.T) {
	release := make(chan struct{})
	host := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer host.Close()
	defer close(release)
	roots := x509.NewCertPool()
	roots.AddCert(host.Certificate())

	t.Run("AS-25 a host that does not respond times out", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{ClientDocumentRootCAs: roots,
			AllowLoopbackClientDocuments: true}))
		if f.timeout != 5*time.Second {
			t.Errorf("the timeout is %s", f.timeout)
		}
		f.timeout = 50 * time.Millisecond
		began := time.Now()
		_, err := f.find(host.URL + "/client.json")
		var broken documentError
		if !errors.As(err, &broken) || !broken.temporary || time.Since(began) > 2*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
	t.Run("AS-25 concurrent fetches are limited", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{ClientDocumentRootCAs: roots,
			AllowLoopbackClientDocuments: true}))
		f.timeout = 50 * time.Millisecond
		for range maxDocumentFetches {
			f.slots <- struct{}{}
		}
		if _, err := f.find(host.URL + "/client.json"); err == nil ||
			err.(documentError).reason != "too many concurrent fetches" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("AS-25 cached documents are limited", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{}))
		for n := range maxDocuments + 10 {
			f.store(fmt.Sprint(n), nil, nil, time.Hour)
		}
		if len(f.cache) != maxDocuments {
			t.Errorf("%d documents", len(f.cache))
		}
	})
}
