package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestCallbackPage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query string
		want  []string
	}{
		"code":  {"code=secret-code&state=s", []string{"<h1>Signed in</h1>", `role="status"`}},
		"error": {"error=x&error_description=secret-text", []string{"<h1>Sign-in refused</h1>", `role="alert"`}},
	} {
		s := signIn{callback: make(chan url.Values, 1)}
		w := httptest.NewRecorder()
		s.handleCallback(w, httptest.NewRequest(http.MethodGet, "/callback?"+c.query, nil))
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" ||
			w.Header().Get("Cache-Control") != "no-store" || len(s.callback) != 1 {
			t.Errorf("%s: status %d, header %v, %d responses", name, w.Code, w.Header(), len(s.callback))
		}
		for _, want := range c.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: the page lacks %q", name, want)
			}
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the page repeats the response: %s", name, w.Body)
		}
	}
}
