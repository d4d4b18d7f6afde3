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

// network is the way to the provider and to the server: the same for the steps that are looked at one by one (name,
// connection, certificate) and for requests.
type network struct {
	resolver  *net.Resolver
	tls       *tls.Config
	transport *http.Transport
	userAgent string
}

func newNetwork(o Options) *network {
	n := &network{resolver: o.Resolver, userAgent: o.ServerInfo.UserAgent, tls: &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}}
	if n.resolver == nil {
		n.resolver = net.DefaultResolver
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment // as the server's own requests do
	}
	n.transport = &http.Transport{
		Proxy:             o.Proxy,
		DialContext:       n.dialer().DialContext,
		TLSClientConfig:   n.tls,
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	return n
}

func (n *network) close() { n.transport.CloseIdleConnections() }

func (n *network) dialer() *net.Dialer { return &net.Dialer{Resolver: n.resolver} }

// origin is a host that is asked, and why.
type origin struct {
	url *url.URL
	// settings are where its name comes from.
	settings []string
	// needed says that this server cannot do without it. Others are the clients' business: they may reach what cannot be
	// reached from here.
	needed bool
}

// originOf returns scheme, host and port of an address, without its path.
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

// viaProxy returns the host of the proxy that requests to u go through, or "".
func (n *network) viaProxy(u *url.URL) string {
	proxy, err := n.transport.Proxy(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host
}

// resolve looks the name up.
func (n *network) resolve(ctx context.Context, u *url.URL) (string, error) {
	addresses, err := n.resolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return "", errors.New(token.DescribeNetworkError(err))
	}
	more := ""
	if len(addresses) > 4 {
		addresses, more = addresses[:4], fmt.Sprintf(" and %d more", len(addresses)-4)
	}
	return strings.Join(addresses, ", ") + more, nil
}

// connect opens a connection and returns where to.
func (n *network) connect(ctx context.Context, u *url.URL) (where string, refused bool, err error) {
	conn, err := n.dialer().DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return "", errors.Is(err, syscall.ECONNREFUSED), errors.New(token.DescribeNetworkError(err))
	}
	defer conn.Close()
	return conn.RemoteAddr().String(), false, nil
}

// handshake makes TLS and returns its version and how long the certificate is good.
func (n *network) handshake(ctx context.Context, u *url.URL) (version string, until time.Time, err error) {
	config := n.tls.Clone()
	config.ServerName = u.Hostname()
	dialer := &tls.Dialer{NetDialer: n.dialer(), Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		var notTLS tls.RecordHeaderError
		if errors.As(err, &notTLS) {
			return "", time.Time{}, errors.New("it does not speak TLS")
		}
		return "", time.Time{}, errors.New(token.DescribeNetworkError(err))
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState() // of a tls.Dialer it is always one
	return tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter, nil
}

// answer is what came back of a request, as far as it was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

const maxAnswerBytes = 1 << 20

// request makes one request, without following redirects: where they lead is not what was asked for.
func (n *network) request(ctx context.Context, method, address, body string, header map[string]string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, errors.New("its address is not a URL")
	}
	if n.userAgent != "" {
		req.Header.Set("User-Agent", n.userAgent)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	client := &http.Client{Transport: n.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, errors.New(token.DescribeNetworkError(err))
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return answer{}, errors.New("it did not finish its answer")
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: content}, nil
}
