package scalekitenv_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/token"
)

func TestKeysAreAsScalekitPublishesThem(t *testing.T) {
	h := open(t)
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(h.get("/keys").body), &set); err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k["kid"])
		if k["use"] != "sig" || k["kty"] != "RSA" || k["alg"] != "RS256" || k["e"] != "AQAB" || len(k["n"]) < 300 || len(k) != 6 {
			t.Errorf("%v", k)
		}
	}
	if !slices.Equal(kids, []string{"snk_1", "snk_2"}) {
		t.Errorf("kids %v", kids)
	}
}

func TestKeyRequestsAreCounted(t *testing.T) {
	h := open(t)
	for want := range 3 {
		if got := h.Hits("/keys"); got != want {
			t.Errorf("%d requests were counted, %d made", got, want)
		}
		h.get("/keys")
	}
	if h.Hits("/oauth/token") != 0 {
		t.Error("nobody asked for that")
	}
}

func TestEachEnvironmentHasKeysOfItsOwn(t *testing.T) {
	one, two := open(t), open(t)
	if one.get("/keys").body == two.get("/keys").body {
		t.Error("two environments share their keys")
	}
	claims := one.UserClaims()
	_, err := adapter(t, one.Environment, one.Resource).Verify(t.Context(), two.Sign(nil, claims))
	if providers.ReasonOf(err) != token.ReasonSignatureInvalid {
		t.Errorf("one environment's key id with the other's key: %v", err)
	}
}

func TestForgeriesAreRecognisable(t *testing.T) {
	h := open(t)
	es256 := h.AddKey(jose.ES256)
	h.SignWith("snk_1")
	tokens := map[string]struct {
		token string
		alg   string
		want  providers.Reason
	}{
		"alg none":                       {h.Unsigned(h.UserClaims()), "none", token.ReasonAlgorithmRefused},
		"ES256, by a key that is listed": {h.Sign(changes{"kid": es256}, h.UserClaims()), "ES256", token.ReasonAlgorithmRefused},
		"kid unknown":                    {h.Sign(changes{"kid": "snk_99"}, h.UserClaims()), "RS256", token.ReasonKeyUnknown},
	}
	for spelling, forged := range h.SignedWithPublicKey(h.UserClaims()) {
		tokens["HS256 with the public key as "+spelling] = struct {
			token string
			alg   string
			want  providers.Reason
		}{forged, "HS256", token.ReasonAlgorithmRefused}
	}
	if len(tokens) < 10 {
		t.Errorf("only %d forgeries", len(tokens))
	}
	for name, c := range tokens {
		t.Run(name, func(t *testing.T) {
			if alg := headerOf(t, c.token)["alg"]; alg != c.alg {
				t.Errorf("alg %v", alg)
			}
			if _, err := adapter(t, h.Environment, h.Resource).Verify(t.Context(), c.token); providers.ReasonOf(err) != c.want {
				t.Errorf("Verify = %v, want %s", err, c.want)
			}
		})
	}
	t.Run("the ES256 signature holds", func(t *testing.T) {
		careless := func(r *token.Rules, _ *http.Client) { r.Algorithms = append(r.Algorithms, jose.ES256) }
		if _, err := adapter(t, h.Environment, h.Resource, careless).Verify(t.Context(), tokens["ES256, by a key that is listed"].token); err != nil {
			t.Error(err)
		}
	})
	t.Run("kid absent", func(t *testing.T) {
		token := h.Sign(changes{"kid": nil}, h.UserClaims())
		if kid, ok := headerOf(t, token)["kid"]; ok {
			t.Errorf("kid %v", kid)
		}
		if parts := strings.Split(token, "."); len(parts) != 3 || len(parts[2]) == 0 {
			t.Errorf("%d parts", len(parts))
		}
	})
}

func headerOf(t *testing.T, token string) map[string]any {
	t.Helper()
	encoded, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]any
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	return header
}

func TestKeysRotate(t *testing.T) {
	h := open(t)
	old := h.Token()
	p := adapter(t, h.Environment, h.Resource)
	eventually(t, func() error { _, err := p.Verify(t.Context(), old); return err })

	h.SignWith("snk_2") // published from the start: nobody needs to ask again
	before := h.Hits("/keys")
	if _, err := p.Verify(t.Context(), h.Token()); err != nil || h.Hits("/keys") != before {
		t.Errorf("by the second key: %v, after %d more requests", err, h.Hits("/keys")-before)
	}
	kid := h.AddKey(jose.RS256)
	if kid != "snk_3" || h.SigningKey() != kid {
		t.Errorf("the new key is %s, %s signs", kid, h.SigningKey())
	}
	fresh := h.Token()
	eventually(t, func() error { _, err := p.Verify(t.Context(), fresh); return err })
	if _, err := p.Verify(t.Context(), old); err != nil {
		t.Errorf("by the old key, which was kept: %v", err)
	}

	h.DropKey("snk_1")
	later := adapter(t, h.Environment, h.Resource)
	eventually(t, func() error { _, err := later.Verify(t.Context(), fresh); return err })
	for name, raw := range map[string]string{"issued before": old, "signed afterwards": h.Sign(changes{"kid": "snk_1"}, h.UserClaims())} {
		if _, err := later.Verify(t.Context(), raw); providers.ReasonOf(err) != token.ReasonKeyUnknown {
			t.Errorf("%s by the key that was dropped: %v", name, err)
		}
	}
}

func TestKeysCanBeOutOfReach(t *testing.T) {
	for name, outage := range map[string]func(*house) http.HandlerFunc{
		"500":               func(*house) http.HandlerFunc { return scalekitenv.Status(500) },
		"timeout":           func(*house) http.HandlerFunc { return scalekitenv.Hang() },
		"empty set":         func(*house) http.HandlerFunc { return scalekitenv.EmptyKeySet() },
		"HTML page":         func(*house) http.HandlerFunc { return scalekitenv.HTMLPage() },
		"redirect":          func(h *house) http.HandlerFunc { return scalekitenv.RedirectTo(h.KeysElsewhere()) },
		"too many requests": func(*house) http.HandlerFunc { return scalekitenv.RateLimited() },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			accessToken := h.Token()
			h.Answer("/keys", outage(h))
			impatient := func(_ *token.Rules, c *http.Client) { c.Timeout = 100 * time.Millisecond }
			p := adapter(t, h.Environment, h.Resource, impatient)
			if _, err := p.Verify(t.Context(), accessToken); !errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("during the outage: %v", err)
			}
			if h.Hits("/keys") == 0 || h.Signer.Fetches() != 0 {
				t.Errorf("%d requests here, %d at the other host", h.Hits("/keys"), h.Signer.Fetches())
			}
			h.Answer("/keys", nil)
			eventually(t, func() error { _, err := p.Verify(t.Context(), accessToken); return err })
		})
	}
}

func TestWhoeverFollowsTheRedirectFindsTheKeys(t *testing.T) {
	h := open(t)
	h.Answer("/keys", scalekitenv.RedirectTo(h.KeysElsewhere()))
	careless := func(_ *token.Rules, c *http.Client) { c.CheckRedirect = nil }
	if _, err := adapter(t, h.Environment, h.Resource, careless).Verify(t.Context(), h.Token()); err != nil || h.Signer.Fetches() == 0 {
		t.Errorf("Verify = %v after %d requests at the other host: the trap is none", err, h.Signer.Fetches())
	}
	here, err := url.Parse(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	if there, err := url.Parse(h.KeysElsewhere()); err != nil || there.Host == here.Host {
		t.Errorf("%v is not another host", there)
	}
}

func TestAnswersAreWhatTheySay(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		answer            http.HandlerFunc
		status            int
		contentType, body string
	}{
		"status":       {scalekitenv.Status(503), 503, "", ""},
		"empty set":    {scalekitenv.EmptyKeySet(), 200, "application/json", `{"keys":[]}`},
		"page":         {scalekitenv.HTMLPage(), 200, "text/html; charset=utf-8", "<!doctype html><title>Just a moment</title><p>canary-upstream"},
		"rate limited": {scalekitenv.RateLimited(), 429, "application/json", `{"error_code":"RATE_LIMITED","message":"too many requests"}`},
		"any JSON":     {scalekitenv.JSON(200, []int{1}), 200, "application/json", "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			h.Answer("/keys", c.answer)
			a := h.get("/keys")
			if a.StatusCode != c.status || a.Header.Get("Content-Type") != c.contentType || strings.TrimSpace(a.body) != c.body {
				t.Errorf("%d %q %q", a.StatusCode, a.Header.Get("Content-Type"), a.body)
			}
		})
	}
}

func TestAHangingAnswerEndsWithItsRequest(t *testing.T) {
	h := open(t)
	h.Answer("/oauth/token", scalekitenv.Hang())
	client := h.HTTPClient()
	client.Timeout = 50 * time.Millisecond
	r := h.request(http.MethodPost, "/oauth/token", "grant_type=client_credentials")
	response, err := client.Do(r)
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		t.Fatalf("status %d", response.StatusCode)
	}
}
