package broker

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// upstream is the company's provider behind a proxy, which counts, and stops for an outage without that the provider
// forgets anything.
type upstream struct {
	issuer  string
	control string
	seen    *secrets

	mu        sync.Mutex
	down      bool
	refreshes int
	// renewed is called once, between the answer to a refresh and its delivery.
	renewed func()
}

func startUpstream(t *testing.T, seen *secrets, secretFile, redirect string) *upstream {
	t.Helper()
	address, control := freeAddress(t), freeAddress(t)
	u := &upstream{seen: seen, control: "http://" + control}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host
		},
		ModifyResponse: u.read,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.isDown() {
			unavailable(w)
			return
		}
		u.count(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u.issuer = server.URL
	_, port, _ := net.SplitHostPort(address)
	_, controlPort, _ := net.SplitHostPort(control)
	p := run(t, *scripts, nil, "node", filepath.Join(*scripts, "idp.mjs"), "--port", port, "--control", controlPort,
		"--issuer", u.issuer, "--client-secret-file", secretFile, "--redirect", redirect)
	p.waitFor(t, "the provider answers", func() bool { return isReady(u.issuer + "/.well-known/openid-configuration") })
	return u
}

// count reads the form of a token request.
func (u *upstream) count(r *http.Request) {
	if r.URL.Path != "/token" {
		return
	}
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	form, _ := url.ParseQuery(string(raw))
	u.seen.addValues(form, "code", "code_verifier", "refresh_token", "client_secret")
	if form.Get("grant_type") == "refresh_token" {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.refreshes++
	}
}

// read remembers the tokens in an answer.
func (u *upstream) read(resp *http.Response) error {
	if resp.Request.URL.Path != "/token" {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	u.seen.addTokens("of the provider", raw)
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	u.mu.Lock()
	renewed := u.renewed
	if u.refreshes > 0 && json.Unmarshal(raw, &answer) == nil && answer.Refresh != "" {
		u.renewed = nil
	} else {
		renewed = nil
	}
	u.mu.Unlock()
	if renewed != nil {
		renewed()
	}
	return nil
}

func (u *upstream) onRenewal(do func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.renewed = do
}

func (u *upstream) setDown(down bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = down
}

func (u *upstream) isDown() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.down
}

// asked returns how many refreshes the provider was asked for.
func (u *upstream) asked() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refreshes
}

func (u *upstream) disable(t *testing.T, account string) {
	t.Helper()
	resp, err := http.Post(u.control+"/disable?account="+account, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}
