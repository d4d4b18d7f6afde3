package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// witness notes the last request that a client made and how it ended, so that a failure can be told in our own words: the
// errors of the SDK and of oauth2 quote whole answers, and nobody knows what the other side puts into those.
type witness struct {
	next http.RoundTripper

	method, address string
	status          int   // 0 if there was no answer
	err             error // why there was none
}

// RoundTrip implements http.RoundTripper. The sign-in makes one request after the other.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	w.method, w.status, w.err = r.Method, 0, err
	// A query may hold what is nobody's business.
	w.address = (&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path}).String()
	if err == nil {
		w.status = resp.StatusCode
	}
	return resp, err
}

// forget makes room for what comes next.
func (w *witness) forget() { *w = witness{next: w.next} }

// tell says where a sign-in ended with err, of which it takes the OAuth error code only.
func (w *witness) tell(err error) error {
	exchange := w.method + " " + providers.Quote(w.address)
	switch {
	case w.method == "":
		return errors.New("what came back from the browser does not belong to this sign-in, or is not from the provider whose metadata was read (state, iss)")
	case w.err != nil:
		return fmt.Errorf("%s: %s", exchange, token.DescribeNetworkError(w.err))
	case w.status >= http.StatusBadRequest:
		return fmt.Errorf("%s answered %d%s", exchange, w.status, oauthCode(err))
	case w.method == http.MethodGet:
		return fmt.Errorf("%s answered %d, but with nothing on which a client can go on; `gatehouse doctor` looks at the metadata, and a provider that registers nobody on the spot needs --client-id", exchange, w.status)
	default:
		return fmt.Errorf("%s answered %d, but with nothing that a client can use%s", exchange, w.status, oauthCode(err))
	}
}

// oauthCode is the error code of RFC 6749, section 5.2, or RFC 7591, section 3.2.2, if there is one.
func oauthCode(err error) string {
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
