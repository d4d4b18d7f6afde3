package authserver_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

func TestMetadata(t *testing.T) {
	issuer := open(t)
	documents := map[string]map[string]any{}
	for _, path := range []string{"/.well-known/oauth-authorization-server",
		"/.well-known/openid-configuration"} {
		a := issuer.get(path)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: status %d, content type %q", path, a.StatusCode, a.Header.Get("Content-Type"))
		}
		if got := a.Header.Get("Cache-Control"); got != "public, max-age=60" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		documents[path] = a.json(t)

		t.Run("AS-02 the issuer is byte-equal at "+path, func(t *testing.T) {
			if got := documents[path]["issuer"]; got != issuer.url {
				t.Errorf("issuer %q, want %q", got, issuer.url)
			}
		})
		t.Run("AS-03 S256 is announced at "+path, func(t *testing.T) {
			if got := documents[path]["code_challenge_methods_supported"]; !reflect.DeepEqual(got, []any{"S256"}) {
				t.Errorf("code_challenge_methods_supported %v", got)
			}
		})
	}
	document := documents["/.well-known/oauth-authorization-server"]

	t.Run("AS-01 both documents are equal", func(t *testing.T) {
		if !reflect.DeepEqual(document, documents["/.well-known/openid-configuration"]) {
			t.Errorf("they differ: %v", documents)
		}
	})
	want := map[string]any{
		"AS-03c no implicit, password or other grant/grant_types_supported": []any{
			"authorization_code", "refresh_token", "client_credentials"},
		"AS-03c only code/response_types_supported":                                []any{"code"},
		"only the query/response_modes_supported":                                  []any{"query"},
		"AS-04 client ID metadata documents/client_id_metadata_document_supported": true,
		"AS-05 iss/authorization_response_iss_parameter_supported":                 true,
		"AS-21 offline_access/scopes_supported": []any{"notes:read",
			"notes:write", "admin", "openid", "offline_access"},
		"AS-23b public clients/token_endpoint_auth_methods_supported": []any{"none",
			"client_secret_basic", "client_secret_post"},
		"no introspection for public clients/introspection_endpoint_auth_methods_supported": []any{
			"client_secret_basic", "client_secret_post"},
		"no request_uri, whose default is yes/request_uri_parameter_supported": false,
	}
	for key, value := range want {
		name, member, _ := strings.Cut(key, "/")
		t.Run(name+" ("+member+")", func(t *testing.T) {
			if got := document[member]; !reflect.DeepEqual(got, value) {
				t.Errorf("%s is %v, want %v", member, got, value)
			}
		})
	}
	t.Run("AS-26 every endpoint is a path that is served, in the issuer's origin", func(t *testing.T) {
		var endpoints int
		for member, value := range document {
			if !strings.HasSuffix(member, "_endpoint") && member != "jwks_uri" {
				continue
			}
			endpoints++
			path, ok := strings.CutPrefix(value.(string), issuer.url)
			if !ok || !slices.Contains(issuer.Paths(), path) {
				t.Errorf("%s is %v", member, value)
			}
		}
		if endpoints != 6 {
			t.Errorf("%d endpoints, want 6", endpoints)
		}
	})
}

func TestKeys(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run("AS-06 the key set for "+algorithm+" is public only", func(t *testing.T) {
			issuer := open(t, func(c *authserver.Config) { c.SigningAlgorithm = algorithm })
			a := issuer.get(issuer.KeysURL())
			var set struct{ Keys []map[string]any }
			if err := json.Unmarshal([]byte(a.body), &set); err != nil || len(set.Keys) != 1 {
				t.Fatalf("%v: %s", err, a.body)
			}
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
				if _, there := set.Keys[0][private]; there {
					t.Errorf("the key has the private member %q", private)
				}
			}
			if set.Keys[0]["alg"] != algorithm || set.Keys[0]["use"] != "sig" || set.Keys[0]["kid"] == "" {
				t.Errorf("the key is %v", set.Keys[0])
			}
			header, _ := issuer.verify(issuer.tokens()["access_token"].(string))
			if header.Algorithm != algorithm || header.ExtraHeaders["typ"] != "at+jwt" {
				t.Errorf("the token's header is %+v", header)
			}
		})
	}
	t.Run("after a rotation old tokens verify only if the old key is kept", func(t *testing.T) {
		issuer := open(t)
		old := issuer.tokens()["access_token"].(string)
		if err := issuer.RotateKeys(true); err != nil {
			t.Fatal(err)
		}
		oldHeader, _ := issuer.verify(old)
		newHeader, _ := issuer.verify(issuer.tokens()["access_token"].(string))
		if oldHeader.KeyID == newHeader.KeyID {
			t.Error("the key did not change")
		}
		if err := issuer.RotateKeys(false); err != nil {
			t.Fatal(err)
		}
		if keys := issuer.get("/keys").body; strings.Contains(keys, oldHeader.KeyID) ||
			strings.Contains(keys, newHeader.KeyID) {
			t.Error("a withdrawn key is still published")
		}
	})
	t.Run("two issuers never share a key", func(t *testing.T) {
		if a, b := open(t), open(t); a.get("/keys").body == b.get("/keys").body {
			t.Error("they do")
		}
	})
}
