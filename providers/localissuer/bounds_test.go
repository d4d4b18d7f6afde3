package localissuer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What strangers can fill is bounded in number and time. These bounds are too large, or too slow, to be reached through
// the front door in a test.

func TestShelf(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	t.Run("the oldest make room", func(t *testing.T) {
		s := newShelf[int, string](time.Minute, 3)
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
		s := newShelf[int, string](time.Minute, 2)
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
	t.Run("what is over is dropped, not only hidden", func(t *testing.T) {
		s := newShelf[int, string](time.Minute, 10)
		s.put(start, 1, "a")
		s.put(start.Add(30*time.Second), 2, "b")
		if _, ok := s.get(start.Add(time.Minute), 1); ok || len(s.items) != 1 || s.order.Len() != 1 {
			t.Errorf("there: %t, %d items, %d in order", ok, len(s.items), s.order.Len())
		}
	})
	t.Run("what is taken leaves nothing behind", func(t *testing.T) {
		s := newShelf[int, string](time.Minute, 10)
		s.put(start, 1, "a")
		s.remove(1)
		s.remove(1)
		if len(s.items) != 0 || s.order.Len() != 0 {
			t.Errorf("%d items, %d in order", len(s.items), s.order.Len())
		}
	})
	t.Run("without a lifetime things stay", func(t *testing.T) {
		s := newShelf[int, string](0, 10)
		s.put(start, 1, "a")
		if _, ok := s.get(start.Add(1000*time.Hour), 1); !ok {
			t.Error("it is gone")
		}
	})
}

func TestPendingRequestsAreBounded(t *testing.T) {
	s, now := newStore(time.Minute, time.Hour), time.Now()
	first := s.putRequest(now, new(authorization))
	for range maxRequests {
		s.putRequest(now, new(authorization))
	}
	if _, ok := s.request(now, first); ok || len(s.requests.items) != maxRequests {
		t.Errorf("the oldest is there: %t; %d requests", ok, len(s.requests.items))
	}
}

func TestDocumentFetchesAreBounded(t *testing.T) {
	release := make(chan struct{})
	host := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer host.Close()
	defer close(release)
	roots := x509.NewCertPool()
	roots.AddCert(host.Certificate())

	t.Run("AS-25 a host that does not answer is given up on", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{ClientDocumentRootCAs: roots, AllowLoopbackClientDocuments: true}))
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
	t.Run("AS-25 only so many are fetched at once", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{ClientDocumentRootCAs: roots, AllowLoopbackClientDocuments: true}))
		f.timeout = 50 * time.Millisecond
		for range maxDocumentFetches {
			f.slots <- struct{}{}
		}
		if _, err := f.find(host.URL + "/client.json"); err == nil || err.(documentError).reason != "too many documents are being fetched" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("AS-25 only so many are kept", func(t *testing.T) {
		f := newDocumentFetcher(withDefaults(Config{}))
		for n := range maxDocuments + 10 {
			f.remember(fmt.Sprint(n), nil, nil, time.Hour)
		}
		if len(f.cache) != maxDocuments {
			t.Errorf("%d documents", len(f.cache))
		}
	})
}
