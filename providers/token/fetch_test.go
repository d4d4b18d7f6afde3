package token_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/providers/token"
)

// TestDescribeNetworkErrorNamesTheWrongScheme covers both ways to write the wrong scheme of an address.
func TestDescribeNetworkErrorNamesTheWrongScheme(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
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
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte{0x15, 3, 1, 0, 2, 2, 0x46}) // the alert protocol_version of a TLS server
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	client := token.NewClient(&http.Transport{DisableKeepAlives: true}, "")
	for address, want := range map[string]string{
		strings.Replace(plain.URL, "http:", "https:", 1): "it speaks plain http",
		"http://" + ln.Addr().String():                   "it speaks TLS",
	} {
		_, err := token.ReadMetadata(t.Context(), client, address)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

// TestDiscoveryNamesTheCauseFirst is about a slash that is too many: the document is found at the last URL,
// and no error before it matters.
func TestDiscoveryNamesTheCauseFirst(t *testing.T) {
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/main/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `/main"}`))
	}))
	t.Cleanup(server.Close)
	configured := server.URL + "/main/"
	_, err := token.Discovery{
		Issuers: []string{configured}, MetadataURLs: token.MetadataURLs(configured),
		Client: token.NewClient(&http.Transport{DisableKeepAlives: true}, ""),
	}.KeysURL(t.Context())
	want := "metadata at " + server.URL + "/main/.well-known/openid-configuration: " +
		"a slash at the end differs: its issuer is"
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "answered 404") != 2 {
		t.Errorf("%v, want %q first", err, want)
	}
}
