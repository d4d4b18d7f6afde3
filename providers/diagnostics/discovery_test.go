package diagnostics_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// places answers each path by its function, without a network.
type places map[string]func(*http.Request) (*http.Response, error)

func (p places) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer, ok := p[r.URL.Path]; ok {
		return answer(r)
	}
	return says(http.StatusNotFound, "")(r)
}

func says(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// The server and an examination of its provider find the same address.
func TestNoPlaceHidesTheNext(t *testing.T) {
	const issuer, document = "https://id.example/main", `{"issuer":"https://id.example/main","jwks_uri":"https://id.example/keys"}`
	const first, second, third = "/.well-known/oauth-authorization-server/main", "/main/.well-known/oauth-authorization-server", "/main/.well-known/openid-configuration"
	for name, c := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		within time.Duration
	}{
		"busy with 503":             {says(503, ""), 0},
		"busy for an hour":          {says(503, "", "Retry-After", "3600"), 0},
		"busy with 429":             {says(429, "", "Retry-After", "3600"), 0},
		"broken":                    {says(500, ""), 0},
		"that answers 406":          {says(406, ""), 0},
		"that answers 401":          {says(401, ""), 0},
		"that redirects":            {says(302, "", "Location", "https://other.example/"), 0},
		"with a page":               {says(200, "<p>"), 0},
		"of another issuer":         {says(200, `{"issuer":"https://other.example","jwks_uri":"https://other.example/keys"}`), 0},
		"without keys":              {says(200, `{"issuer":"https://id.example/main"}`), 0},
		"whose keys are no text":    {says(200, `{"issuer":"https://id.example/main","jwks_uri":7}`), 0},
		"with an odd other member":  {says(200, `{"issuer":"https://id.example/main","introspection_endpoint":7,"jwks_uri":"https://id.example/keys"}`), 0},
		"whose keys are plain http": {says(200, `{"issuer":"https://id.example/main","jwks_uri":"http://id.example/keys"}`), 0},
		"that hangs":                {hangs, 2 * 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := token.NewClient(places{first: c.answer, second: c.answer, third: says(200, document)}, "")
				d := token.Discovery{Issuers: []string{issuer}, MetadataURLs: token.MetadataURLs(issuer), Client: client}
				begin := time.Now()
				address, err := d.KeysURL(t.Context())
				if took := time.Since(begin); address != "https://id.example/keys" || took > c.within {
					t.Errorf("%q, %v after %s", address, err, took)
				}
				e := diagnostics.NewProber(diagnostics.Diagnosis{}, places{first: c.answer, second: c.answer, third: says(200, document)}, "")
				a := diagnostics.Authority{MetadataURLs: d.MetadataURLs, Issuers: d.Issuers}
				if same, err := e.KeysURL(a, e.Discover(t.Context(), a)); same != address {
					t.Errorf("an examination finds %q, %v", same, err)
				}
			})
		})
	}
}
