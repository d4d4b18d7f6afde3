package token

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// handlers responds to each path by its function, without a network.
type handlers map[string]roundTripper

type roundTripper func(*http.Request) (*http.Response, error)

func (h handlers) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer, ok := h[r.URL.Path]; ok {
		return answer(r)
	}
	return respond(http.StatusNotFound, "")(r)
}

func respond(status int, body string, header ...string) roundTripper {
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

// The time of discovery does not reduce that of the fetch, nor one metadata URL that of the next.
func TestDiscoveryLeavesTimeForTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(r *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			return respond(200, `{"keys":[{"kty":"OKP","crv":"Ed25519",`+
				`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)(r)
		}
		client := NewClient(handlers{
			"/.well-known/oauth-authorization-server/main": hang,
			"/main/.well-known/oauth-authorization-server": hang,
			"/main/.well-known/openid-configuration": respond(200,
				`{"issuer":"https://id.example/main","jwks_uri":"https://id.example/keys"}`), "/keys": slow,
		}, "")
		d := Discovery{Issuers: []string{"https://id.example/main"},
			MetadataURLs: MetadataURLs("https://id.example/main"), Client: client}
		keys := NewKeySet(KeySource{URL: d.KeysURL, Timeout: d.Timeout(), Client: client}, KeyPolicy{},
			slog.New(slog.DiscardHandler))
		if err := keys.refresh(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
}

func TestDiscoveryIsBusyIfAllURLsAre(t *testing.T) {
	const issuer = "https://id.example"
	const first, second = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	for name, c := range map[string]struct {
		responses handlers
		busy      time.Duration
	}{
		"all of them": {handlers{first: respond(503, "", "Retry-After", "10"),
			second: respond(429, "", "Retry-After", "60")}, time.Minute},
		"one, the other gone": {handlers{first: respond(503, "", "Retry-After", "3600")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := Discovery{Issuers: []string{issuer}, MetadataURLs: MetadataURLs(issuer),
				Client: NewClient(c.responses, "")}
			_, err := d.KeysURL(t.Context())
			var busy *retryAfterError
			if found := errors.As(err, &busy); err == nil || found != (c.busy > 0) ||
				found && busy.retryAfter != c.busy {
				t.Errorf("%v", err)
			}
			if c.busy == 0 && !strings.Contains(fmt.Sprint(err), "the issuer answered 503") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestClientSendsUserAgent(t *testing.T) {
	seen := map[string][2]string{}
	note := func(answer roundTripper) roundTripper {
		return func(r *http.Request) (*http.Response, error) {
			seen[r.URL.Path] = [2]string{r.Header.Get("User-Agent"), r.Header.Get("Accept")}
			return answer(r)
		}
	}
	client := NewClient(handlers{
		"/.well-known/oauth-authorization-server": note(respond(200,
			`{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}`)),
		"/keys": note(respond(200,
			`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)),
		"/introspect": note(respond(200, `{"active":false}`)),
	}, "gatehouse/1.2.3")
	d := Discovery{Issuers: []string{"https://id.example"}, MetadataURLs: MetadataURLs("https://id.example"),
		Client: client}
	keys := NewKeySet(KeySource{URL: d.KeysURL, Client: client}, KeyPolicy{}, slog.New(slog.DiscardHandler))
	if err := keys.refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	i := NewIntrospector(t.Context(), RFC7662(NoAuthentication), StaticEndpoint("https://id.example/introspect"),
		client, Rules{}, 0, slog.New(slog.DiscardHandler))
	_, _ = i.Verify(t.Context(), "opaque")
	for path, accept := range map[string]string{
		"/.well-known/oauth-authorization-server": "application/json",
		"/keys": "application/jwk-set+json, application/json", "/introspect": "application/json",
	} {
		if got := seen[path]; got != [2]string{"gatehouse/1.2.3", accept} {
			t.Errorf("the request for %s has %q", path, got)
		}
	}
}
