package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// upstream is a resource with an authorization server in the same origin, at which a sign-in succeeds unless a test says
// otherwise.
type upstream struct {
	*httptest.Server
	// metadata and back change the issuer's metadata and what the browser brings back.
	metadata map[string]any
	back     func(url.Values)
	// answers stand for the answers of these paths.
	answers map[string]canned
}

type canned struct {
	status int
	body   string
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/json")
	if answer, ok := u.answers[r.URL.Path]; ok {
		w.WriteHeader(answer.status)
		_, _ = io.WriteString(w, strings.ReplaceAll(answer.body, "ORIGIN", u.URL))
		return
	}
	switch r.URL.Path {
	case "/mcp":
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+u.URL+`/.well-known/oauth-protected-resource/mcp", scope="mcp:use"`)
		w.WriteHeader(http.StatusUnauthorized)
	case "/.well-known/oauth-protected-resource/mcp":
		u.document(w, map[string]any{"resource": u.URL + "/mcp", "authorization_servers": []string{u.URL}})
	case "/.well-known/oauth-authorization-server":
		document := map[string]any{
			"issuer": u.URL, "authorization_endpoint": u.URL + "/authorize", "token_endpoint": u.URL + "/token",
			"registration_endpoint": u.URL + "/register", "response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		}
		for k, v := range u.metadata {
			document[k] = v
		}
		u.document(w, document)
	case "/register":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"client_id":"native","token_endpoint_auth_method":"none"}`)
	case "/authorize":
		q := r.URL.Query()
		back := url.Values{"code": {"c"}, "state": {q.Get("state")}}
		if u.back != nil {
			u.back(back)
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "/token":
		_, _ = io.WriteString(w, `{"access_token":"opaque","token_type":"Bearer"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (u *upstream) document(w io.Writer, document map[string]any) {
	_ = json.NewEncoder(w).Encode(document)
}

// What an upstream puts into its errors may be anything: a secret, a token, what a terminal obeys. Only the OAuth error code
// is shown, quoted and cut.
func TestAFailedSignInIsToldWithoutTheWordsOfTheOtherSide(t *testing.T) {
	const canary = "canary-7f3a"
	refusal := `{"error":"invalid_grant","error_description":"` + canary + `","error_uri":"https://` + canary + `.example.com"}`
	for name, c := range map[string]struct {
		metadata map[string]any
		back     func(url.Values)
		answers  map[string]canned
		says     string
	}{
		"registration is refused":               {answers: map[string]canned{"/register": {400, refusal}}, says: `POST "ORIGIN/register" answered 400 with error "invalid_grant"`},
		"registration answers 400 with no JSON": {answers: map[string]canned{"/register": {400, canary}}, says: `POST "ORIGIN/register" answered 400` + "\n"},
		"registration breaks down":              {answers: map[string]canned{"/register": {500, canary}}, says: `POST "ORIGIN/register" answered 500` + "\n"},
		"registration makes no sense":           {answers: map[string]canned{"/register": {201, canary}}, says: `POST "ORIGIN/register" answered 201, but with nothing that a client can use` + "\n"},
		"registration names no client":          {answers: map[string]canned{"/register": {201, `{"client_name":"` + canary + `"}`}}, says: "answered 201, but"},
		"the token is refused":                  {answers: map[string]canned{"/token": {400, refusal}}, says: `POST "ORIGIN/token" answered 400 with error "invalid_grant"`},
		"the token endpoint breaks down":        {answers: map[string]canned{"/token": {502, "<p>" + canary}}, says: `POST "ORIGIN/token" answered 502` + "\n"},
		"the token makes no sense":              {answers: map[string]canned{"/token": {200, canary}}, says: `POST "ORIGIN/token" answered 200, but with nothing that a client can use` + "\n"},
		"an error with status 200":              {answers: map[string]canned{"/token": {200, refusal}}, says: `answered 200, but with nothing that a client can use with error "invalid_grant"`},
		"an error code that a terminal obeys": {
			answers: map[string]canned{"/token": {400, `{"error":"\u001b[31mred` + strings.Repeat("x", 300) + canary + `"}`}},
			says:    `with error "\x1b[31mredxxx`,
		},
		"the metadata is of another issuer":  {metadata: map[string]any{"issuer": "https://" + canary + ".example.com"}, says: "answered 200, but with nothing on which a client can go on; `gatehouse doctor`"},
		"the metadata is no JSON":            {answers: map[string]canned{"/.well-known/oauth-authorization-server": {200, canary}}, says: `GET "ORIGIN/.well-known/oauth-authorization-server" answered 200, but`},
		"the metadata breaks down":           {answers: map[string]canned{"/.well-known/oauth-authorization-server": {500, canary}}, says: `GET "ORIGIN/.well-known/oauth-authorization-server" answered 500` + "\n"},
		"nobody is registered on the spot":   {metadata: map[string]any{"registration_endpoint": ""}, says: "needs --client-id"},
		"a query in an address is not shown": {metadata: map[string]any{"token_endpoint": "ORIGIN/gone?key=" + canary}, says: `POST "ORIGIN/gone" answered 404` + "\n"},
		"the endpoint cannot be reached":     {metadata: map[string]any{"token_endpoint": "http://GONE/token?key=" + canary}, says: `POST "http://GONE/token": dial tcp`},
		"the provider refuses the person": {
			back: func(q url.Values) { q.Set("error", "access_denied"); q.Set("error_description", canary) },
			says: `the provider refused: "access_denied"` + "\n",
		},
		"a refusal that a terminal obeys": {
			back: func(q url.Values) { q.Set("error", "\x1b[31mred"+strings.Repeat("x", 300)+canary) },
			says: `the provider refused: "\x1b[31mredxxx`,
		},
		"somebody else's answer":  {back: func(q url.Values) { q.Set("state", canary) }, says: "what came back from the browser does not belong to this sign-in"},
		"another issuer's answer": {back: func(q url.Values) { q.Set("iss", "https://"+canary+".example.com") }, says: "what came back from the browser"},
		"nothing is wrong":        {},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			fill := strings.NewReplacer("ORIGIN", u.URL, "GONE", freeAddress(t))
			u.back, u.answers, u.metadata = c.back, c.answers, map[string]any{}
			for k, v := range c.metadata {
				u.metadata[k] = fill.Replace(v.(string))
			}
			code, out, errs := tokenCommand(t, "", "get", "--resource", u.URL+"/mcp")
			if want := fill.Replace(c.says); c.says != "" && (code != exitFailure || !strings.Contains(errs, want)) {
				t.Errorf("it ended with %d and says %q, want %q", code, errs, want)
			}
			if c.says == "" && (code != exitOK || out != "opaque\n" || errs != "") {
				t.Errorf("it ended with %d: %q %q", code, out, errs)
			}
			if strings.Contains(out+errs, canary) || strings.ContainsRune(errs, '\x1b') {
				t.Errorf("it shows what the other side said:\n%s%s", out, errs)
			}
		})
	}
}

// Where a person has to sign in, a program that follows the address would only leave traces. On this computer it may be the
// local issuer that asks nobody.
func TestOnlyProvidersOnThisComputerAreTriedWithoutAPerson(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Connection", "close")
		http.Redirect(w, r, "http://127.0.0.1:1/callback?code=c", http.StatusFound)
	}))
	defer server.Close()
	s := &signIn{redirect: "http://127.0.0.1:1/callback"}
	if back, ok := s.withoutAnybody(t.Context(), server.URL); !ok || back.Get("code") != "c" || asked != 1 {
		t.Errorf("from this computer came %v after %d requests", back, asked)
	}
	// Not a loopback address, although it leads to the same server.
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	if back, ok := s.withoutAnybody(t.Context(), "http://0.0.0.0:"+port); ok || asked != 1 {
		t.Errorf("from elsewhere came %v after %d requests", back, asked)
	}
}
