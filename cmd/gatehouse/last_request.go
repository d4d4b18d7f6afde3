package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// lastRequest is an http.RoundTripper that records the last request, so that a failure can be described
// without the errors of the SDK and of oauth2: they quote the response, which may contain secrets.
type lastRequest struct {
	next http.RoundTripper

	method, address string
	status          int   // 0 without a response
	err             error // why there is none
}

// RoundTrip implements http.RoundTripper. It is not safe for concurrent use; a sign-in makes one request at a time.
func (l *lastRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	l.method, l.status, l.err = r.Method, 0, err
	l.address = providers.RedactURL(r.URL.String())
	if err == nil {
		l.status = resp.StatusCode
	}
	return resp, err
}

// reset forgets the last request.
func (l *lastRequest) reset() { *l = lastRequest{next: l.next} }

// describe returns an error that describes at which request a sign-in failed with err. It contains nothing of
// err except the OAuth error code.
func (l *lastRequest) describe(err error) error {
	request := l.method + " " + providers.Quote(l.address)
	switch {
	case l.method == "":
		return errors.New("the authorization response does not belong to this sign-in, or is not from the provider " +
			"that the metadata names (state, iss)")
	case l.err != nil:
		return fmt.Errorf("%s: %s", request, token.DescribeNetworkError(l.err))
	case l.status >= http.StatusBadRequest:
		return fmt.Errorf("%s returned %d%s", request, l.status, errorCode(err))
	case l.method == http.MethodGet:
		return fmt.Errorf("%s returned %d, but a client cannot continue with the content; `gatehouse doctor` checks the "+
			"metadata, and a provider without dynamic client registration needs --client-id", request, l.status)
	default:
		return fmt.Errorf("%s returned %d, but content that a client cannot use%s", request, l.status, errorCode(err))
	}
}

// errorCode returns the error code in err (RFC 6749, section 5.2, or RFC 7591, section 3.2.2), or "".
func errorCode(err error) string {
	var (
		registration *oauthex.ClientRegistrationError
		token        *oauth2.RetrieveError
		code         string
	)
	switch {
	case errors.As(err, &registration):
		code = registration.ErrorCode
	case errors.As(err, &token):
		code = token.ErrorCode
	}
	if code == "" {
		return ""
	}
	return " with error " + providers.Quote(code)
}
