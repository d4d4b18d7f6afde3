package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"gatehouse/providers"
)

const (
	// fetchTimeout bounds one request to an issuer.
	fetchTimeout = 5 * time.Second

	// maxErrorBytes bounds the text of an error of the network.
	maxErrorBytes = 200

	acceptJSON = "application/json"
)

// retryAfterError is a 429 or 503 from the issuer.
type retryAfterError struct {
	status     int
	retryAfter time.Duration
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("the issuer answered %d", e.status) }

// RedirectError is an answer that leads elsewhere. Its text is fixed; location is what the issuer sent.
type RedirectError struct {
	host     string
	status   int
	Location string
}

// Error implements error.
func (e *RedirectError) Error() string { return fmt.Sprintf("%s answered %d", e.host, e.status) }

// NewClient returns a client for requests to an issuer: bounded in time, and without redirects, because a redirect
// to another host would let that host choose our keys. A nil transport means the network. userAgent is the User-Agent of
// every request (RFC 9110, section 10.1.5); empty means that of the library.
func NewClient(transport http.RoundTripper, userAgent string) *http.Client {
	return &http.Client{
		Transport:     identified{transport, userAgent},
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// identified sets the User-Agent of requests that have none.
type identified struct {
	next      http.RoundTripper // nil means the network
	userAgent string
}

// RoundTrip implements http.RoundTripper, which forbids to change the request.
func (t identified) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.userAgent != "" && r.Header.Get("User-Agent") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", t.userAgent)
	}
	if t.next == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	return t.next.RoundTrip(r)
}

// StaticURL is a [KeySource.URL] that is known from the start.
func StaticURL(u string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return u, nil }
}

// getDocument makes one GET request and returns the body of a 200 answer, at most limit bytes. It takes at most fetchTimeout,
// whichever client it is.
func getDocument(ctx context.Context, client *http.Client, address, accept string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Cache-Control", "no-cache") // a cache on the way must not hide a rotation
	resp, body, err := answerTo(client, req, limit)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, &RedirectError{host: req.URL.Host, status: resp.StatusCode, Location: locationOf(resp)}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %d", req.URL.Host, resp.StatusCode)
	}
	return body, nil
}

// locationOf is where a redirect leads, as an absolute address without what may be a secret: user, query and fragment. It is
// empty if that cannot be read.
func locationOf(resp *http.Response) string {
	target, err := resp.Location()
	if err != nil {
		return ""
	}
	return providers.RedactURL(target.String())
}

// Do makes one request for JSON and returns the status and at most limit bytes of the body. That the other side is
// busy is an error, a [retryAfterError]; every other status is the caller's to judge.
func Do(client *http.Client, req *http.Request, limit int64) (status int, body []byte, err error) {
	got, err := send(client, req, limit)
	return got.status, got.body, err
}

// reply is an answer of an issuer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send is [Do] with the header of the answer.
func send(client *http.Client, req *http.Request, limit int64) (reply, error) {
	req.Header.Set("Accept", acceptJSON)
	resp, body, err := answerTo(client, req, limit)
	if err != nil {
		return reply{}, err
	}
	return reply{resp.StatusCode, resp.Header, body}, nil
}

// answerTo makes one request and reads the answer, of which the body is closed.
func answerTo(client *http.Client, req *http.Request, limit int64) (*http.Response, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%s cannot be asked: %s", req.URL.Host, DescribeNetworkError(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		seconds = min(max(seconds, 0), 24*60*60) // more would overflow
		return nil, nil, &retryAfterError{status: resp.StatusCode, retryAfter: time.Duration(seconds) * time.Second}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s did not finish its answer", req.URL.Host)
	}
	if int64(len(body)) > limit {
		return nil, nil, fmt.Errorf("the answer of %s is larger than %d bytes", req.URL.Host, limit)
	}
	return resp, body, nil
}

// DescribeNetworkError describes why a request failed. Only errors of the network speak for themselves; others may quote what the
// other side sent, such as the names in its certificate.
func DescribeNetworkError(err error) string {
	var (
		network     *net.OpError
		name        *net.DNSError
		otherHost   x509.HostnameError
		authority   x509.UnknownAuthorityError
		certificate *tls.CertificateVerificationError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.As(err, &otherHost):
		return "its certificate is for another host"
	case errors.As(err, &authority):
		return "its certificate is from an authority that is not trusted here"
	case errors.As(err, &certificate):
		return "its certificate does not hold; it may have expired"
	case errors.As(err, &network):
		text := network.Error()
		return text[:min(len(text), maxErrorBytes)] // a proxy has its say in it
	default:
		return "no usable answer"
	}
}
