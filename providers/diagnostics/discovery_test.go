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

// transport answers each path by its function, without a network.
type transport map[string]func(*http.Request) (*http.Response, error)

func (p transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer, ok := p[r.URL.Path]; ok {
		return answer(r)
	}
	return respond(http.StatusNotFound, "")(r)
}

func respond(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// The server and doctor find the same address, and no response hides that of the next URL.
func TestKeysURLSkipsUnusableResponses(t *testing.T) {
	const issuer, document = "https://id.example/main",
		`{"issuer":"https://id.example/main","jwks_uri":"https://id.example/keys"}`
	const first, second, third = "/.well-known/oauth-authorization-server/main",
		"/main/.well-known/oauth-authorization-server", "/main/.well-known/openid-configuration"
	for name, c := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		within time.Duration
	}{
		"503":             {respond(503, ""), 0},
		"503 for an hour": {respond(503, "", "Retry-After", "3600"), 0},
		"429 for an hour": {respond(429, "", "Retry-After", "3600"), 0},
		"500":             {respond(500, ""), 0},
		"406":             {respond(406, ""), 0},
		"401":             {respond(401, ""), 0},
		"a redirect":      {respond(302, "", "Location", "https://other.example/"), 0},
		"HTML":            {respond(200, "<p>"), 0},
		"another issuer": {respond(200,
			`{"issuer":"https://other.example","jwks_uri":"https://other.example/keys"}`), 0},
		"no keys":                    {respond(200, `{"issuer":"https://id.example/main"}`), 0},
		"keys that are not a string": {respond(200, `{"issuer":"https://id.example/main","jwks_uri":7}`), 0},
		"another member of the wrong type": {respond(200,
			`{"issuer":"https://id.example/main","introspection_endpoint":7,"jwks_uri":"https://id.example/keys"}`),
			0},
		"keys over plain http": {respond(200,
			`{"issuer":"https://id.example/main","jwks_uri":"http://id.example/keys"}`), 0},
		"no response": {hang, 2 * 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := token.NewClient(transport{first: c.answer, second: c.answer, third: respond(200, document)},
					"")
				d := token.Discovery{Issuers: []string{issuer}, MetadataURLs: token.MetadataURLs(issuer),
					Client: client}
				begin := time.Now()
				address, err := d.KeysURL(t.Context())
				if took := time.Since(begin); address != "https://id.example/keys" || took > c.within {
					t.Errorf("%q, %v after %s", address, err, took)
				}
				p := diagnostics.NewProber(diagnostics.Diagnosis{},
					transport{first: c.answer, second: c.answer, third: respond(200, document)}, "")
				a := diagnostics.Authority{MetadataURLs: d.MetadataURLs, Issuers: d.Issuers}
				if same, err := p.KeysURL(a, p.Discover(t.Context(), a)); same != address {
					t.Errorf("the prober finds %q, %v", same, err)
				}
			})
		})
	}
}
