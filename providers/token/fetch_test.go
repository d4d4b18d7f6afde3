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
