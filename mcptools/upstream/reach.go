package upstream

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
)

// AddressError means that the host of a URL resolves to an address at which an upstream must not be.
type AddressError struct {
	Host string
	Addr netip.Addr
	// Err says why.
	Err error
}

// Error implements error.
func (e *AddressError) Error() string {
	return e.Host + " resolves to " + e.Addr.String() + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *AddressError) Unwrap() error { return e.Err }

// Reached is how the URL of an upstream answers a GET, which most upstreams refuse.
type Reached struct {
	Addresses []netip.Addr
	Status    int
	// Location is that of a redirect. It may contain anything.
	Location string
}

// Reach connects to the URL of an upstream as each connection to it is made, and sends a GET without a credential. The
// error is an *[AddressError] if an address is not allowed, and otherwise that of the network.
func Reach(ctx context.Context, s Settings, o Options) (*Reached, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	d := o.withDefaults().dialer(u.Scheme == "https")
	addrs, err := d.allowed(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	transport := newTransport(u, d)
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json") // not an event stream, which would stay open
	r.Header.Set("User-Agent", newClient(o.Version).userAgent)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	reached := &Reached{Addresses: addrs, Status: resp.StatusCode}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		reached.Location = resp.Header.Get("Location")
	}
	return reached, nil
}
