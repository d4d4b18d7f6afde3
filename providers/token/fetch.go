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
	"strings"
	"time"

	"gatehouse/providers"
)

const (
	// fetchTimeout bounds one request to an issuer.
	fetchTimeout = 5 * time.Second

	// maxErrorBytes bounds the text of a network error.
	maxErrorBytes = 200

	acceptJSON = "application/json"
)

// retryAfterError is a 429 or 503 from the issuer.
type retryAfterError struct {
	status     int
	retryAfter time.Duration
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("the issuer answered %d", e.status) }

// RetryAfter returns the Retry-After of a 429 or 503 that [Do] returned as an error, 0 if the response had none. ok is
// false for other errors.
func RetryAfter(err error) (wait time.Duration, ok bool) {
	busy, ok := errors.AsType[*retryAfterError](err)
	if !ok {
		return 0, false
	}
	return busy.retryAfter, true
}

// RedirectError is a redirect, which is not followed. Its text does not contain Location, which the issuer
// chose.
type RedirectError struct {
	host     string
	status   int
	Location string
}

// Error implements error.
func (e *RedirectError) Error() string { return fmt.Sprintf("%s answered %d", e.host, e.status) }

// NewClient returns a client for requests to an issuer. It has a timeout and does not follow redirects: a
// redirect to another host would let that host choose the keys. A nil transport means http.DefaultTransport.
// userAgent is the User-Agent of every request (RFC 9110, section 10.1.5); empty means that of net/http.
func NewClient(transport http.RoundTripper, userAgent string) *http.Client {
	return &http.Client{
		Transport:     userAgentTransport{transport, userAgent},
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// userAgentTransport sets the User-Agent of requests that have none.
type userAgentTransport struct {
	next      http.RoundTripper // nil means http.DefaultTransport
	userAgent string
}

// RoundTrip implements http.RoundTripper. It clones the request, which it must not modify.
func (t userAgentTransport) RoundTrip(r *http.Request) (*http.Response, error) {
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

// getDocument makes one GET request, within fetchTimeout, and returns the body of a 200 response, at most
// limit bytes.
func getDocument(
	ctx context.Context, client *http.Client, address, accept string, limit int64,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Cache-Control", "no-cache") // a proxy must not hide a rotation of keys
	resp, body, err := do(client, req, limit)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, &RedirectError{host: req.URL.Host, status: resp.StatusCode, Location: redirectTarget(resp)}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %d", req.URL.Host, resp.StatusCode)
	}
	return body, nil
}

// redirectTarget returns the target of a redirect as an absolute URL, without user, query and fragment, which
// may be secret. It returns "" if the target cannot be parsed.
func redirectTarget(resp *http.Response) string {
	target, err := resp.Location()
	if err != nil {
		return ""
	}
	return providers.RedactURL(target.String())
}

// Do makes one request for JSON and returns the status and the body, at most limit bytes. A 429 or 503 is an
// error; every other status is returned.
func Do(client *http.Client, req *http.Request, limit int64) (status int, body []byte, err error) {
	resp, err := doJSON(client, req, limit)
	return resp.status, resp.body, err
}

// response is a response of an issuer.
type response struct {
	status int
	header http.Header
	body   []byte
}

// doJSON is [Do] with the header of the response.
func doJSON(client *http.Client, req *http.Request, limit int64) (response, error) {
	req.Header.Set("Accept", acceptJSON)
	resp, body, err := do(client, req, limit)
	if err != nil {
		return response{}, err
	}
	return response{resp.StatusCode, resp.Header, body}, nil
}

// do makes one request and reads the body of the response, which it closes. A 429 or 503 is a
// [retryAfterError].
func do(client *http.Client, req *http.Request, limit int64) (*http.Response, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%s cannot be reached: %s", req.URL.Host, DescribeNetworkError(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		seconds = min(max(seconds, 0), 24*60*60) // more would overflow
		return nil, nil, &retryAfterError{status: resp.StatusCode, retryAfter: time.Duration(seconds) * time.Second}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s did not complete its response", req.URL.Host)
	}
	if int64(len(body)) > limit {
		return nil, nil, fmt.Errorf("the response of %s is larger than %d bytes", req.URL.Host, limit)
	}
	return resp, body, nil
}

// DescribeNetworkError describes why a request failed, without text from the peer: other errors than those of
// the network may quote it, such as the names in a certificate.
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
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks plain http, and its address is https"
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // a TLS alert (RFC 8446, section 5.1)
		return "it speaks TLS, and its address is http"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.As(err, &otherHost):
		return "its certificate is for another host"
	case errors.As(err, &authority):
		return "its certificate is from an authority that is not trusted here"
	case errors.As(err, &certificate):
		return "its certificate is not valid; it may have expired"
	case errors.As(err, &network):
		text := network.Error()
		return text[:min(len(text), maxErrorBytes)] // a proxy may be part of it
	default:
		return "no usable answer"
	}
}
