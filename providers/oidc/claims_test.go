package oidc_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

func TestOIDCClaimNames(t *testing.T) {
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		with   map[string]any
		want   string // subject, client and scopes
	}{
		"RFC 9068": {nil, nil, "alice test-client mcp:use"},
		"scopes as a list under scp": {nil,
			map[string]any{"scope": nil, "scp": []string{"a", "b"}}, "alice test-client a b"},
		"a group whose name has a scope in it": {scopesIn("groups"),
			map[string]any{"groups": []string{"friends of mcp:admin", "a"}}, "alice test-client a"},
		"a role whose name has a scope in it": {scopesIn("roles"),
			map[string]any{"roles": map[string]any{"friends of mcp:admin": 1, "a": 1}}, "alice test-client a"},
		"scopes with another blank between": {nil, map[string]any{"scope": "a\u00a0mcp:admin b"},
			"alice test-client b"},
		"the first claim that is there, not the others": {scopesIn("scp", "roles", "scope"),
			map[string]any{"roles": []string{"r"}}, "alice test-client r"},
		"an empty first claim counts": {scopesIn("scp", "scope"),
			map[string]any{"scp": []string{}}, "alice test-client"},
		"scopes at the end of a path": {scopesIn("realm_access.roles"),
			map[string]any{"realm_access": map[string]any{"roles": []string{"r"}}}, "alice test-client r"},
		"a claim with dots in its name before a path": {scopesIn("https://a.b/scopes"),
			map[string]any{"https://a.b/scopes": "x"}, "alice test-client x"},
		"scopes below a member that is a URL": {scopesIn("resource_access.https://mcp.example.com/mcp.roles"),
			map[string]any{"resource_access": map[string]any{
				"https://mcp.example.com/mcp": map[string]any{"roles": []string{"r"}}}}, "alice test-client r"},
		"scopes below a claim that is a URL": {scopesIn("https://example.com/app.roles"),
			map[string]any{"https://example.com/app": map[string]any{"roles": []string{"r"}}}, "alice test-client r"},
		"a path of which every member has a dot": {scopesIn("a.b.c.d"),
			map[string]any{"a.b": map[string]any{"c.d": "x"}}, "alice test-client x"},
		"the longest of the members that begin a path": {scopesIn("a.b.c"),
			map[string]any{"a": map[string]any{"b": map[string]any{"c": "short"}, "b.c": "middle"},
				"a.b": map[string]any{"c": "long"}}, "alice test-client long"},
		"the claim of that very name before any path": {scopesIn("a.b.c"),
			map[string]any{"a.b.c": "whole", "a.b": map[string]any{"c": "long"}}, "alice test-client whole"},
		"the next member if the longest leads nowhere": {scopesIn("a.b.c"),
			map[string]any{"a": map[string]any{"b": map[string]any{"c": "short"}}, "a.b": map[string]any{"d": "long"}},
			"alice test-client short"},
		"a member of a path that is null": {scopesIn("a.b.c", "scope"),
			map[string]any{"a": map[string]any{"b": nil}, "a.b": json.RawMessage("null")},
			"alice test-client mcp:use"},
		"the end of a path that is null": {scopesIn("a.b", "scope"),
			map[string]any{"a": map[string]any{"b": nil}}, "alice test-client mcp:use"},
		"scope null and scopes in scp": {nil,
			map[string]any{"scope": json.RawMessage("null"), "scp": []string{"a"}}, "alice test-client a"},
		"scope null, with default scopes": {defaultScopes("mcp:use"),
			map[string]any{"scope": json.RawMessage("null")}, "alice test-client mcp:use"},
		"client_id null and the client in azp": {nil,
			map[string]any{"client_id": json.RawMessage("null"), "azp": "web"}, "alice web mcp:use"},
		"a claim that is required below one with dots": {required("kubernetes.io.namespace=agents"),
			map[string]any{"kubernetes.io": map[string]any{"namespace": "agents"}}, "alice test-client mcp:use"},
		"the type that Casdoor requires": {required("tokenType=access-token"),
			map[string]any{"tokenType": "access-token", "scope": nil, "client_id": nil}, "alice"},
		"the types that access tokens have": {nil,
			map[string]any{"typ": "Bearer", "type": "oauth-access-token", "token_use": "access",
				"token_type": "access_token", "tokenType": "access-token"}, "alice test-client mcp:use"},
		"a type that is no string, and others that only look": {nil,
			map[string]any{"type": 7, "typ": []string{"x"}, "tid": "id", "title": "refresh", "token_use": "identity",
				"t": "id"}, "alice test-client mcp:use"},
		"the names in an object": {scopesIn("urn:roles"),
			map[string]any{"urn:roles": map[string]any{"b": map[string]any{"1": "x"}, "a": 1}},
			"alice test-client a b"},
		"scopes by names of the provider": {func(s *oidc.Settings) {
			s.ScopeMap = []string{"api/use=mcp:use",
				"api/use=greet:read"}
		}, map[string]any{"scope": "api/use other"},
			"alice test-client mcp:use greet:read other"},
		"a scope with an equals sign in it": {func(s *oidc.Settings) { s.ScopeMap = []string{"a=b=mcp:use"} },
			map[string]any{"scope": "a=b"}, "alice test-client mcp:use"},
		"no scope claim, with default scopes": {defaultScopes("mcp:use"),
			map[string]any{"scope": nil}, "alice test-client mcp:use"},
		"an empty list of scopes, with default scopes": {defaultScopes("mcp:use"),
			map[string]any{"scope": []string{}}, "alice test-client"},
		"an empty scope claim, with default scopes": {defaultScopes("mcp:use"),
			map[string]any{"scope": ""}, "alice test-client"},
		"the client under cid": {func(s *oidc.Settings) { s.ClientClaims = []string{"client_id", "cid"} },
			map[string]any{"client_id": nil, "cid": "web"}, "alice web mcp:use"},
		"the client in the audience": {func(s *oidc.Settings) {
			s.ClientClaims, s.Audiences = []string{"azp",
				"aud"}, []string{"web"}
		}, map[string]any{"aud": "web"}, "alice web mcp:use"},
		"the first client claim that is not empty": {nil, map[string]any{"client_id": "", "azp": "web"},
			"alice web mcp:use"},
		"another subject": {func(s *oidc.Settings) { s.SubjectClaim = "uid" },
			map[string]any{"uid": "00u1"}, "00u1 test-client mcp:use"},
		"no aud, from an allowed client": {clients("test-client"), map[string]any{"aud": nil},
			"alice test-client mcp:use"},
		"an empty aud, from an allowed client": {clients("test-client"),
			map[string]any{"aud": []string{}}, "alice test-client mcp:use"},
		"the resource as aud, from an allowed client": {clients("test-client"), nil,
			"alice test-client mcp:use"},
		"an allowed client as aud": {clients("test-client"),
			map[string]any{"aud": "test-client"}, "alice test-client mcp:use"},
		"a required claim that is there": {required("token_use=access"),
			map[string]any{"token_use": "access"}, "alice test-client mcp:use"},
		"a required claim that is a list": {required("groups=staff"),
			map[string]any{"groups": []string{"x", "staff"}}, "alice test-client mcp:use"},
		"a required claim that is true": {required("active=true"),
			map[string]any{"active": true}, "alice test-client mcp:use"},
		"a required claim inside an object": {required("ext.kind=access"),
			map[string]any{"ext": map[string]any{"kind": "access"}}, "alice test-client mcp:use"},
		"a required value with an equals sign": {required("a=b=c"), map[string]any{"a": "b=c"},
			"alice test-client mcp:use"},
		"neither client nor scopes, but a claim for the kind": {required("type=access"),
			map[string]any{"type": "access", "scope": nil, "client_id": nil}, "alice"},
		"nonce and hashes, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"nonce": "n", "at_hash": "h", "scope": nil, "client_id": nil}, "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
				s.JWKSURL = authority.KeysURL()
				if c.change != nil {
					c.change(s)
				}
			}), testResource)
			id, err := p.Verify(context.Background(), authority.Sign(nil,
				withChanges(authority.Claims(testResource), c.with)))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(strings.Fields(id.Subject+" "+id.Client+" "+strings.Join(id.Scopes, " ")),
				" "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func clients(allowed ...string) func(*oidc.Settings) {
	return func(s *oidc.Settings) { s.AudienceMode, s.AllowedClients = "client_allow_list", allowed }
}

func scopesIn(claims ...string) func(*oidc.Settings) {
	return func(s *oidc.Settings) { s.ScopeClaims = claims }
}

func defaultScopes(scopes ...string) func(*oidc.Settings) {
	return func(s *oidc.Settings) { s.DefaultScopes = scopes }
}

func required(claims ...string) func(*oidc.Settings) {
	return func(s *oidc.Settings) { s.RequiredClaims = claims }
}

func TestOIDCStaysStrictWithLooserSettings(t *testing.T) {
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		with   map[string]any
		want   providers.Reason
	}{
		"no aud, from a client that is not allowed": {clients("web"),
			map[string]any{"aud": nil}, token.ReasonClientRefused},
		"no aud and no client": {clients("web"),
			map[string]any{"aud": nil, "client_id": nil}, token.ReasonClientRefused},
		"another resource, from an allowed client": {clients("test-client"),
			map[string]any{"aud": "https://other.example"}, token.ReasonAudienceMismatch},
		"the resource, from a client that is not allowed": {clients("web"), nil,
			token.ReasonClientRefused},
		"no aud in the usual mode": {nil,
			map[string]any{"aud": nil}, token.ReasonAudienceMismatch},
		"a required claim that is missing": {required("token_use=access"),
			nil, token.ReasonClaimMismatch},
		"a required claim with another value": {required("token_use=access"),
			map[string]any{"token_use": "accessory"}, token.ReasonClaimMismatch},
		"a required claim with the value of an ID token": {required("token_use=access"),
			map[string]any{"token_use": "id"}, token.ReasonTypeRefused},
		"a required claim that is null": {required("token_use=access"),
			map[string]any{"token_use": json.RawMessage("null")}, token.ReasonClaimMismatch},
		"a required claim below one with dots, in another case": {required("kubernetes.io.namespace=agents"),
			map[string]any{"Kubernetes.io": map[string]any{"namespace": "agents"}}, token.ReasonClaimsMalformed},
		"a required claim below one with dots, with another value": {required("kubernetes.io.namespace=agents"),
			map[string]any{"kubernetes.io": map[string]any{"namespace": "other"}}, token.ReasonClaimMismatch},
		"a member of a path twice, below one with dots": {scopesIn("a.b.scp"),
			map[string]any{"a.b": json.RawMessage(`{"scp":"a","scp":"b"}`)}, token.ReasonClaimsMalformed},
		"a refresh token, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"typ": "Refresh"}, token.ReasonTypeRefused},
		"an ID token by token_use, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"token_use": "id"}, token.ReasonTypeRefused},
		"a refresh token of Casdoor": {nil,
			map[string]any{"tokenType": "refresh-token"}, token.ReasonTypeRefused},
		"a refresh token whose claim is spelled in another way": {nil,
			map[string]any{"TokenUse": "RefreshToken"}, token.ReasonTypeRefused},
		"a refresh token by one claim, an access token by another": {nil,
			map[string]any{"token_use": "access", "typ": "Refresh"}, token.ReasonTypeRefused},
		"the hash of a code, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"c_hash": "h"}, token.ReasonIDToken},
		"a required claim in another case": {required("token_use=access"),
			map[string]any{"Token_Use": "access"}, token.ReasonClaimsMalformed},
		"a required claim that only begins like it": {required("token_use=access"),
			map[string]any{"token_use": "access_"}, token.ReasonClaimMismatch},
		"a list that does not hold the required value": {required("groups=staff"),
			map[string]any{"groups": []string{"staff2"}}, token.ReasonClaimMismatch},
		"text where true is required": {required("groups=staff"),
			map[string]any{"groups": map[string]any{"staff": 1}}, token.ReasonClaimMismatch},
		"a nonce and the required claim": {required("token_use=access"),
			map[string]any{"token_use": "access", "nonce": "n"}, token.ReasonIDToken},
		"neither client nor scopes": {nil,
			map[string]any{"scope": nil, "client_id": nil}, token.ReasonIDToken},
		"neither client nor scopes, with a required claim that ID tokens have too": {required("tid=acme"),
			map[string]any{"tid": "acme", "scope": nil, "client_id": nil}, token.ReasonIDToken},
		"neither client nor scopes, with default scopes": {defaultScopes("mcp:use"),
			map[string]any{"scope": nil, "client_id": nil}, token.ReasonIDToken},
		"a configured scope claim in another case": {scopesIn("permissions"),
			map[string]any{"Permissions": "x"}, token.ReasonClaimsMalformed},
		"the path to the scopes twice": {scopesIn("ext.scp"),
			map[string]any{"ext": json.RawMessage(`{"scp":"a","scp":"b"}`)}, token.ReasonClaimsMalformed},
		"the path to the scopes leads into text": {scopesIn("ext.scp"),
			map[string]any{"ext": "x"}, token.ReasonClaimsMalformed},
		"an object where the standard wants text": {nil,
			map[string]any{"scope": map[string]any{"mcp:use": 1}}, token.ReasonClaimsMalformed},
		"U+FFFD in the client": {nil,
			map[string]any{"client_id": "web\ufffd"}, token.ReasonClaimsMalformed},
		"the subject that is named is missing": {func(s *oidc.Settings) { s.SubjectClaim = "uid" }, nil,
			token.ReasonSubjectMissing},
		"an event token, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"events": map[string]any{}}, token.ReasonTypeRefused},
		"a bound token, with the guard off": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			map[string]any{"cnf": map[string]any{}}, token.ReasonSenderConstrained},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
				s.JWKSURL = authority.KeysURL()
				if c.change != nil {
					c.change(s)
				}
			}), testResource)
			_, err := p.Verify(context.Background(), authority.Sign(nil,
				withChanges(authority.Claims(testResource), c.with)))
			if got := providers.ReasonOf(err); got != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// An issuer with many tenants, such as Microsoft Entra: the metadata names none of them, and keys may be
// bound to one.
func TestOIDCAcceptsOnlyListedTenants(t *testing.T) {
	const template = "https://login.example.com/{tid}/v2.0"
	authority := providertest.NewIssuer(t)
	unbound := authority.SigningKeyID()
	shared := authority.ImportKey(newP256(t), jose.ES256,
		map[string]any{"issuer": "https://login.example.com/{tenantid}/v2.0"})
	ofTwo := authority.ImportKey(newP256(t), jose.ES256,
		map[string]any{"issuer": "https://login.example.com/two/v2.0"})
	elsewhere := authority.ImportKey(newP256(t), jose.ES256,
		map[string]any{"issuer": "https://login.elsewhere.example/{tenantid}/v2.0"})
	metadata := metadataServer(t,
		map[string]string{"/common": `{"issuer":"https://login.example.com/{tenantid}/v2.0","jwks_uri":"` +
			authority.KeysURL() + `"}`})
	p := open(t, newSettings(t, template, func(s *oidc.Settings) {
		s.Tenants, s.DiscoveryURL, s.AuthorizationServers = []string{"one", "two"}, metadata.URL+"/common",
			[]string{"https://login.example.com/one/v2.0"}
	}), testResource)
	if got := p.Metadata().AuthorizationServers; len(got) != 1 ||
		got[0] != "https://login.example.com/one/v2.0" {
		t.Errorf("clients are sent to %v", got)
	}
	for name, c := range map[string]struct {
		kid, iss string
		tid      any
		want     providers.Reason
	}{
		"the first tenant":                      {shared, "https://login.example.com/one/v2.0", "one", ""},
		"the second":                            {shared, "https://login.example.com/two/v2.0", "two", ""},
		"the second, by a key of its own":       {ofTwo, "https://login.example.com/two/v2.0", "two", ""},
		"the first, by a key that is not bound": {unbound, "https://login.example.com/one/v2.0", "one", ""},
		"the first, by the key of the second": {ofTwo, "https://login.example.com/one/v2.0", "one",
			token.ReasonKeyUnknown},
		"the first, by a key of another cloud": {elsewhere, "https://login.example.com/one/v2.0", "one",
			token.ReasonKeyUnknown},
		"a tenant that is not named": {shared, "https://login.example.com/three/v2.0", "three",
			token.ReasonIssuerMismatch},
		"a tenant that differs from the one in iss": {shared, "https://login.example.com/one/v2.0", "two",
			token.ReasonClaimMismatch},
		"no tenant claim": {shared, "https://login.example.com/one/v2.0", nil,
			token.ReasonClaimMismatch},
		"the template itself": {shared, template, "{tid}", token.ReasonIssuerMismatch},
		"two tenants in one": {shared, "https://login.example.com/one/two/v2.0", "one/two",
			token.ReasonIssuerMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			text := authority.Sign(map[string]any{"kid": c.kid},
				withChanges(authority.Claims(testResource), map[string]any{"iss": c.iss, "tid": c.tid}))
			id, err := p.Verify(context.Background(), text)
			if got := providers.ReasonOf(err); got != c.want || err == nil && id.Issuer != c.iss {
				t.Errorf("got %+v, %v; want %q", id, err, c.want)
			}
		})
	}
	// A parser that ignores case would read the other one.
	twice := authority.Sign(nil, withChanges(authority.Claims(testResource),
		map[string]any{"iss": "https://login.example.com/two/v2.0", "tid": "two", "Tid": "one"}))
	if _, err := p.Verify(context.Background(), twice); providers.ReasonOf(err) != token.ReasonClaimsMalformed {
		t.Errorf("the tenant also in another case: %v", err)
	}
}

func TestOIDCScopesForClients(t *testing.T) {
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		change               func(*oidc.Settings)
		advertised, inChange string
	}{
		"no map": {nil, "mcp:use", "mcp:use greet:read"},
		"the first of two names": {func(s *oidc.Settings) {
			s.ScopeMap = []string{"api://x/use=mcp:use",
				"use=mcp:use"}
		}, "api://x/use", "api://x/use greet:read"},
		"scopes_advertised": {func(s *oidc.Settings) { s.ScopesAdvertised = []string{"api://x/.default"} },
			"api://x/.default", "mcp:use greet:read"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, authority.URL(), c.change), testResource)
			if got := strings.Join(p.Metadata().ScopesSupported, " "); got != c.advertised {
				t.Errorf("scopes_supported is %q, want %q", got, c.advertised)
			}
			if got := strings.Join(p.(providers.ScopeMapper).ProviderScopes([]string{"mcp:use", "greet:read"}),
				" "); got != c.inChange {
				t.Errorf("a challenge names %q, want %q", got, c.inChange)
			}
		})
	}
}

// Metadata with another issuer than the tokens is used only if discovery_issuer names it.
func TestOIDCDiscoveryIssuer(t *testing.T) {
	authority := providertest.NewIssuer(t)
	metadata := metadataServer(t,
		map[string]string{"/.well-known/openid-configuration": `{"issuer":"ISSUER","jwks_uri":"` +
			authority.KeysURL() + `"}`})
	const issuer = "https://tokens.example"
	token := authority.Token(testResource, map[string]any{"iss": issuer})
	configured := open(t, newSettings(t, issuer, func(s *oidc.Settings) { s.DiscoveryIssuer = metadata.URL }),
		testResource)
	if _, err := configured.Verify(context.Background(), token); err != nil {
		t.Errorf("with discovery_issuer: %v", err)
	}
	without := open(t, newSettings(t, issuer, func(s *oidc.Settings) {
		s.DiscoveryURL = metadata.URL +
			"/.well-known/openid-configuration"
	}), testResource)
	if _, err := without.Verify(context.Background(),
		token); providers.ReasonOf(err) != providers.ReasonKeysUnavailable {
		t.Errorf("without discovery_issuer: %v", err)
	}
}

// configs/README.md names the required claims with which the guard accepts tokens without client and scopes.
func TestIDTokenGuardAcceptsDocumentedClaims(t *testing.T) {
	authority := providertest.NewIssuer(t)
	document := strings.Join(strings.Fields(string(must(os.ReadFile("../../configs/README.md")))), " ")
	_, rest, found := strings.Cut(document, "unless `provider.required_claims` names ")
	list, _, _ := strings.Cut(rest, ".")
	if !found {
		t.Fatal("configs/README.md does not name them")
	}
	for _, name := range strings.Split(strings.ReplaceAll(list, " or ", ", "), ", ") {
		p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
			s.JWKSURL, s.RequiredClaims = authority.KeysURL(), []string{name + "=access"}
		}), testResource)
		token := authority.Sign(nil, withChanges(authority.Claims(testResource),
			map[string]any{name: "access", "scope": nil, "client_id": nil}))
		if _, err := p.Verify(context.Background(), token); err != nil {
			t.Errorf("with %s: %v", name, err)
		}
	}
}
