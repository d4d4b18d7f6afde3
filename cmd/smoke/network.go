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

// newNetwork returns a transport that connects to other addresses than the URLs name, as with curl's
// --connect-to: inside the network of a stack the public addresses are not reachable, but tokens, metadata
// and certificates name them. It uses no proxy.
func newNetwork(connectTo []string, caFile string) (*http.Transport, error) {
	addresses := map[string]string{}
	for _, entry := range connectTo {
		public, private, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("--connect-to %q is not HOST:PORT=HOST:PORT", entry)
		}
		addresses[public] = private
	}
	network := &http.Transport{
		DialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			if other, ok := addresses[address]; ok {
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
			return nil, errors.New("--ca: the file has no certificate")
		}
		network.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return network, nil
}

// transcript writes a line for every request, without the query, which may have a code or a state.
type transcript struct {
	next http.RoundTripper
	mu   sync.Mutex
	w    io.Writer
}

// RoundTrip implements http.RoundTripper.
func (t *transcript) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	outcome := "no response"
	if err == nil {
		outcome = resp.Status
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, "%-4s %s://%s%s  %s\n", r.Method, r.URL.Scheme, r.URL.Host, r.URL.Path, outcome)
	return resp, err
}
