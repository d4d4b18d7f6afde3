package scalekitenv_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/providertest/scalekitenv"
)

func TestKeySetHasScalekitsForm(t *testing.T) {
	env := open(t)
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(env.get("/keys").body), &set); err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k["kid"])
		if k["use"] != "sig" || k["kty"] != "RSA" || k["alg"] != "RS256" || k["e"] != "AQAB" || len(k["n"]) < 300 ||
			len(k) != 6 {
			t.Errorf("%v", k)
		}
	}
	if !slices.Equal(kids, []string{"snk_1", "snk_2"}) {
		t.Errorf("kids %v", kids)
	}
}

func TestHitsCountsRequests(t *testing.T) {
	env := open(t)
	for want := range 3 {
		if got := env.Hits("/keys"); got != want {
			t.Errorf("%d requests counted, %d made", got, want)
		}
		env.get("/keys")
	}
	if env.Hits("/oauth/token") != 0 {
		t.Error("requests for another path are counted too")
	}
}

func TestEnvironmentsHaveDifferentKeys(t *testing.T) {
	one, two := open(t), open(t)
	if one.get("/keys").body == two.get("/keys").body {
		t.Error("two environments share their keys")
	}
}

func TestReplacementResponses(t *testing.T) {
	env := open(t)
	for name, c := range map[string]struct {
		answer            http.HandlerFunc
		status            int
		contentType, body string
	}{
		"status":    {scalekitenv.Status(503), 503, "", ""},
		"empty set": {scalekitenv.EmptyKeySet(), 200, "application/json", `{"keys":[]}`},
		"page": {scalekitenv.HTMLPage(), 200, "text/html; charset=utf-8",
			"<!doctype html><title>Just a moment</title><p>canary-upstream"},
		"rate limited": {scalekitenv.RateLimited(), 429, "application/json",
			`{"error_code":"RATE_LIMITED","message":"too many requests"}`},
		"any JSON": {scalekitenv.JSON(200, []int{1}), 200, "application/json", "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			env.Answer("/keys", c.answer)
			a := env.get("/keys")
			if a.StatusCode != c.status || a.Header.Get("Content-Type") != c.contentType ||
				strings.TrimSpace(a.body) != c.body {
				t.Errorf("%d %q %q", a.StatusCode, a.Header.Get("Content-Type"), a.body)
			}
		})
	}
}
