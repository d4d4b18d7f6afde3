package doctor_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// redirectsToSlash redirects from each well-known URL to the same with a slash at the end, which has the
// metadata.
func redirectsToSlash(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/.well-known/") {
		return false
	}
	path, found := strings.CutSuffix(r.URL.Path, "/")
	if !found {
		w.Header().Set("Location", r.URL.Path+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return true
	}
	r.URL.Path = path
	return false
}

// hangUp returns an intercept that closes the connections of some requests without a response.
func hangUp(on func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if on(r) {
			panic(http.ErrAbortHandler) // makes net/http close the connection
		}
		return false
	}
}

// rewriteChallenge returns a rewrite that replaces text in the challenge.
func rewriteChallenge(old, replacement string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, w *httptest.ResponseRecorder) {
		if h := w.Header(); h.Get("WWW-Authenticate") != "" {
			h.Set("WWW-Authenticate", strings.Replace(h.Get("WWW-Authenticate"), old, replacement, 1))
		}
	}
}

// useIntrospection makes the server introspect opaque tokens with that client secret.
func useIntrospection(secret string) func(*testing.T, *env) {
	return func(_ *testing.T, e *env) {
		e.settings["provider.introspection"] = "opaque"
		e.settings["provider.client_id"] = "local-service"
		e.secret = secret
	}
}

// token returns an access token of the provider. It is requested without the network, which may have faults.
func (e *env) token(scopes string) string {
	e.t.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {scopes}, "resource": {e.settings["resource"]},
	}
	r := httptest.NewRequest(http.MethodPost, e.provider.URL+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("local-service", "canary-secret")
	w := httptest.NewRecorder()
	e.issuer.ServeHTTP(w, r)
	var response struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil || response.AccessToken == "" {
		e.t.Fatalf("the token endpoint answered %d %s", w.Code, w.Body)
	}
	return response.AccessToken
}

// newTLSServer returns the address of a listener that makes handshakes, and hangs up on everything else.
func newTLSServer(t *testing.T) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate(t, "127.0.0.1", time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_ = conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// sshBanner is what an SSH server sends first.
const sshBanner = "SSH-2.0-OpenSSH_10.0\r\n"

// newBannerServer returns the address of a listener that sends a text before it reads anything.
func newBannerServer(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			// net/http reports an answer as such only after it has written its request.
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = conn.Read(make([]byte, 1))
			_, _ = conn.Write([]byte(text))
			_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}
