package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"gatehouse/providers/token"
)

// network connects to the provider and to the server. The single steps (name, connection, certificate) and the
// requests use the same resolver and the same trusted certificates.
type network struct {
	resolver  *net.Resolver
	tls       *tls.Config
	transport *http.Transport
	userAgent string
}

func newNetwork(c Config) *network {
	n := &network{
		resolver: c.Resolver, userAgent: c.ServerInfo.UserAgent,
		tls: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
	}
	if n.resolver == nil {
		n.resolver = net.DefaultResolver
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment // as for the server's own requests
	}
	n.transport = &http.Transport{
		Proxy:             c.Proxy,
		DialContext:       n.dialer().DialContext,
		TLSClientConfig:   n.tls,
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	return n
}

func (n *network) close() { n.transport.CloseIdleConnections() }

func (n *network) dialer() *net.Dialer { return &net.Dialer{Resolver: n.resolver} }

// origin is the origin of an address in the configuration.
type origin struct {
	url *url.URL
	// settings are where it comes from.
	settings []string
	// needed is set if this server sends requests there. Other origins are for clients, which may reach hosts
	// that this computer cannot.
	needed bool
}

// originOf returns the scheme, host and port of an address.
func originOf(address string) (*url.URL, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, false
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, true
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// proxyFor returns the host of the proxy for requests to u, or "".
func (n *network) proxyFor(u *url.URL) string {
	proxy, err := n.transport.Proxy(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host
}

const maxShownAddresses = 4

func (n *network) resolve(ctx context.Context, u *url.URL) (addresses string, err error) {
	list, err := n.resolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return "", errors.New(token.DescribeNetworkError(err))
	}
	more := ""
	if len(list) > maxShownAddresses {
		list, more = list[:maxShownAddresses], fmt.Sprintf(" and %d more", len(list)-maxShownAddresses)
	}
	return strings.Join(list, ", ") + more, nil
}

// connect opens a connection and returns the address of the other side.
func (n *network) connect(ctx context.Context, u *url.URL) (remote string, refused bool, err error) {
	conn, err := n.dialer().DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return "", errors.Is(err, syscall.ECONNREFUSED), errors.New(token.DescribeNetworkError(err))
	}
	defer conn.Close()
	return conn.RemoteAddr().String(), false, nil
}

// handshake makes a TLS handshake and returns the TLS version and when the certificate expires.
func (n *network) handshake(ctx context.Context, u *url.URL) (version string, expires time.Time, err error) {
	config := n.tls.Clone()
	config.ServerName = u.Hostname()
	dialer := &tls.Dialer{NetDialer: n.dialer(), Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		if notTLS, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			if string(notTLS.RecordHeader[:]) == "HTTP/" {
				return "", time.Time{}, errPlainHTTP
			}
			return "", time.Time{}, errors.New("it does not speak TLS")
		}
		return "", time.Time{}, errors.New(token.DescribeNetworkError(err))
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState() // documented type of a tls.Dialer's connections
	return tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter, nil
}

// errPlainHTTP is the error of a handshake with a server that speaks plain http.
var errPlainHTTP = errors.New("it does not speak TLS, but plain http")

// isTLS reports whether the other side speaks TLS, whatever its certificate.
func (n *network) isTLS(ctx context.Context, u *url.URL) bool {
	dialer := &tls.Dialer{NetDialer: n.dialer(), Config: &tls.Config{
		ServerName: u.Hostname(), InsecureSkipVerify: true, // nothing is sent
	}}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// response is an HTTP response of which at most maxResponseBytes of the body were read.
type response struct {
	status int
	header http.Header
	body   []byte
}

const maxResponseBytes = 1 << 20

// request makes one request. Redirects are not followed: their targets are not what is checked.
func (n *network) request(
	ctx context.Context, method, address, body string, header map[string]string,
) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return response{}, errors.New("its address is not a URL")
	}
	if n.userAgent != "" {
		req.Header.Set("User-Agent", n.userAgent)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	keepRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Transport: n.transport, CheckRedirect: keepRedirect}
	resp, err := client.Do(req)
	if err != nil {
		return response{}, errors.New(token.DescribeNetworkError(err))
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes))
	if err != nil {
		return response{}, errors.New("its response was not complete")
	}
	return response{status: resp.StatusCode, header: resp.Header, body: content}, nil
}
