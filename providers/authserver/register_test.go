package authserver_test

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestRegistration(t *testing.T) {
	issuer := open(t)
	t.Run("AS-23 AS-23d a registration with redirect URIs only gets the defaults of RFC 7591", func(t *testing.T) {
		a := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback}})
		if a.StatusCode != http.StatusCreated || a.Header.Get("Cache-Control") != "no-store" ||
			a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("status %d, headers %v", a.StatusCode, a.Header)
		}
		got := a.json(t)
		id, _ := got["client_id"].(string)
		secret, _ := got["client_secret"].(string)
		if len(id) < 20 || len(secret) < 20 || id == secret {
			t.Errorf("client_id %q, client_secret of %d characters", id, len(secret))
		}
		want := map[string]any{
			"client_id": id, "client_secret": secret, "client_secret_expires_at": 0.0,
			"client_id_issued_at": float64(issuer.clock.Now().Unix()),
			"redirect_uris":       []any{callback}, "token_endpoint_auth_method": "client_secret_basic",
			"grant_types":    []any{"authorization_code"},
			"response_types": []any{"code"}, "application_type": "native",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		code := issuer.code("client_id", id)
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", id)), http.StatusUnauthorized,
			"invalid_client")
		a = issuer.post("/token", issuer.exchange(code, "client_id", ""), basic(id, secret))
		if a.StatusCode != http.StatusOK {
			t.Errorf("the secret does not work: %s", a.body)
		}
	})
	t.Run("AS-23b a client with method none gets no secret and works without", func(t *testing.T) {
		got := issuer.postJSON("/register", map[string]any{
			"redirect_uris": []string{callback}, "token_endpoint_auth_method": "none",
			"grant_types": []string{"refresh_token", "authorization_code"},
		}).json(t)
		if _, there := got["client_secret"]; there || got["client_secret_expires_at"] != nil ||
			got["token_endpoint_auth_method"] != "none" {
			t.Errorf("got %v", got)
		}
		id := got["client_id"].(string)
		answer := issuer.post("/token", issuer.exchange(issuer.code("client_id", id), "client_id", id)).json(t)
		if answer["access_token"] == nil || answer["refresh_token"] == nil {
			t.Errorf("answer %v", answer)
		}
	})
	t.Run("AS-23d unknown members, jwks objects and unknown grant types are tolerated", func(t *testing.T) {
		a := issuer.postJSON("/register", `{"redirect_uris":["https://app.example/cb"],"client_name":"A\u202Eb\u0000 ",
			"jwks":{"keys":[]},"logo_uri":"https://x",
			"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code","implicit"],
			"response_types":["code","token"],
			"application_type":"unheard of","contacts":["a@b"],"x":{"y":[1,null]}}`)
		got := a.json(t)
		if a.StatusCode != http.StatusCreated ||
			!reflect.DeepEqual(got["grant_types"], []any{"authorization_code"}) ||
			!reflect.DeepEqual(got["response_types"], []any{"code"}) || got["application_type"] != "web" ||
			got["jwks"] != nil {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
		if got["client_name"] != "Ab" {
			t.Errorf("client_name %q keeps control or format characters", got["client_name"])
		}
	})
	t.Run("AS-23e the registered scope is not a limit", func(t *testing.T) {
		got := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback},
			"token_endpoint_auth_method": "none", "scope": "notes:read"}).json(t)
		id := got["client_id"].(string)
		answer := issuer.post("/token", issuer.exchange(issuer.code("client_id", id, "scope", "notes:read admin"),
			"client_id", id)).json(t)
		if answer["scope"] != "notes:read admin" || got["scope"] != "notes:read" {
			t.Errorf("registered %v, granted %v", got["scope"], answer["scope"])
		}
	})
	t.Run("a service can register for client_credentials", func(t *testing.T) {
		got := issuer.postJSON("/register", map[string]any{"grant_types": []string{"client_credentials"},
			"token_endpoint_auth_method": "client_secret_post"}).json(t)
		a := issuer.post("/token", url.Values{"grant_type": {"client_credentials"},
			"client_id": {got["client_id"].(string)}, "client_secret": {got["client_secret"].(string)}})
		if a.StatusCode != http.StatusOK || got["response_types"] != nil {
			t.Errorf("registered %v, token %s", got, a.body)
		}
	})
	for _, uri := range []string{
		"http://localhost:1/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb", "https://app.example/cb?x=1",
		"https://localhost/cb",
		"com.example.app:/cb", "com.example.app://host/cb", "https://xn--bcher-kva.example/",
		"https://[2001:db8::1]/cb", "cursor://anysphere.cursor-retrieval/oauth/callback",
		"vscode://vscode.github-authentication/did-authenticate",
	} {
		t.Run("AS-23c AS-26 the redirect URI "+uri+" is accepted", func(t *testing.T) {
			if a := issuer.postJSON("/register",
				map[string]any{"redirect_uris": []string{uri}}); a.StatusCode != http.StatusCreated {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		})
	}
	for _, uri := range []string{
		"http://app.example/cb", "http://10.0.0.1/cb", "http://localhost.evil.example/cb",
		"http://localhost@evil.example/cb", "javascript:alert(1)",
		"JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://x.example/1",
		"ftp://x.example/", "custom:", "custom://", "ws://x.example/", "intent://x/", "ms-msdt:/id", "search-ms:q",
		"chrome-extension://x/cb",
		"https://app.example/cb#x", "https://app.example/cb#", "/cb", "//app.example/cb", "", "https://",
		"https:///cb", "https://a;b.example/cb",
		"https://a,b.example/", "https://me@app.example/cb", "https://bücher.example/", "https://app.example/\ncb",
		"https://app.example:port/",
		"https://app.example/" + strings.Repeat("x", 2000),
	} {
		t.Run("AS-23c AS-26 the redirect URI "+strings.ToValidUTF8(uri[:min(len(uri), 40)], "")+" is refused",
			func(t *testing.T) {
				wantError(t, issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback, uri}}),
					http.StatusBadRequest, "invalid_redirect_uri")
			})
	}
	refusals := []struct {
		name string
		body any
		code string
	}{
		{"no redirect URI", map[string]any{}, "invalid_redirect_uri"},
		{"too many redirect URIs", map[string]any{"redirect_uris": strings.Split(strings.Repeat(callback+" ", 21),
			" ")[:21]}, "invalid_redirect_uri"},
		{"too long a name", map[string]any{"redirect_uris": []string{callback},
			"client_name": strings.Repeat("é", 201)}, "invalid_client_metadata"},
		{"a public client whose redirect URIs are long", map[string]any{
			"redirect_uris":              []string{callback, "https://app.example/" + strings.Repeat("x", 680)},
			"token_endpoint_auth_method": "none",
		}, "invalid_client_metadata"},
		{"a public client whose name is long", map[string]any{
			"redirect_uris": []string{callback}, "client_name": strings.Repeat("𝒳", 180),
			"token_endpoint_auth_method": "none",
		}, "invalid_client_metadata"},
		{"too long a scope", map[string]any{"redirect_uris": []string{callback},
			"scope": strings.Repeat("x", 2001)}, "invalid_client_metadata"},
		{"only grant types that are not supported",
			map[string]any{"redirect_uris": []string{callback}, "grant_types": []string{"password"}},
			"invalid_client_metadata"},
		{"private_key_jwt", map[string]any{"redirect_uris": []string{callback},
			"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"},
		{"client_credentials without authentication",
			map[string]any{"grant_types": []string{"client_credentials"}, "token_endpoint_auth_method": "none"},
			"invalid_client_metadata"},
		{"an array", `[]`, "invalid_client_metadata"},
		{"half an object", `{"redirect_uris":["` + callback + `"]`, "invalid_client_metadata"},
		{"two objects", `{"redirect_uris":["` + callback + `"]}{}`, "invalid_client_metadata"},
		{"members of the wrong type", `{"redirect_uris":"` + callback + `"}`, "invalid_client_metadata"},
		{"nothing", ``, "invalid_client_metadata"},
	}
	for _, test := range refusals {
		t.Run("a registration with "+test.name+" is refused", func(t *testing.T) {
			wantError(t, issuer.postJSON("/register", test.body), http.StatusBadRequest, test.code)
		})
	}
	t.Run("a registration with a large body is refused", func(t *testing.T) {
		wantError(t, issuer.postJSON("/register", `{"x":"`+strings.Repeat("x", 70_000)+`"}`),
			http.StatusRequestEntityTooLarge, "invalid_client_metadata")
	})
	t.Run("a registration that is not announced as JSON is refused", func(t *testing.T) {
		r := issuer.request(http.MethodPost, "/register", strings.NewReader(`{"redirect_uris":["`+callback+`"]}`))
		r.Header.Set("Content-Type", "text/plain")
		wantError(t, issuer.do(r), http.StatusBadRequest, "invalid_client_metadata")
	})
	t.Run("above 1000 confidential clients the oldest unused one is removed", func(t *testing.T) {
		register := func() string {
			a := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback}})
			return a.json(t)["client_id"].(string)
		}
		answer := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback}}).json(t)
		used, asUsed := answer["client_id"].(string),
			basic(answer["client_id"].(string), answer["client_secret"].(string))
		a := issuer.post("/token", issuer.exchange(issuer.code("client_id", used), "client_id", ""), asUsed)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		first, second := register(), ""
		for n := range 1000 {
			if id := register(); n == 0 {
				second = id
			}
		}
		wantPage(t, issuer.authorize("client_id", first), http.StatusBadRequest)
		issuer.code("client_id", second)
		issuer.code("client_id", used)
		issuer.code("client_id", "public")
	})
}
