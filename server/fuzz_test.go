package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/providers"
)

// Every Authorization header is either one token of the form that RFC 6750 allows, or rejected with a known status;
// no part of it is in the response.
func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "bearer a.b.c", "Bearer a b", "Bearer a,b",
		"Basic YQ==", "Bearer \x00", "Bearer a==", "Bearer =", "BEARER  a", "Bearer\ta", "Bearer a\r\nX: y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		token, err := bearerToken(http.Header{"Authorization": {field}})
		if err == nil {
			if token == "" || strings.ContainsAny(token, " ,\"\r\n\t\x00") || !strings.HasSuffix(field, token) {
				t.Errorf("%q gave the token %q", field, token)
			}
			return
		}
		var r *httpError
		if !errors.As(err, &r) || r.status != http.StatusUnauthorized && r.status != http.StatusBadRequest ||
			token != "" {
			t.Errorf("%q gave %v, %q", field, err, token)
		}
		if r.cause != nil && len(field) > 12 && strings.Contains(r.cause.Error(), field) {
			t.Errorf("the log would contain %q", field)
		}
	})
}

// Row 26 of the threat model: for every scope and text, the result is one well-formed challenge with exactly the
// expected parameters.
func FuzzChallenge(f *testing.F) {
	f.Add("mcp:use", "insufficient_scope", "text")
	f.Add(`a"b\c`, "e", "a, error=\"x\"")
	f.Add("a\r\nX-Evil: 1", "", "\x00\x7f")
	f.Add(`", realm="evil`, "x", "é")
	resource, err := providers.ParseResource("https://mcp.example.com/mcp")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, scope, code, text string) {
		header := newChallenger(Config{Resource: resource},
			nil).header(&httpError{code: code, description: text, scopes: []string{scope}})
		if strings.ContainsAny(header, "\r\n\x00") {
			t.Fatalf("the header would break: %q", header)
		}
		if strings.ContainsFunc(scope+code+text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return // what a header cannot carry was dropped, so the values differ
		}
		challenges, err := oauthex.ParseWWWAuthenticate([]string{header})
		if err != nil || len(challenges) != 1 {
			t.Fatalf("%q cannot be parsed: %v, %d challenges", header, err, len(challenges))
		}
		want := map[string]string{"realm": "OAuth", "resource_metadata": resource.MetadataURL()}
		if code != "" {
			want["error"] = code
			if text != "" {
				want["error_description"] = text
			}
		}
		if scope != "" {
			want["scope"] = scope
		}
		for name, value := range want {
			if got := challenges[0].Params[name]; got != value {
				t.Errorf("%s is %q, want %q, in %q", name, got, value, header)
			}
		}
		if len(challenges[0].Params) != len(want) {
			t.Errorf("%d parameters, want %d: %q", len(challenges[0].Params), len(want), header)
		}
	})
}

// Origins match if their URLs are equal, and only valid origins match.
func FuzzOriginMatcher(f *testing.F) {
	for _, origin := range []string{"https://app.example", "https://app.example:443",
		"http://localhost:80:80", "null", "", "://", "http://[::1]:80", "http://localhost:80"} {
		f.Add(origin)
	}
	allowed := originMatcher([]string{"https://app.example", "http://localhost:*", "http://[::1]:*"})
	f.Fuzz(func(t *testing.T, origin string) {
		if !allowed(origin) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || origin != u.Scheme+"://"+u.Host {
			t.Fatalf("%q is no origin", origin)
		}
		switch {
		case u.Scheme == "https" && u.Hostname() == "app.example" && (u.Port() == "" || u.Port() == "443"):
		case u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "::1"):
		default:
			t.Fatalf("%q is allowed", origin)
		}
	})
}
