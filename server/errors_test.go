package server_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/providers/providertest"
)

// parameters are the auth-params of the one challenge in an answer.
func parameters(t *testing.T, r response) map[string]string {
	t.Helper()
	values := r.header.Values("WWW-Authenticate")
	if len(values) != 1 {
		t.Fatalf("%d WWW-Authenticate headers: %q", len(values), values)
	}
	challenges, err := oauthex.ParseWWWAuthenticate(values)
	if err != nil || len(challenges) != 1 || challenges[0].Scheme != "bearer" {
		t.Fatalf("the challenge %q cannot be parsed: %v", values, err)
	}
	return challenges[0].Params
}

// The errors of RS-01 to RS-12 and RS-21: status, challenge and body of each.
func TestErrorsHaveStatusChallengeAndBody(t *testing.T) {
	f := start(t, options{})
	good := f.issuer.Claims(f.resource.String())
	payload, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	var published jose.JSONWebKeySet
	if err := json.Unmarshal(f.issuer.KeySet(), &published); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(published.Keys[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	pem := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	past := time.Now().Add(-time.Hour).Unix()
	invalid := func(header map[string]string) errorCase {
		return errorCase{header: header, status: 401, code: "invalid_token", scope: "mcp:use greet:read",
			text: "The access token is not valid for this server."}
	}
	none := errorCase{status: 401, scope: "mcp:use greet:read", text: "Sign in to use this server."}
	malformed := func(authorization string) errorCase {
		return errorCase{header: map[string]string{"Authorization": authorization}, status: 400,
			code: "invalid_request", scope: "mcp:use greet:read",
			text: "The Authorization header must contain exactly one Bearer token."}
	}
	changed := func(changes map[string]any) errorCase {
		return invalid(bearer(f.issuer.Token(f.resource.String(), changes)))
	}
	idToken := f.issuer.Sign(map[string]any{"typ": "JWT"}, with(good, "nonce", "n", "at_hash", "h"))
	unsigned := providertest.Assemble([]byte(`{"alg":"none","typ":"at+jwt"}`), payload, nil)
	for name, c := range map[string]errorCase{
		"RS-01 RS-02 RS-02b RS-02c no token": none,
		"another scheme":                     none.with("Authorization", "Basic YWxpY2U6c2VjcmV0"),
		"RS-21 Bearer without a token":       malformed("Bearer"),
		"RS-21 Bearer and blanks":            malformed("Bearer   "),
		"RS-21 two tokens in one field": malformed("Bearer " + f.token("mcp:use") + " " +
			f.token("mcp:use")),
		"RS-21 two credentials in one field": malformed("Bearer " + f.token("mcp:use") +
			", Bearer x"),
		"garbage":                                           invalid(bearer("garbage")),
		"RS-07 an expired token":                            changed(map[string]any{"exp": past}),
		"RS-09 a token for another resource":                changed(map[string]any{"aud": "http://127.0.0.1:1/mcp"}),
		"RS-09 a token for the parent":                      changed(map[string]any{"aud": f.resource.Origin()}),
		"RS-09 an audience that differs by slash":           changed(map[string]any{"aud": f.resource.String() + "/"}),
		"RS-09 a token without audience":                    changed(map[string]any{"aud": nil}),
		"RS-08 another issuer":                              changed(map[string]any{"iss": "https://issuer.example"}),
		"RS-09b an ID token instead":                        invalid(bearer(idToken)),
		"RS-09b an ID token that calls itself access token": changed(map[string]any{"nonce": "n"}),
		"RS-08 alg none":                                    invalid(bearer(unsigned)),
		"RS-08 HS256 with the public key": invalid(bearer(providertest.SignBytes("HS256",
			pem, []byte(`{"alg":"HS256","typ":"at+jwt"}`), payload))),
		"expired and without scope: still 401": changed(map[string]any{"exp": past, "scope": ""}),
		"RS-12 RS-12b too few scopes": {header: bearer(f.token("greet:read")), status: 403,
			code: "insufficient_scope", scope: "mcp:use",
			text: "This operation needs more scopes than the access token has."},
		"RS-12 RS-12b too few for the operation": {header: map[string]string{"Authorization": "Bearer " +
			f.token("mcp:use"), "X-Needs": "greet:write greet:send"},
			status: 403, code: "insufficient_scope", scope: "mcp:use greet:write greet:send",
			text: "This operation needs more scopes than the access token has."},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				r := f.do(t, method, "/mcp", c.header, nil)
				if r.status != c.status {
					t.Fatalf("%s answered %d, want %d: %s", method, r.status, c.status, r.body)
				}
				want := map[string]string{"realm": "OAuth", "resource_metadata": f.resource.MetadataURL(),
					"scope": c.scope}
				if c.code != "" {
					want["error"], want["error_description"] = c.code, c.text
				}
				if diff := cmp.Diff(want, parameters(t, r)); diff != "" {
					t.Errorf("%s challenge (-want +got):\n%s", method, diff)
				}
				if got := r.header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("%s: Cache-Control is %q", method, got)
				}
				code := c.code
				if code == "" {
					code = "unauthorized"
				}
				var body map[string]string
				if err := json.Unmarshal([]byte(r.body), &body); err != nil {
					t.Fatalf("the body is not JSON: %s", r.body)
				}
				wantBody := map[string]string{"error": code, "error_description": c.text,
					"request_id": r.header.Get("X-Request-Id")}
				if diff := cmp.Diff(wantBody, body); diff != "" || body["request_id"] == "" {
					t.Errorf("%s body (-want +got):\n%s", method, diff)
				}
			}
		})
	}
	if f.app.calls != 0 {
		t.Errorf("the application was called %d times", f.app.calls)
	}
	// No credential of a request is in the log.
	if log := f.log.String(); strings.Contains(log, "eyJ") || strings.Contains(log, "garbage") {
		t.Errorf("the log contains a token:\n%s", log)
	}
}

type errorCase struct {
	header            map[string]string
	status            int
	code, scope, text string
}

func (c errorCase) with(name, value string) errorCase {
	c.header = map[string]string{name: value}
	return c
}

func with(claims map[string]any, pairs ...any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

// Two fields of the same name cannot be sent through a map.
func TestRS21TwoAuthorizationHeadersAreRefused(t *testing.T) {
	f := start(t, options{})
	req, err := http.NewRequest(http.MethodPost, f.resource.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Authorization"] = []string{"Bearer " + f.token("mcp:use"), "Bearer " + f.token("mcp:use")}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %d, want 400", resp.StatusCode)
	}
}

func TestRS10TokenOutsideAuthorizationIsIgnored(t *testing.T) {
	f := start(t, options{})
	token := f.token("mcp:use")
	for name, c := range map[string]struct {
		path   string
		header map[string]string
		body   string
	}{
		"in the query": {path: "/mcp?access_token=" + token},
		"in a cookie":  {path: "/mcp", header: map[string]string{"Cookie": "access_token=" + token}},
		"in a form": {path: "/mcp",
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
			body:   "access_token=" + token},
		"in another header": {path: "/mcp", header: map[string]string{"X-Access-Token": token}},
		"in a proxy's header": {path: "/mcp",
			header: map[string]string{"Proxy-Authorization": "Bearer " + token, "X-Forwarded-User": "alice"}},
		"named by a rewriting": {path: "/mcp",
			header: map[string]string{"X-Original-URL": "/health", "X-HTTP-Method-Override": "OPTIONS"}},
	} {
		t.Run(name, func(t *testing.T) {
			if r := f.do(t, http.MethodPost, c.path, c.header,
				strings.NewReader(c.body)); r.status != http.StatusUnauthorized {
				t.Errorf("answered %d, want 401", r.status)
			}
		})
	}
	if strings.Contains(f.log.String(), token) {
		t.Error("the log contains the token from the query")
	}
}

// RS-16: the application learns the identity of the caller, but not the token. (The fixture answers 500 if it sees
// one.)
func TestRS16TokenIsNotPassedOn(t *testing.T) {
	f := start(t, options{})
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != http.StatusOK ||
		r.body != "served" {
		t.Errorf("answered %d %s", r.status, r.body)
	}
}

// RS-06 and RS-20: a token for this resource is good, also if its issuer writes scheme and host in capitals.
func TestRS20AudienceMayHaveUppercaseSchemeAndHost(t *testing.T) {
	f := start(t, options{})
	for _, audience := range []string{f.resource.String(), "HTTP://" + strings.ToUpper(f.resource.Host()) +
		"/mcp"} {
		if r := f.do(t, http.MethodPost, "/mcp",
			bearer(f.issuer.Token(f.resource.String(), map[string]any{"aud": audience})),
			nil); r.status != http.StatusOK {
			t.Errorf("a token for %s answered %d", audience, r.status)
		}
	}
}

func TestRS11TheSchemeIsCaseInsensitive(t *testing.T) {
	f := start(t, options{})
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
		if r := f.do(t, http.MethodPost, "/mcp",
			map[string]string{"Authorization": scheme + " " + f.token("mcp:use")}, nil); r.status != http.StatusOK {
			t.Errorf("%s answered %d", scheme, r.status)
		}
	}
}

// An outage must not look like a bad token: clients discard their token on a challenge.
func TestProviderOutageIs503WithoutChallenge(t *testing.T) {
	f := start(t, options{})
	f.issuer.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "the upstream's secret stack trace")
	})
	kid := f.issuer.AddKey("ES256") // a key that the server does not have and cannot fetch
	token := f.issuer.Sign(map[string]any{"kid": kid, "alg": "ES256"}, f.issuer.Claims(f.resource.String()))
	r := f.do(t, http.MethodPost, "/mcp", bearer(token), nil)
	for range 50 { // the last good fetch may still delay the next one
		if r.status == http.StatusServiceUnavailable {
			break
		}
		time.Sleep(20 * time.Millisecond)
		r = f.do(t, http.MethodPost, "/mcp", bearer(token), nil)
	}
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" ||
		r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("answered %d, Retry-After %q, challenge %q", r.status, r.header.Get("Retry-After"),
			r.header.Get("WWW-Authenticate"))
	}
	if strings.Contains(r.body, "upstream") || strings.Contains(f.log.String(), "upstream's") {
		t.Errorf("the upstream's text is in the response: %s", r.body)
	}
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status == http.StatusUnauthorized {
		t.Errorf("a token of a known key answered %d during the outage", r.status)
	}
}
