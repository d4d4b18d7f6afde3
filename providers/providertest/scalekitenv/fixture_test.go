package scalekitenv_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/providertest/scalekitenv"
)

const (
	serverURL = "http://localhost:3002/mcp"
	callback  = "http://127.0.0.1:7777/callback"
	verifier  = "a-code-verifier-that-is-long-enough-for-rfc-7636-0123456789"
)

// testEnv is an environment with an HTTP client for it.
type testEnv struct {
	*scalekitenv.Environment
	t *testing.T
}

func open(t *testing.T, change ...func(*scalekitenv.Config)) *testEnv {
	t.Helper()
	config := scalekitenv.Config{ServerURL: serverURL}
	for _, c := range change {
		c(&config)
	}
	return &testEnv{scalekitenv.New(t, config), t}
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

func (env *testEnv) do(r *http.Request) answer {
	env.t.Helper()
	response, err := env.HTTPClient().Do(r)
	if err != nil {
		env.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		env.t.Fatal(err)
	}
	return answer{response, string(body)}
}

// request returns a request. R in the path is replaced by the id of the resource.
func (env *testEnv) request(method, path, body string) *http.Request {
	env.t.Helper()
	path = strings.ReplaceAll(path, "/R", "/"+env.ResourceID())
	r, err := http.NewRequestWithContext(env.t.Context(), method, env.URL()+path, strings.NewReader(body))
	if err != nil {
		env.t.Fatal(err)
	}
	return r
}

func (env *testEnv) get(path string) answer {
	env.t.Helper()
	return env.do(env.request(http.MethodGet, path, ""))
}

func (env *testEnv) getAs(token, path string) answer {
	env.t.Helper()
	r := env.request(http.MethodGet, path, "")
	r.Header.Set("Authorization", "Bearer "+token)
	return env.do(r)
}

func (env *testEnv) post(path string, form url.Values, change ...func(*http.Request)) answer {
	env.t.Helper()
	r := env.request(http.MethodPost, path, form.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	return env.do(r)
}

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%s: status %d, not JSON: %q", a.Request.URL, a.StatusCode, a.body)
	}
	return m
}

// text returns a string member of a JSON response.
func (a answer) text(t *testing.T, name string) string {
	t.Helper()
	s, _ := a.json(t)[name].(string)
	return s
}

// location returns the target of a redirect without its query, and the query.
func (a answer) location(t *testing.T) (string, url.Values) {
	t.Helper()
	u, err := a.Location()
	if a.StatusCode != http.StatusFound || err != nil {
		t.Fatalf("status %d, no redirect: %s", a.StatusCode, a.body)
	}
	q := u.Query()
	u.RawQuery = ""
	return u.String(), q
}

// with applies changes to form: alternating names and values. An empty value removes the parameter.
func with(form url.Values, changes ...string) url.Values {
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			form.Del(changes[i])
		} else {
			form.Set(changes[i], changes[i+1])
		}
	}
	return form
}

// authorization returns the parameters of a valid authorization request.
func authorization(client string, changes ...string) url.Values {
	digest := sha256.Sum256([]byte(verifier))
	return with(url.Values{
		"client_id": {client}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st/ate&1"},
		"scope": {"openid offline_access todo:read"}, "resource": {serverURL}, "nonce": {"n-1"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"},
	}, changes...)
}

func (env *testEnv) authorize(client string, changes ...string) answer {
	env.t.Helper()
	return env.get("/resources/R/oauth/authorize?" + authorization(client, changes...).Encode())
}

func (env *testEnv) code(client string, changes ...string) string {
	env.t.Helper()
	_, q := env.authorize(client, changes...).location(env.t)
	if q.Get("code") == "" {
		env.t.Fatalf("no code but %v", q)
	}
	return q.Get("code")
}

// exchange returns the parameters of a valid token request for code.
func exchange(client, code string, changes ...string) url.Values {
	return with(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {verifier},
	}, changes...)
}

// decode verifies a token with the published keys and returns header and claims.
func (env *testEnv) decode(token string) (header jose.Header, claims map[string]any) {
	env.t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(env.get("/keys").body), &keys); err != nil {
		env.t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		env.t.Fatal(err)
	}
	payload, err := jws.Verify(keys)
	if err != nil {
		env.t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		env.t.Fatal(err)
	}
	return jws.Signatures[0].Header, claims
}
