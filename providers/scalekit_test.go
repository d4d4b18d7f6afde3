package providers_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	gocmp "github.com/google/go-cmp/cmp"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

const scalekitID = "res_103100112351265282"

func openScalekit(t *testing.T, environment string, change func(*providers.Scalekit)) providers.Provider {
	t.Helper()
	kind, ok := providers.KindNamed("scalekit")
	if !ok {
		t.Fatal("there is no kind scalekit")
	}
	s := kind.Defaults().(*providers.Scalekit)
	s.EnvironmentURL, s.ResourceID = environment, scalekitID
	if change != nil {
		change(s)
	}
	r, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	s.Check(r, func(key, reason, _ string) { t.Errorf("%s: %s", key, reason) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	p, err := s.Open(ctx, providers.Site{Resource: r, Name: "Gatehouse", InitialScopes: []string{"greet:read"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// scalekitClaims are those of a token taken from a real environment, with the values changed (2026-09).
func scalekitClaims(environment string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": environment, "aud": []string{testResource, scalekitID}, "sub": "usr_1", "oid": "org_1", "resid": scalekitID, "client_id": "m2m_1",
		"roles": []string{"admin"}, "scope": "openid offline_access greet:read", "scopes": []string{"openid", "offline_access", "greet:read"},
		"sid": "ses_1", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nbf": now.Unix(), "jti": "tkn_1",
	}
}

func TestScalekitTokens(t *testing.T) {
	authority := providertest.NewIssuer(t)
	ec := authority.AddKey(jose.ES256)
	environment := authority.URL()
	rs := authority.AddKey(jose.RS256)
	for name, c := range map[string]struct {
		header, with map[string]any
		want         providers.Reason // "" means accepted
	}{
		"as captured":                        {nil, nil, ""},
		"the issuer of the MCP server":       {nil, map[string]any{"iss": environment + "/resources/" + scalekitID}, ""},
		"the environment with a slash":       {nil, map[string]any{"iss": environment + "/"}, providers.IssuerMismatch},
		"the issuer of another MCP server":   {nil, map[string]any{"iss": environment + "/resources/res_1"}, providers.IssuerMismatch},
		"an issuer that was moved":           {nil, map[string]any{"iss": "https://old.scalekit.com"}, ""},
		"another environment":                {nil, map[string]any{"iss": "https://other.scalekit.com"}, providers.IssuerMismatch},
		"without a Server URL":               {nil, map[string]any{"aud": []string{scalekitID}}, ""},
		"the audience as text":               {nil, map[string]any{"aud": scalekitID}, ""},
		"the Server URL alone":               {nil, map[string]any{"aud": []string{testResource}}, providers.AudienceMismatch},
		"another MCP server":                 {nil, map[string]any{"aud": []string{"res_1"}}, providers.AudienceMismatch},
		"an organization's token, no aud":    {nil, map[string]any{"aud": nil, "scope": nil}, providers.AudienceMismatch},
		"scope alone":                        {nil, map[string]any{"scopes": nil}, ""},
		"scopes alone":                       {nil, map[string]any{"scope": nil}, ""},
		"a machine":                          {nil, map[string]any{"sub": "m2m_1", "sid": nil, "roles": nil, "oid": nil}, ""},
		"an ID token":                        {nil, map[string]any{"aud": "m2m_1", "nonce": "n", "at_hash": "h", "scope": nil, "scopes": nil}, providers.AudienceMismatch},
		"an ID token for the MCP server":     {nil, map[string]any{"nonce": "n"}, providers.IDToken},
		"over":                               {nil, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, providers.TokenExpired},
		"without an end":                     {nil, map[string]any{"exp": nil}, providers.ExpiryMissing},
		"another algorithm":                  {map[string]any{"kid": ec}, nil, providers.AlgorithmRefused},
		"the new media type":                 {map[string]any{"typ": "at+jwt"}, nil, ""},
		"no type":                            {map[string]any{"typ": nil}, nil, providers.TypeRefused},
		"a key that nobody published":        {map[string]any{"kid": "snk_0"}, nil, providers.KeyUnknown},
		"a client ID metadata document":      {nil, map[string]any{"client_id": "https://client.example/metadata.json"}, ""},
		"scopes of both kinds that disagree": {nil, map[string]any{"scope": "greet:read", "scopes": []string{"gatehouse:admin"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := openScalekit(t, environment+"/", func(s *providers.Scalekit) { s.Issuers = []string{"https://old.scalekit.com"} })
			header := changed(map[string]any{"kid": rs, "typ": "JWT"}, c.header)
			if _, removed := c.header["typ"]; removed && c.header["typ"] == nil {
				header["typ"] = nil
			}
			id, err := p.Verify(context.Background(), authority.Sign(header, changed(scalekitClaims(environment), c.with)))
			if got := providers.ReasonOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if err == nil && (len(id.Missing([]string{"greet:read"})) > 0 || len(id.Missing([]string{"gatehouse:admin"})) == 0 || id.Client == "") {
				t.Errorf("it takes the caller for %+v", id)
			}
		})
	}
}

func TestScalekitSendsClientsToTheMCPServerInTheEnvironment(t *testing.T) {
	authority := providertest.NewIssuer(t)
	server := authority.URL() + "/resources/" + scalekitID
	for name, c := range map[string]struct {
		change func(*providers.Scalekit)
		want   providers.Metadata
	}{
		"from the settings": {nil, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"greet:read"}, BearerMethodsSupported: []string{"header"}, ResourceName: "Gatehouse",
		}},
		"with what the dashboard hands out": {func(s *providers.Scalekit) {
			s.ProtectedResourceMetadata = `{"authorization_servers":["` + server + `"],"bearer_methods_supported":["header"],"resource":"` + testResource +
				`","resource_documentation":"https://mcp.example.com/docs","scopes_supported":["todo:read"]}`
		}, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"todo:read"}, BearerMethodsSupported: []string{"header"}, ResourceName: "Gatehouse",
			ResourceDocumentation: "https://mcp.example.com/docs",
		}},
		"with a name of its own": {func(s *providers.Scalekit) {
			s.ProtectedResourceMetadata = `{"authorization_servers":["` + server + `"],"resource":"` + testResource + `","resource_name":"Todo"}`
		}, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"greet:read"}, BearerMethodsSupported: []string{"header"}, ResourceName: "Todo",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := gocmp.Diff(c.want, openScalekit(t, authority.URL(), c.change).Metadata()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScalekitSaysWhatIsWrongWithItsMetadata(t *testing.T) {
	resource, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ metadata, want string }{
		"a placeholder":            {`{"resource":"<your-mcp-url>"}`, "placeholder"},
		"quotes":                   {`'{"resource":"x"}'`, "quotes around it"},
		"double quotes":            {`"{}"`, "quotes around it"},
		"escapes":                  {`{\"resource\":\"x\"}`, "escaped"},
		"no end":                   {`{"resource":"x"`, "the end is missing"},
		"no JSON":                  {`{resource}`, "not JSON, at character 2"},
		"two documents":            {`{"resource":"x"} {}`, "members that are not served"},
		"another document":         {`{"issuer":"x"}`, "members that are not served"},
		"no resource":              {`{"authorization_servers":["x"]}`, "names no resource"},
		"no authorization servers": {`{"resource":"` + testResource + `"}`, "names no authorization_servers"},
		"tokens in the body":       {`{"resource":"x","authorization_servers":["x"],"bearer_methods_supported":["header","body"]}`, "more than header"},
		"a scope that is none":     {`{"resource":"x","authorization_servers":["x"],"scopes_supported":["a b"]}`, "not a scope"},
		"another resource":         {`{"resource":"https://mcp.example.com/","authorization_servers":["https://acme.scalekit.com/resources/` + scalekitID + `"]}`, "clients dial " + testResource},
		"the environment alone":    {`{"resource":"` + testResource + `","authorization_servers":["https://acme.scalekit.com"]}`, "the other settings say"},
		"nothing but blanks":       {"  ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &providers.Scalekit{EnvironmentURL: "https://acme.scalekit.com", ResourceID: scalekitID, ProtectedResourceMetadata: c.metadata}
			var said []string
			s.Check(resource, func(key, reason, _ string) {
				if key == "protected_resource_metadata" {
					said = append(said, reason)
				}
			})
			if got := strings.Join(said, "; "); !strings.Contains(got, c.want) {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}
