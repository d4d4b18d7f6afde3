package broker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

// valid returns settings without a problem for https://mcp.example.com/mcp.
func valid() *Settings {
	s := Defaults()
	s.Issuer, s.ClientID, s.ClientSecret = "https://login.example.com", "gatehouse", "secret of the client"
	s.Secrets = providers.Secret(seal.NewSecret())
	s.Store = "file:///var/lib/gatehouse/sign-ins.db"
	return s
}

func problemsOf(t *testing.T, s *Settings, resource string) []providers.Problem {
	t.Helper()
	parsed, err := providers.ParseResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	var problems []providers.Problem
	s.Validate(parsed, func(p providers.Problem) { problems = append(problems, p) })
	return problems
}

const public, loopback = "https://mcp.example.com/mcp", "http://localhost:3002/mcp"

func TestValidate(t *testing.T) {
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	enterprise := func(s *Settings) {
		s.EnterpriseIssuers, s.EnterpriseScopes = []string{"https://idp.example.com"}, []string{"mcp:use"}
		s.EnterpriseClients = []string{"agent=" + secretFile, "https://agent.example.com/client.json"}
	}
	for name, c := range map[string]struct {
		change   func(*Settings)
		resource string // public if empty
		want     string // KEY CODE; no problem if empty
	}{
		"complete": {func(*Settings) {}, "", ""},
		"Redis": {func(s *Settings) {
			s.Store, s.StorePassword = "rediss://redis.internal:6379/0", "x"
		}, "", ""},
		"memory on loopback":    {func(s *Settings) { s.Store = store.InMemory }, loopback, ""},
		"memory":                {func(s *Settings) { s.Store = store.InMemory }, "", "store insecure"},
		"memory as a URL":       {func(s *Settings) { s.Store = "memory:" }, "", "store invalid_value"},
		"unknown store":         {func(s *Settings) { s.Store = "postgres://db" }, "", "store invalid_value"},
		"password in the store": {func(s *Settings) { s.Store = "redis://:secret@redis:6379/0" }, "", "store invalid_value"},
		"password of a file":    {func(s *Settings) { s.StorePassword = "x" }, "", "store_password no_effect"},

		"no issuer":              {func(s *Settings) { s.Issuer = "" }, "", "issuer missing"},
		"issuer with plain http": {func(s *Settings) { s.Issuer = "http://idp:9000" }, "", "issuer invalid_value"},
		"issuer on loopback":     {func(s *Settings) { s.Issuer = "http://localhost:9000" }, "", ""},
		"issuer in the own network": {func(s *Settings) {
			s.Issuer, s.HTTPAllowedHosts = "http://idp:9000", []string{"idp:9000"}
		}, "", ""},
		"every tenant": {func(s *Settings) {
			s.Issuer = "https://login.microsoftonline.com/{tid}/v2.0"
		}, "", "issuer insecure"},
		"host with a scheme": {func(s *Settings) {
			s.HTTPAllowedHosts = []string{"http://idp"}
		}, "", "http_allowed_hosts invalid_value"},

		"no client":        {func(s *Settings) { s.ClientID = "" }, "", "client_id missing"},
		"no client secret": {func(s *Settings) { s.ClientSecret = "" }, "", "client_secret missing"},
		"no client key": {func(s *Settings) {
			s.ClientSecret, s.ClientKey = "", "not PEM"
		}, "", "client_key invalid_value"},
		"secret and key": {func(s *Settings) { s.ClientKey = "x" }, "", "client_key conflict"},

		"no openid": {func(s *Settings) { s.UpstreamScopes = []string{"email"} }, "", "upstream_scopes missing"},
		"two scopes in one": {func(s *Settings) {
			s.UpstreamScopes = []string{"openid", "a b"}
		}, "", "upstream_scopes invalid_value"},
		"parameter": {func(s *Settings) { s.AuthorizeParams = []string{"prompt=consent"} }, "", ""},
		"parameter of its own": {func(s *Settings) {
			s.AuthorizeParams = []string{"state=x"}
		}, "", "authorize_params not_allowed"},
		"resource as parameter": {func(s *Settings) {
			s.AuthorizeParams = []string{"resource=x"}
		}, "", "authorize_params not_allowed"},
		"parameter of no value": {func(s *Settings) {
			s.AuthorizeParams = []string{"prompt"}
		}, "", "authorize_params invalid_value"},

		"e-mail as identity":   {func(s *Settings) { s.SubjectClaim = "email" }, "", "subject_claim insecure"},
		"mail as identity":     {func(s *Settings) { s.SubjectClaim = "mail" }, "", "subject_claim insecure"},
		"other mail":           {func(s *Settings) { s.SubjectClaim = "verified_email" }, "", "subject_claim insecure"},
		"login as identity":    {func(s *Settings) { s.SubjectClaim = "preferred_username" }, "", "subject_claim insecure"},
		"object of the tenant": {func(s *Settings) { s.SubjectClaim = "oid" }, "", ""},
		"no identity":          {func(s *Settings) { s.SubjectClaim = "" }, "", "subject_claim invalid_value"},
		"rule without scopes": {func(s *Settings) {
			s.ScopeRules = ClaimList{"groups=mcp"}
		}, "", "scope_rules invalid_value"},
		"claim without a value": {func(s *Settings) {
			s.RequiredClaims = []string{"hd"}
		}, "", "required_claims invalid_value"},
		"Google for everyone": {func(s *Settings) { s.Issuer = "https://accounts.google.com" }, "", "issuer insecure"},
		"Google with a star": {func(s *Settings) {
			s.Issuer, s.ScopeRules = "https://accounts.google.com", ClaimList{"* > mcp:use"}
		}, "", "issuer insecure"},
		"Google of a domain": {func(s *Settings) {
			s.Issuer, s.RequiredClaims = "https://accounts.google.com", []string{"hd=example.com"}
		}, "", ""},
		"Google of a person": {func(s *Settings) {
			s.Issuer, s.ScopeRules = "https://accounts.google.com", ClaimList{"sub=1 > mcp:use"}
		}, "", ""},
		"Microsoft for everyone": {func(s *Settings) {
			s.Issuer = "https://login.microsoftonline.com/common/v2.0"
		}, "", "issuer insecure"},
		"personal accounts": {func(s *Settings) {
			s.Issuer = "https://login.microsoftonline.com/" + consumersTenant + "/v2.0"
		}, "", "issuer insecure"},
		"e-mail rule at Entra": {func(s *Settings) {
			s.Issuer, s.ScopeRules = entraIssuer, ClaimList{"email=a@example.com > mcp:use"}
		}, "", "scope_rules insecure"},
		"role rule at Entra": {func(s *Settings) {
			s.Issuer, s.ScopeRules = entraIssuer, ClaimList{"roles=McpUser > mcp:use"}
		}, "", ""},
		"no secrets": {func(s *Settings) { s.Secrets = "" }, "", "secrets_file missing"},
		"no secrets, on loopback": {func(s *Settings) {
			s.Secrets, s.Store = "", store.InMemory
		}, loopback, "secrets_file missing"},
		"weak secrets":     {func(s *Settings) { s.Secrets = "password" }, "", "secrets_file insecure"},
		"grace of an hour": {func(s *Settings) { s.RefreshGrace = time.Hour }, "", "refresh_grace out_of_range"},
		"no grace":         {func(s *Settings) { s.RefreshGrace = 0 }, "", ""},
		"recheck every second": {func(s *Settings) {
			s.RecheckInterval = time.Second
		}, "", "recheck_interval out_of_range"},
		"stale before the recheck": {func(s *Settings) {
			s.RecheckMaxStale = 2 * time.Minute
		}, "", "recheck_max_stale conflict"},
		"sign-in of 2 years": {func(s *Settings) {
			s.SessionLifetime = 17520 * time.Hour
		}, "", "session_lifetime out_of_range"},
		"registration of a minute": {func(s *Settings) {
			s.RegistrationLifetime = time.Minute
		}, "", "registration_lifetime out_of_range"},
		"date without a time": {func(s *Settings) { s.RevokeBefore = "2026-11-30" }, "", "revoke_before invalid_value"},
		"time":                {func(s *Settings) { s.RevokeBefore = "2026-11-30T12:00:00Z" }, "", ""},
		"documents off, but nearby": {func(s *Settings) {
			s.Store, s.ClientDocuments, s.AllowLoopbackClientDocuments = store.InMemory, false, true
		}, loopback, "allow_loopback_client_documents no_effect"},
		"documents nearby": {func(s *Settings) {
			s.AllowLoopbackClientDocuments = true
		}, "", "allow_loopback_client_documents insecure"},
		"redirect hosts": {func(s *Settings) { s.RedirectHosts = []string{"claude.ai", "*.example.com"} }, "", ""},
		"redirect host with path": {func(s *Settings) {
			s.RedirectHosts = []string{"claude.ai/x"}
		}, "", "redirect_hosts invalid_value"},
		"redirect to every host": {func(s *Settings) {
			s.RedirectHosts = []string{"*"}
		}, "", "redirect_hosts invalid_value"},
		"app": {func(s *Settings) { s.RedirectSchemes = []string{"cursor"} }, "", ""},
		"script": {func(s *Settings) {
			s.RedirectSchemes = []string{"javascript"}
		}, "", "redirect_schemes not_allowed"},
		"web as an app": {func(s *Settings) {
			s.RedirectSchemes = []string{"http"}
		}, "", "redirect_schemes not_allowed"},
		"empty denied client": {func(s *Settings) {
			s.DeniedClients = []string{" "}
		}, "", "denied_clients invalid_value"},

		"enterprise": {enterprise, "", ""},
		"enterprise without scopes": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseScopes = nil
		}, "", "enterprise_scopes missing"},
		"enterprise without clients": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseClients = nil
		}, "", "enterprise_clients missing"},
		"enterprise over plain http": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseIssuers = []string{"http://idp"}
		}, "", "enterprise_issuers invalid_value"},
		"enterprise client, no file": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseClients = []string{"a=/nowhere"}
		}, "", "enterprise_clients invalid_value"},
		"enterprise client, a device": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseClients = []string{"a=/dev/zero"}
		}, "", "enterprise_clients invalid_value"},
		"enterprise client, no =": {func(s *Settings) {
			enterprise(s)
			s.EnterpriseClients = []string{"agent"}
		}, "", "enterprise_clients invalid_value"},

		"other resource":    {func(s *Settings) { s.Resources = []string{"https://other.example.com/mcp"} }, "", ""},
		"the same resource": {func(s *Settings) { s.Resources = []string{public} }, "", "resources conflict"},
		"resource over plain http": {func(s *Settings) {
			s.Resources = []string{"http://other.example.com/mcp"}
		}, "", "resources invalid_value"},
		"resource at the callback":  {func(*Settings) {}, "https://mcp.example.com/callback", "kind conflict"},
		"resource at the authorize": {func(*Settings) {}, "https://mcp.example.com/authorize", "kind conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			s := valid()
			c.change(s)
			if c.resource == "" {
				c.resource = public
			}
			var got []string
			for _, p := range problemsOf(t, s, c.resource) {
				got = append(got, p.Key+" "+string(p.Code))
				if p.Reason == "" || p.Fix == "" || strings.Contains(p.Reason+p.Fix, "secret of the client") {
					t.Errorf("%+v", p)
				}
			}
			want := []string{c.want}
			if c.want == "" {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("the problems are %q, want %q", got, want)
			}
		})
	}
}

const entraIssuer = "https://login.microsoftonline.com/3f2b1d2c-0000-4000-8000-000000000001/v2.0"

// An operator sees everything that is wrong at once.
func TestValidate_ReportsAllProblemsTogether(t *testing.T) {
	s := Defaults()
	s.SubjectClaim, s.ScopeRules = "email", ClaimList{"x"}
	var keys []string
	for _, p := range problemsOf(t, s, public) {
		keys = append(keys, p.Key)
	}
	want := []string{"issuer", "client_id", "client_secret", "subject_claim", "scope_rules", "secrets_file", "store"}
	if !slices.Equal(keys, want) {
		t.Errorf("%q, want %q", keys, want)
	}
}

func TestClaimList_ParseText(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                 {},
		"a=b":                              {"a=b"},
		" a=b > x y , c=d > z ":            {"a=b > x y", "c=d > z"},
		`g="CN=MCP,OU=x" > mcp:use, * > y`: {`g="CN=MCP,OU=x" > mcp:use`, "* > y"},
		`g="a\",b" > x,h=1 > y`:            {`g="a\",b" > x`, "h=1 > y"},
		",,":                               {},
	} {
		got, err := ClaimList(nil).ParseText(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ClaimList(nil).ParseText(`a="b`); err == nil {
		t.Error("an open quotation mark is accepted")
	}
}
