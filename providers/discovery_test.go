package providers

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
		"that hangs":                {hangs, 2 * fetchTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFetchClient(places{first: c.answer, second: c.answer, third: says(200, document)}, "")
				d := discovery{issuers: []string{issuer}, places: wellKnownPlaces(issuer), client: client}
				begin := time.Now()
				address, err := d.keysURL(t.Context())
				if took := time.Since(begin); address != "https://id.example/keys" || took > c.within {
					t.Errorf("%q, %v after %s", address, err, took)
				}
				e := NewExaminer(Diagnosis{}, places{first: c.answer, second: c.answer, third: says(200, document)}, "")
				a := Authority{Places: d.places, Issuers: d.issuers}
				if same, err := e.KeysURL(a, e.Discover(t.Context(), a)); same != address {
					t.Errorf("an examination finds %q, %v", same, err)
				}
			})
		})
	}
}

// The time of the search takes nothing from the fetch of the keys, nor one place from another.
func TestPlacesThatHangLeaveTimeForTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(r *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			return says(200, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)(r)
		}
		client := newFetchClient(places{
			"/.well-known/oauth-authorization-server/main": hangs, "/main/.well-known/oauth-authorization-server": hangs,
			"/main/.well-known/openid-configuration": says(200, `{"issuer":"https://id.example/main","jwks_uri":"https://id.example/keys"}`), "/keys": slow,
		}, "")
		d := discovery{issuers: []string{"https://id.example/main"}, places: wellKnownPlaces("https://id.example/main"), client: client}
		keys := NewKeySet(KeySource{URL: d.keysURL, Patience: d.patience(), Client: client}, KeyPolicy{}, slog.New(slog.DiscardHandler))
		if err := keys.refresh(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
}

func TestAnIssuerIsBusyIfAllItsPlacesAre(t *testing.T) {
	const issuer = "https://id.example"
	const first, second = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	for name, c := range map[string]struct {
		answers places
		busy    time.Duration
	}{
		"all of them":         {places{first: says(503, "", "Retry-After", "10"), second: says(429, "", "Retry-After", "60")}, time.Minute},
		"one, the other gone": {places{first: says(503, "", "Retry-After", "3600")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := discovery{issuers: []string{issuer}, places: wellKnownPlaces(issuer), client: newFetchClient(c.answers, "")}
			_, err := d.keysURL(t.Context())
			var busy *busyError
			if found := errors.As(err, &busy); err == nil || found != (c.busy > 0) || found && busy.retryAfter != c.busy {
				t.Errorf("%v", err)
			}
			if c.busy == 0 && !strings.Contains(fmt.Sprint(err), "the issuer answered 503") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestRequestsToAProviderSayWhoTheyAreFrom(t *testing.T) {
	seen := map[string][2]string{}
	note := func(answer func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			seen[r.URL.Path] = [2]string{r.Header.Get("User-Agent"), r.Header.Get("Accept")}
			return answer(r)
		}
	}
	client := newFetchClient(places{
		"/.well-known/oauth-authorization-server": note(says(200, `{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}`)),
		"/keys":       note(says(200, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)),
		"/introspect": note(says(200, `{"active":false}`)),
	}, "gatehouse/1.2.3")
	d := discovery{issuers: []string{"https://id.example"}, places: wellKnownPlaces("https://id.example"), client: client}
	keys := NewKeySet(KeySource{URL: d.keysURL, Client: client}, KeyPolicy{}, slog.New(slog.DiscardHandler))
	if err := keys.refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	i := newIntrospector(t.Context(), newRFC7662(anonymous), locatedAt("https://id.example/introspect"), client, Rules{}, 0, slog.New(slog.DiscardHandler))
	_, _ = i.Verify(t.Context(), "opaque")
	for path, accept := range map[string]string{
		"/.well-known/oauth-authorization-server": "application/json", "/keys": "application/jwk-set+json, application/json", "/introspect": "application/json",
	} {
		if got := seen[path]; got != [2]string{"gatehouse/1.2.3", accept} {
			t.Errorf("%s was asked with %q", path, got)
		}
	}
}
