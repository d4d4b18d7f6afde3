package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

// newNetwork returns a transport that dials elsewhere, as curl's --connect-to does. Inside the network of a stack nobody
// answers at the public addresses; the addresses themselves must not change, because tokens, metadata and certificates name
// them.
func newNetwork(connectTo []string, caFile string) (*http.Transport, error) {
	elsewhere := map[string]string{}
	for _, entry := range connectTo {
		public, private, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("--connect-to %q is not HOST:PORT=HOST:PORT", entry)
		}
		elsewhere[public] = private
	}
	network := &http.Transport{
		// A proxy in the environment has no part in this.
		DialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			if other, ok := elsewhere[address]; ok {
				address = other
			}
			return new(net.Dialer).DialContext(ctx, kind, address)
		},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 100,
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New("--ca: there is no certificate in the file")
		}
		network.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return network, nil
}

// transcript writes a line for every request. Queries are left out: they hold codes and states.
type transcript struct {
	next http.RoundTripper
	mu   sync.Mutex
	w    io.Writer
}

// RoundTrip implements http.RoundTripper.
func (t *transcript) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	answer := "no answer"
	if err == nil {
		answer = resp.Status
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, "%-4s %s://%s%s  %s\n", r.Method, r.URL.Scheme, r.URL.Host, r.URL.Path, answer)
	return resp, err
}
