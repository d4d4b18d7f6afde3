package scalekit_test

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
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/scalekit"
	"gatehouse/providers/token"
)

const (
	scalekitID   = "res_103100112351265282"
	testResource = "https://mcp.example.com/mcp"
)

func openScalekit(t *testing.T, environment string, change func(*scalekit.Settings)) providers.Provider {
	t.Helper()
	s := scalekit.Defaults()
	s.EnvironmentURL, s.ResourceID = environment, scalekitID
	if change != nil {
		change(s)
	}
	r, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	s.Validate(r, func(p providers.Problem) { t.Errorf("%+v", p) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	p, err := s.Open(ctx, providers.ServerInfo{Resource: r, Name: "Gatehouse",
		InitialScopes: []string{"greet:read"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScalekitTokens(t *testing.T) {
	env := scalekitenv.New(t, scalekitenv.Config{ServerURL: testResource,
		Scopes: []string{"greet:read", "gatehouse:admin"}})
	rs := env.SigningKeyID()
	ec := env.AddKey(jose.ES256)
	env.SignWith(rs)
	other := env.AddResource("https://other.example/mcp")
	moved, read := "https://old.scalekit.com", scalekitenv.Scopes("greet:read")
	type ch = scalekitenv.Changes
	for name, c := range map[string]struct {
		token string
		want  providers.Reason // "" means accepted
	}{
		"as captured":                  {env.Token(read), ""},
		"the issuer of the MCP server": {env.Token(read, ch{"iss": env.AuthorizationServer()}), ""},
		"the environment with a slash": {env.Token(read, ch{"iss": env.URL() + "/"}),
			token.ReasonIssuerMismatch},
		"the issuer of another MCP server": {env.Token(read, ch{"iss": other.AuthorizationServer()}),
			token.ReasonIssuerMismatch},
		"the issuer of the MCP server and a slash": {env.Token(read, ch{"iss": env.AuthorizationServer() + "/"}),
			token.ReasonIssuerMismatch},
		"a machine of another MCP server":   {other.MachineToken(), token.ReasonAudienceMismatch},
		"an address before a custom domain": {env.Token(read, ch{"iss": moved}), ""},
		"another environment": {env.Token(read, ch{"iss": "https://other.scalekit.com"}),
			token.ReasonIssuerMismatch},
		"without a Server URL":     {env.Token(read, ch{"aud": []string{env.ResourceID()}}), ""},
		"the audience as a string": {env.Token(read, ch{"aud": env.ResourceID()}), ""},
		"the Server URL alone": {env.Token(read, ch{"aud": []string{testResource}}),
			token.ReasonAudienceMismatch},
		"no audience":                    {env.Token(read, ch{"aud": nil}), token.ReasonAudienceMismatch},
		"another MCP server":             {other.Token(), token.ReasonAudienceMismatch},
		"a machine of an organization":   {env.OrgMachineToken(), token.ReasonAudienceMismatch},
		"a token of the management API":  {env.ManagementToken(), token.ReasonAudienceMismatch},
		"scope alone":                    {env.Token(read, ch{"scopes": nil}), ""},
		"scopes alone":                   {env.Token(read, ch{"scope": nil}), ""},
		"scope and scopes differ":        {env.Token(read, ch{"scopes": []string{"gatehouse:admin"}}), ""},
		"a machine":                      {env.MachineToken(read), ""},
		"an ID token":                    {env.IDToken(), token.ReasonAudienceMismatch},
		"an ID token for the MCP server": {env.IDToken(ch{"aud": env.Audience()}), token.ReasonIDToken},
		"expired": {env.Token(read, ch{"exp": scalekitenv.In(-time.Hour)}),
			token.ReasonExpired},
		"expired within the leeway": {env.Token(read, ch{"exp": scalekitenv.In(-20 * time.Second)}), ""},
		"without expiry":            {env.Token(read, ch{"exp": nil}), token.ReasonExpiryMissing},
		"not yet valid": {env.Token(read, ch{"nbf": scalekitenv.In(time.Hour)}),
			token.ReasonNotYetValid},
		"issued in the future": {env.Token(read, ch{"iat": scalekitenv.In(time.Hour)}),
			token.ReasonNotYetValid},
		"unsigned": {env.Unsigned(env.UserClaims()), token.ReasonAlgorithmRefused},
		"another algorithm": {env.Sign(ch{"kid": ec, "alg": "ES256"}, env.UserClaims()),
			token.ReasonAlgorithmRefused},
		"an unknown key": {env.Sign(ch{"kid": "snk_0"}, env.UserClaims()),
			token.ReasonKeyUnknown},
		"no type": {env.Sign(ch{"typ": nil}, env.UserClaims()), token.ReasonTypeRefused},
		"a client with a metadata document": {env.Token(read,
			ch{"client_id": "https://client.example/metadata.json"}), ""},
		"the public key as a shared secret": {oneOf(env.SignedWithPublicKey(env.UserClaims())),
			token.ReasonAlgorithmRefused},
		"aud in another case": {env.Token(read, ch{"aud": nil, "AUD": env.Audience()}),
			token.ReasonClaimsMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			p := openScalekit(t, env.URL()+"/", func(s *scalekit.Settings) { s.Issuers = []string{moved} })
			id, err := p.Verify(context.Background(), c.token)
			if got := providers.ReasonOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if err == nil && (len(id.Missing([]string{"greet:read"})) > 0 ||
				len(id.Missing([]string{"gatehouse:admin"})) == 0 || id.Client == "") {
				t.Errorf("the identity is %+v", id)
			}
		})
	}
}

// oneOf returns any of the values.
func oneOf(tokens map[string]string) string {
	for _, token := range tokens {
		return token
	}
	return ""
}

func TestScalekitMetadata(t *testing.T) {
	authority := providertest.NewIssuer(t)
	server := authority.URL() + "/resources/" + scalekitID
	for name, c := range map[string]struct {
		change func(*scalekit.Settings)
		want   providers.Metadata
	}{
		"from the settings": {nil, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"greet:read"},
			BearerMethodsSupported: []string{"header"}, ResourceName: "Gatehouse",
		}},
		"with the metadata of the dashboard": {func(s *scalekit.Settings) {
			s.ProtectedResourceMetadata = `{"authorization_servers":["` + server +
				`"],"bearer_methods_supported":["header"],"resource":"` + testResource +
				`","resource_documentation":"https://mcp.example.com/docs","scopes_supported":["todo:read"]}`
		}, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"todo:read"},
			BearerMethodsSupported: []string{"header"}, ResourceName: "Gatehouse",
			ResourceDocumentation: "https://mcp.example.com/docs",
		}},
		"with a name of its own": {func(s *scalekit.Settings) {
			s.ProtectedResourceMetadata = `{"authorization_servers":["` + server + `"],"resource":"` + testResource +
				`","resource_name":"Todo"}`
		}, providers.Metadata{
			Resource: testResource, AuthorizationServers: []string{server}, ScopesSupported: []string{"greet:read"},
			BearerMethodsSupported: []string{"header"}, ResourceName: "Todo",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := gocmp.Diff(c.want, openScalekit(t, authority.URL(), c.change).Metadata()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScalekitValidatesDashboardMetadata(t *testing.T) {
	resource, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ metadata, want string }{
		"a placeholder":            {`{"resource":"<your-mcp-url>"}`, "placeholder"},
		"quotes":                   {`'{"resource":"x"}'`, "enclosed in quotes"},
		"double quotes":            {`"{}"`, "enclosed in quotes"},
		"escapes":                  {`{\"resource\":\"x\"}`, "escaped"},
		"no expiry":                {`{"resource":"x"`, "the end is missing"},
		"no JSON":                  {`{resource}`, "not JSON, at character 2"},
		"two documents":            {`{"resource":"x"} {}`, "unknown members"},
		"another document":         {`{"issuer":"x"}`, "unknown members"},
		"no resource":              {`{"authorization_servers":["x"]}`, "names no resource"},
		"no authorization servers": {`{"resource":"` + testResource + `"}`, "names no authorization_servers"},
		"tokens in the body": {`{"resource":"x","authorization_servers":["x"],` +
			`"bearer_methods_supported":["header","body"]}`, "more than header"},
		"an invalid scope": {`{"resource":"x","authorization_servers":["x"],"scopes_supported":["a b"]}`,
			"not a scope"},
		"another resource": {`{"resource":"https://mcp.example.com/",` +
			`"authorization_servers":["https://acme.scalekit.com/resources/` + scalekitID + `"]}`,
			"clients connect to " + testResource},
		"the environment alone": {`{"resource":"` + testResource +
			`","authorization_servers":["https://acme.scalekit.com"]}`, "according to the other settings it is"},
		"blanks only": {"  ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scalekit.Settings{EnvironmentURL: "https://acme.scalekit.com", ResourceID: scalekitID,
				ProtectedResourceMetadata: c.metadata}
			var reasons []string
			s.Validate(resource, func(p providers.Problem) {
				if p.Key == "protected_resource_metadata" {
					reasons = append(reasons, p.Reason)
				}
			})
			if got := strings.Join(reasons, "; "); !strings.Contains(got, c.want) {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

// After a change of the scopes the provider keeps its keys, and its metadata has the new ones.
func TestDescribe_ChangesTheMetadataAlone(t *testing.T) {
	env := scalekitenv.New(t, scalekitenv.Config{ServerURL: testResource, Scopes: []string{"greet:read"}})
	opened := openScalekit(t, env.URL(), nil)
	s := scalekit.Defaults()
	s.EnvironmentURL, s.ResourceID = env.URL(), scalekitID
	r, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	described := s.Describe(opened, providers.ServerInfo{Resource: r, InitialScopes: []string{"other:read"}})
	got, want := described.Metadata(), opened.Metadata()
	want.ScopesSupported, want.ResourceName = []string{"other:read"}, ""
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := opened.Verify(t.Context(), env.Token(scalekitenv.Scopes("greet:read"))); err != nil {
		t.Fatal(err)
	}
	if !described.(providers.KeyReporter).Keys().Usable {
		t.Error("it has other keys")
	}
}
