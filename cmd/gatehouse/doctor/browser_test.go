package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

func TestOriginOfBrowserChecksIsAllowed(t *testing.T) {
	for allowed, want := range map[string]string{
		"":                   "", // the server's own origin
		"http://localhost:*": "http://localhost:6274",
		"http://127.0.0.1:*": "http://127.0.0.1:6274",
		"https://app.example.com,http://localhost:6274": "http://localhost:6274",
		"https://app.example.com,http://localhost:*":    "http://localhost:6274",
		"https://app.example.com,https://b.example.com": "https://app.example.com",
	} {
		t.Run(allowed, func(t *testing.T) {
			e := newEnv(t)
			e.settings["server.allowed_origins"] = allowed
			e.open()
			if want == "" {
				want = e.proxy.URL
			}
			results := e.examine()
			for _, name := range []string{"server.preflight", "server.exposed"} {
				if r := find(results, name); r.Verdict != diagnostics.VerdictOK || r.Found != "from "+want {
					t.Errorf("%+v, not from %s", r, want)
				}
			}
		})
	}
}

// A preflight response is read as browsers read it: gateways write CORS headers in several valid forms
// (Fetch, section 3.3).
func TestPreflightResponsesAreReadAsByBrowsers(t *testing.T) {
	e := newEnv(t).open()
	good := map[string]string{
		"Access-Control-Allow-Origin": "http://localhost:6274", "Access-Control-Allow-Methods": "GET, POST",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, MCP-Protocol-Version",
	}
	for name, c := range map[string]struct {
		status int
		change map[string]string
		lacks  string // "" means that it passes
	}{
		"as this server writes it": {204, nil, ""},
		"with a body":              {200, nil, ""},
		"any origin":               {204, map[string]string{"Access-Control-Allow-Origin": "*"}, ""},
		"any method":               {204, map[string]string{"Access-Control-Allow-Methods": "*"}, ""},
		"any header, and authorization": {204,
			map[string]string{"Access-Control-Allow-Headers": "*, authorization"}, ""},
		"any header, without authorization": {204, map[string]string{"Access-Control-Allow-Headers": "*"},
			"authorization in Access-Control-Allow-Headers"},
		"another origin": {204,
			map[string]string{"Access-Control-Allow-Origin": "http://localhost:6275"}, "Access-Control-Allow-Origin"},
		"two origins": {204,
			map[string]string{"Access-Control-Allow-Origin": "http://localhost:6274|*"},
			"Access-Control-Allow-Origin"},
		"no origin": {204, map[string]string{"Access-Control-Allow-Origin": ""},
			"Access-Control-Allow-Origin"},
		"no POST": {204,
			map[string]string{"Access-Control-Allow-Methods": "GET, POSTED"}, "POST in Access-Control-Allow-Methods"},
		"no version header": {204,
			map[string]string{"Access-Control-Allow-Headers": "authorization, content-type"},
			"mcp-protocol-version in Access-Control-Allow-Headers"},
		"a redirect, which browsers reject": {302, nil, "302"},
		"an error":                          {500, nil, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			e.change(func() {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodOptions {
						return false
					}
					for _, values := range []map[string]string{good, c.change} {
						for header, value := range values {
							w.Header().Del(header)
							for one := range strings.SplitSeq(value, "|") {
								if one != "" {
									w.Header().Add(header, one)
								}
							}
						}
					}
					w.WriteHeader(c.status)
					return true
				}
			})
			r := find(e.examine(), "server.preflight")
			if (r.Verdict == diagnostics.VerdictOK) != (c.lacks == "") || !strings.Contains(r.Found, c.lacks) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A challenge is parsed as by the strictest clients (RFC 9110, section 11.6.1).
func TestChallengesAreReadStrictly(t *testing.T) {
	e := newEnv(t).open()
	for name, c := range map[string]struct {
		fields []string // METADATA and SCOPES are replaced by the right values
		found  string   // "" means that it passes
	}{
		"as the server writes it": {[]string{`Bearer realm="OAuth", resource_metadata="METADATA", scope="SCOPES"`}, ""},
		"another order":           {[]string{`Bearer scope="SCOPES",resource_metadata="METADATA"`}, ""},
		"another case":            {[]string{`BEARER  Resource_Metadata="METADATA" , SCOPE="SCOPES"`}, ""},
		"an escape":               {[]string{`Bearer a="\" \\, c", resource_metadata="METADATA", scope="SCOPES"`}, ""},
		"after another scheme": {[]string{`Basic realm="x"`,
			`Bearer resource_metadata="METADATA", scope="SCOPES"`}, ""},
		"no scheme":       {[]string{`resource_metadata="METADATA"`}, "no Bearer challenge"},
		"only the scheme": {[]string{`Bearer`}, "no Bearer challenge"},
		"a longer word":   {[]string{`Bearers resource_metadata="METADATA"`}, "no Bearer challenge"},
		"without quotes": {[]string{`Bearer resource_metadata=METADATA, scope="SCOPES"`},
			"cannot be parsed"},
		"a quote that is left open": {[]string{`Bearer resource_metadata="METADATA", scope="SCOPES`},
			"cannot be parsed"},
		"an escape at the end": {[]string{`Bearer resource_metadata="METADATA", scope="SCOPES\`},
			"cannot be parsed"},
		"without a comma": {[]string{`Bearer resource_metadata="METADATA" scope="SCOPES"`},
			"cannot be parsed"},
		"with semicolons": {[]string{`Bearer resource_metadata="METADATA"; scope="SCOPES"`},
			"cannot be parsed"},
		"a parameter twice": {[]string{`Bearer resource_metadata="METADATA", scope="SCOPES", scope="x"`}, "cannot be parsed"},
		"a parameter without a name": {[]string{`Bearer ="x", resource_metadata="METADATA", scope="SCOPES"`},
			"cannot be parsed"},
		"a parameter without a value": {[]string{`Bearer resource_metadata="METADATA", scope`}, "cannot be parsed"},
		"a name with a space": {
			[]string{`Bearer error x="y", resource_metadata="METADATA", scope="SCOPES"`}, "cannot be parsed",
		},
		"no metadata": {[]string{`Bearer scope="SCOPES"`}, `resource_metadata ""`},
		"no scope":    {[]string{`Bearer resource_metadata="METADATA"`}, `scope ""`},
		"an empty error": {[]string{`Bearer error="", resource_metadata="METADATA", scope="SCOPES"`},
			`error ""`},
	} {
		t.Run(name, func(t *testing.T) {
			e.change(func() {
				e.proxy.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					if w.Code != http.StatusUnauthorized {
						return
					}
					w.Header().Del("WWW-Authenticate")
					right := strings.NewReplacer(
						"METADATA", e.config.Settings.Resource.MetadataURL(), "SCOPES", "mcp:use notes:read")
					for _, field := range c.fields {
						w.Header().Add("WWW-Authenticate", right.Replace(field))
					}
				}
			})
			r := find(e.examine(), "server.challenge_content")
			if (r.Verdict == diagnostics.VerdictOK) != (c.found == "") || !strings.Contains(r.Found, c.found) {
				t.Errorf("%+v", r)
			}
		})
	}
}
