package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// dialer connects to the host of one URL. Every address that the host resolves to is checked before the first
// connection, and the address of each connection once more when the socket is made: an upstream cannot move to an
// address that the rules forbid, whatever its DNS says in between.
type dialer struct {
	check   func(netip.Addr) error
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)
}

const dialTimeout = 10 * time.Second

func newDialer(isHTTPS bool) *dialer {
	d := &dialer{check: func(addr netip.Addr) error { return checkAddress(addr, isHTTPS) }}
	d.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	d.connect = (&net.Dialer{Timeout: dialTimeout, Control: d.control}).DialContext
	return d
}

// control refuses a socket to an address that the rules forbid.
func (d *dialer) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return d.check(to.Addr())
}

// dial is the DialContext of a transport.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := d.allowed(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		conn, err := d.connect(ctx, network, net.JoinHostPort(addr.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// allowed returns the addresses of a host, each of which must be allowed.
func (d *dialer) allowed(ctx context.Context, host string) ([]netip.Addr, error) {
	if isMetadataHost(host) {
		return nil, errForbiddenAddress
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if err := d.check(addr); err != nil {
			return nil, &AddressError{Host: host, Addr: addr, Err: err}
		}
	}
	return addrs, nil
}

func (d *dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := d.resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return addrs, err
}

// newTransport returns the transport for one URL: no proxy, because an upstream is reached directly or not at all, and
// no compression, which would hide how long a response becomes.
func newTransport(u *url.URL, d *dialer) *http.Transport {
	return &http.Transport{
		DialContext:            d.dial,
		DisableCompression:     true,
		ForceAttemptHTTP2:      u.Scheme == "https",
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: receiveBuffer},
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

const (
	maxIdleConns = 64
	// receiveBuffer is how much of a response is received before it is read. The default of HTTP/2 is 4 MiB, for each
	// response that waits in a [boundedBody].
	receiveBuffer = 64 << 10
)
