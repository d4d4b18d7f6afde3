package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

func TestAPageOfAnAllowedOriginIsPlayed(t *testing.T) {
	for allowed, want := range map[string]string{
		"":                   "", // the server's own origin
		"http://localhost:*": "http://localhost:6274",
		"http://127.0.0.1:*": "http://127.0.0.1:6274",
		"https://app.example.com,http://localhost:6274": "http://localhost:6274",
		"https://app.example.com,http://localhost:*":    "http://localhost:6274",
		"https://app.example.com,https://b.example.com": "https://app.example.com",
	} {
		t.Run(allowed, func(t *testing.T) {
			w := newWorld(t)
			w.settings["server.allowed_origins"] = allowed
			w.open()
			if want == "" {
				want = w.front.URL
			}
			results := w.examine()
			for _, name := range []string{"server.preflight", "server.exposed"} {
				if r := named(results, name); r.Verdict != diagnostics.VerdictOK || r.Found != "from "+want {
					t.Errorf("%+v, not from %s", r, want)
				}
			}
		})
	}
}

// Other gateways word CORS in other ways, some of which are as good (Fetch, section 3.3).
func TestAnswersToAPreflightAreReadAsBrowsersReadThem(t *testing.T) {
	w := newWorld(t).open()
	good := map[string]string{
		"Access-Control-Allow-Origin": "http://localhost:6274", "Access-Control-Allow-Methods": "GET, POST",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, MCP-Protocol-Version",
	}
	for name, c := range map[string]struct {
		status int
		change map[string]string
		lacks  string // "" means that it is good
	}{
		"as it should be":                   {204, nil, ""},
		"with a body":                       {200, nil, ""},
		"any origin":                        {204, map[string]string{"Access-Control-Allow-Origin": "*"}, ""},
		"any method":                        {204, map[string]string{"Access-Control-Allow-Methods": "*"}, ""},
		"any header, and authorization":     {204, map[string]string{"Access-Control-Allow-Headers": "*, authorization"}, ""},
		"any header, which is not any":      {204, map[string]string{"Access-Control-Allow-Headers": "*"}, "authorization in Access-Control-Allow-Headers"},
		"another origin":                    {204, map[string]string{"Access-Control-Allow-Origin": "http://localhost:6275"}, "Access-Control-Allow-Origin"},
		"two origins":                       {204, map[string]string{"Access-Control-Allow-Origin": "http://localhost:6274|*"}, "Access-Control-Allow-Origin"},
		"no origin":                         {204, map[string]string{"Access-Control-Allow-Origin": ""}, "Access-Control-Allow-Origin"},
		"no POST":                           {204, map[string]string{"Access-Control-Allow-Methods": "GET, POSTED"}, "POST in Access-Control-Allow-Methods"},
		"no version header":                 {204, map[string]string{"Access-Control-Allow-Headers": "authorization, content-type"}, "mcp-protocol-version in Access-Control-Allow-Headers"},
		"a redirect, which browsers refuse": {302, nil, "302"},
		"an error":                          {500, nil, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			w.hold(func() {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodOptions {
						return false
					}
					for _, values := range []map[string]string{good, c.change} {
						for header, value := range values {
							a.Header().Del(header)
							for one := range strings.SplitSeq(value, "|") {
								if one != "" {
									a.Header().Add(header, one)
								}
							}
						}
					}
					a.WriteHeader(c.status)
					return true
				}
			})
			r := named(w.examine(), "server.preflight")
			if (r.Verdict == diagnostics.VerdictOK) != (c.lacks == "") || !strings.Contains(r.Found, c.lacks) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A challenge is read as the strictest clients read it (RFC 9110, section 11.6.1).
func TestChallengesAreReadStrictly(t *testing.T) {
	w := newWorld(t).open()
	for name, c := range map[string]struct {
		fields []string // METADATA stands for the right address
		found  string   // "" means that it is good
	}{
		"as we write it":               {[]string{`Bearer realm="OAuth", resource_metadata="METADATA", scope="mcp:use greet:read"`}, ""},
		"another order":                {[]string{`Bearer scope="mcp:use greet:read",resource_metadata="METADATA"`}, ""},
		"another case":                 {[]string{`BEARER  Resource_Metadata="METADATA" , SCOPE="mcp:use greet:read"`}, ""},
		"an escape":                    {[]string{`Bearer realm="a \"b\" \\, c", resource_metadata="METADATA", scope="mcp:use greet:read"`}, ""},
		"beside another scheme":        {[]string{`Basic realm="x"`, `Bearer resource_metadata="METADATA", scope="mcp:use greet:read"`}, ""},
		"no scheme":                    {[]string{`resource_metadata="METADATA"`}, "no Bearer challenge"},
		"only the scheme":              {[]string{`Bearer`}, "no Bearer challenge"},
		"a longer word":                {[]string{`Bearers resource_metadata="METADATA"`}, "no Bearer challenge"},
		"without quotes":               {[]string{`Bearer resource_metadata=METADATA, scope="mcp:use greet:read"`}, "cannot be read"},
		"a quote that is left open":    {[]string{`Bearer resource_metadata="METADATA", scope="mcp:use greet:read`}, "cannot be read"},
		"an escape at the end":         {[]string{`Bearer resource_metadata="METADATA", scope="mcp:use greet:read\`}, "cannot be read"},
		"without a comma":              {[]string{`Bearer resource_metadata="METADATA" scope="mcp:use greet:read"`}, "cannot be read"},
		"with semicolons":              {[]string{`Bearer resource_metadata="METADATA"; scope="mcp:use greet:read"`}, "cannot be read"},
		"a parameter twice":            {[]string{`Bearer resource_metadata="METADATA", scope="mcp:use greet:read", scope="x"`}, "cannot be read"},
		"a parameter without a name":   {[]string{`Bearer ="x", resource_metadata="METADATA", scope="mcp:use greet:read"`}, "cannot be read"},
		"a parameter without a value":  {[]string{`Bearer resource_metadata="METADATA", scope`}, "cannot be read"},
		"a name with a blank":          {[]string{`Bearer error x="y", resource_metadata="METADATA", scope="mcp:use greet:read"`}, "cannot be read"},
		"no metadata":                  {[]string{`Bearer scope="mcp:use greet:read"`}, `resource_metadata ""`},
		"no scope":                     {[]string{`Bearer resource_metadata="METADATA"`}, `scope ""`},
		"an error, although it is new": {[]string{`Bearer error="", resource_metadata="METADATA", scope="mcp:use greet:read"`}, `error ""`},
	} {
		t.Run(name, func(t *testing.T) {
			w.hold(func() {
				w.front.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) {
					if a.Code != http.StatusUnauthorized {
						return
					}
					a.Header().Del("WWW-Authenticate")
					for _, field := range c.fields {
						a.Header().Add("WWW-Authenticate", strings.ReplaceAll(field, "METADATA", w.options.Config.Resource.MetadataURL()))
					}
				}
			})
			r := named(w.examine(), "server.challenge_content")
			if (r.Verdict == diagnostics.VerdictOK) != (c.found == "") || !strings.Contains(r.Found, c.found) {
				t.Errorf("%+v", r)
			}
		})
	}
}
