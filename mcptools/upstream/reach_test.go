package upstream

import (
	"errors"
	"net/http"
	"slices"
	"testing"
)

// Doctor's look at a URL follows the rules of each connection, and says which address is not allowed.
func TestReach_Addresses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url    string
		dns    []string
		dialed []string
		bad    string
	}{
		"private":            {"http://a.test", []string{"10.0.0.1"}, []string{"10.0.0.1:80"}, ""},
		"public by http":     {"http://a.test", []string{"10.0.0.1", "192.0.2.1"}, nil, "192.0.2.1"},
		"metadata by https":  {"https://a.test", []string{"169.254.169.254"}, nil, "169.254.169.254"},
		"metadata, embedded": {"https://a.test", []string{"::ffff:169.254.169.254"}, nil, "::ffff:169.254.169.254"},
	} {
		fake := &fakeDialer{answers: [][]string{c.dns}}
		_, err := Reach(t.Context(), remote(c.url), Options{dialer: fake.dialer})
		forbidden, isForbidden := errors.AsType[*AddressError](err)
		if err == nil || isForbidden != (c.bad != "") || isForbidden && forbidden.Addr.String() != c.bad ||
			!slices.Equal(fake.dialed, c.dialed) {
			t.Errorf("%s: %v after connections to %v", name, err, fake.dialed)
		}
	}
}

// A redirect is reported, not followed, and no credential is sent.
func TestReach_Redirect(t *testing.T) {
	t.Parallel()
	var headers []http.Header
	server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers = append(headers, r.Header)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	s := remote(server.URL)
	s.Authorization = "hunter2"
	reached, err := Reach(t.Context(), s, Options{Version: "9"})
	if err != nil || reached.Status != 307 || reached.Location != "/elsewhere" || len(reached.Addresses) != 1 {
		t.Fatalf("%+v, %v", reached, err)
	}
	if len(headers) != 1 || headers[0].Get("Authorization") != "" || headers[0].Get("User-Agent") != "gatehouse/9" {
		t.Errorf("the requests are %v", headers)
	}
}
