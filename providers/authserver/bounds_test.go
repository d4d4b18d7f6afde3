package authserver

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gatehouse/providers/authserver/seal"
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

func requestOf(id string) *authorization { return &authorization{client: &client{id: id}} }

func TestPendingRequestsAreBounded(t *testing.T) {
	now := time.Now()
	put := func(s *memoryRequests, client string) (id string) {
		t.Helper()
		id, err := s.put(now, requestOf(client))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	t.Run("a client's oldest request makes room for its own, and no other client's", func(t *testing.T) {
		s := newMemoryRequests(seal.Random())
		other := put(s, "other")
		first, second := put(s, "busy"), put(s, "busy")
		for range maxClientPending - 1 {
			put(s, "busy")
		}
		if len(s.pending.items) != maxClientPending+1 {
			t.Errorf("%d requests", len(s.pending.items))
		}
		for id, want := range map[string]bool{other: true, first: false, second: true} {
			if _, err := s.show(now, id); (err == nil) != want {
				t.Errorf("want %t: %v", want, err)
			}
		}
	})
	t.Run("a request whose page was sent stays while others are added", func(t *testing.T) {
		s := newMemoryRequests(seal.Random())
		shown := put(s, "shared")
		_, _ = s.show(now, shown)
		for n := range maxRequests + 10 {
			put(s, "shared")
			put(s, fmt.Sprint(n))
		}
		if len(s.pending.items) != maxRequests {
			t.Errorf("%d requests", len(s.pending.items))
		}
		if _, ok := s.take(now, shown); !ok {
			t.Error("it is gone")
		}
	})
	t.Run("if all pages were sent the oldest request is removed", func(t *testing.T) {
		s := newMemoryRequests(seal.Random())
		var ids []string
		for range maxClientPending + 1 {
			id := put(s, "busy")
			_, _ = s.show(now, id)
			ids = append(ids, id)
		}
		if _, ok := s.take(now, ids[0]); ok || len(s.pending.items) != maxClientPending {
			t.Errorf("the oldest is there: %t; %d requests", ok, len(s.pending.items))
		}
	})
}

func TestConfidentialRegistrationsAreBounded(t *testing.T) {
	r := newDemoIDs(demoRules())
	used := &client{id: "used", origin: dynamic, secret: isSecret("")}
	r.add(used)
	r.used(used)
	for n := range 2 * maxConfidentialClients {
		r.add(&client{id: fmt.Sprint(n), origin: dynamic, secret: isSecret("")})
	}
	if _, err := r.read(t.Context(), "used"); err != nil {
		t.Error("registrations that were never used pushed out one that was")
	}
	if len(r.unused.items) != maxConfidentialClients || len(r.recent.items) != 1 {
		t.Errorf("%d unused, %d used", len(r.unused.items), len(r.recent.items))
	}
	for n := range 2 * maxConfidentialClients {
		r.used(used)
		r.used(&client{id: fmt.Sprint(n), origin: dynamic, secret: isSecret("")})
	}
	if _, err := r.read(t.Context(), "used"); err != nil || len(r.recent.items) != maxConfidentialClients {
		t.Errorf("the most recently used: %v; %d used", err, len(r.recent.items))
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
			AllowLoopbackClientDocuments: true}), demoRules())
		if f.timeout != 5*time.Second {
			t.Errorf("the timeout is %s", f.timeout)
		}
		f.timeout = 50 * time.Millisecond
		began := time.Now()
		_, err := f.find(t.Context(), host.URL+"/client.json")
		var broken documentError
		if !errors.As(err, &broken) || !broken.temporary || time.Since(began) > 2*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
	t.Run("AS-25 concurrent fetches are limited", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{ClientDocumentRootCAs: roots,
			AllowLoopbackClientDocuments: true}), demoRules())
		f.timeout = 50 * time.Millisecond
		for range maxDocumentFetches {
			f.slots <- struct{}{}
		}
		if _, err := f.find(t.Context(), host.URL+"/client.json"); err == nil ||
			err.(documentError).reason != "too many concurrent fetches" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("AS-25 cached documents are limited", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{}), demoRules())
		for n := range maxDocuments + 10 {
			f.store(fmt.Sprint(n), nil, nil, time.Hour)
		}
		if len(f.cache) != maxDocuments {
			t.Errorf("%d documents", len(f.cache))
		}
	})
}
