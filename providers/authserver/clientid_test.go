package authserver

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// madeUp returns an id as a stranger could make it: with a digest that holds and a MAC that cannot.
func madeUp(registration string) string {
	id := clientIDPrefix + base64.RawURLEncoding.EncodeToString([]byte("1234567890"+registration)) + "." + strings.Repeat("A", 24)
	return id + "." + digestOf(id)
}

// The rules of /register hold for an id that /register did not make.
func TestMadeUpClientIDs(t *testing.T) {
	const grants = `"g":["authorization_code","refresh_token"]`
	ids := newClientIDs()
	tests := []struct {
		name, id string
		want     []string // redirect URIs; nil if the client is unknown
	}{
		{"a loopback redirect URI counts", madeUp(`{"r":["http://127.0.0.1/cb"],"n":"X",` + grants + `}`), []string{"http://127.0.0.1/cb"}},
		{"of several redirect URIs those on loopback count",
			madeUp(`{"r":["https://app.example/cb","http://localhost/cb","app://localhost/cb","https://[::1]/cb"],` + grants + `}`),
			[]string{"http://localhost/cb", "https://[::1]/cb"}},
		{"a host that only looks like loopback does not count", madeUp(`{"r":["https://127.0.0.1.evil.example/cb"],` + grants + `}`), nil},
		{"a private-use scheme does not count", madeUp(`{"r":["com.example.app://localhost/cb"],` + grants + `}`), nil},
		{"http outside loopback", madeUp(`{"r":["http://127.0.0.1/cb","http://evil.example/cb"],` + grants + `}`), nil},
		{"a scheme of the browser", madeUp(`{"r":["http://127.0.0.1/cb","javascript:alert(1)"],` + grants + `}`), nil},
		{"a fragment", madeUp(`{"r":["http://127.0.0.1/cb#x"],` + grants + `}`), nil},
		{"a user name", madeUp(`{"r":["http://me@127.0.0.1/cb"],` + grants + `}`), nil},
		{"no redirect URI", madeUp(`{` + grants + `}`), nil},
		{"too many redirect URIs", madeUp(`{"r":["http://localhost"` + strings.Repeat(`,"http://localhost"`, 20) + `],` + grants + `}`), nil},
		{"more than 700 bytes", madeUp(`{"r":["http://127.0.0.1/` + strings.Repeat("x", 660) + `"],` + grants + `}`), nil},
		{"too long a name", madeUp(`{"r":["http://127.0.0.1/cb"],"n":"` + strings.Repeat("x", 201) + `",` + grants + `}`), nil},
		{"a name with a character that turns the text around", madeUp("{\"r\":[\"http://127.0.0.1/cb\"],\"n\":\"a\u202eb\"," + grants + "}"), nil},
		{"client_credentials", madeUp(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code","client_credentials"]}`), nil},
		{"an unknown grant type", madeUp(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code","password"]}`), nil},
		{"no grant type", madeUp(`{"r":["http://127.0.0.1/cb"]}`), nil},
		{"another spelling of the same registration", madeUp(`{ "r":["http://127.0.0.1/cb"],` + grants + `}`), nil},
		{"a member twice", madeUp(`{"r":["http://127.0.0.1/cb"],"r":["http://127.0.0.1/cb"],` + grants + `}`), nil},
		{"an unknown member", madeUp(`{"r":["http://127.0.0.1/cb"],"x":1,` + grants + `}`), nil},
		{"an array", madeUp(`[]`), nil},
		{"no JSON", madeUp(`x`), nil},
		{"nothing", "", nil},
		{"the prefix alone", clientIDPrefix, nil},
		{"less than a salt", clientIDPrefix + "AAAA." + strings.Repeat("A", 24) + "." + digestOf(clientIDPrefix+"AAAA."+strings.Repeat("A", 24)), nil},
		{"one part", clientIDPrefix + "AAAA", nil},
		{"four parts", clientIDPrefix + "AAAA.AAAA.AAAA.AAAA", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, ok := ids.read(test.id)
			if ok != (test.want != nil) {
				t.Fatalf("known: %t", ok)
			}
			if ok && (strings.Join(c.redirectURIs, " ") != strings.Join(test.want, " ") || c.origin != unregistered || !c.public()) {
				t.Errorf("client %+v, want the redirect URIs %v", c, test.want)
			}
		})
	}
}

// A damaged id is unknown: it does not become the id of a client that has not registered.
func TestDamagedClientIDs(t *testing.T) {
	ids := newClientIDs()
	m := clientMetadata{RedirectURIs: []string{"http://127.0.0.1/cb"}, ClientName: "X", TokenEndpointAuthMethod: oidc.AuthMethodNone}
	if err := m.checkRegistration(); err != nil {
		t.Fatal(err)
	}
	id, err := ids.issue(m)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := ids.read(id); !ok || c.origin != dynamic || c.id != id {
		t.Fatalf("the id itself: %+v, %t", c, ok)
	}
	for at := range id {
		changed := byte('A')
		if id[at] == changed {
			changed = 'B'
		}
		for damage, damaged := range map[string]string{
			"changed":    id[:at] + string(changed) + id[at+1:],
			"missing":    id[:at] + id[at+1:],
			"cut off":    id[:at],
			"additional": id[:at] + string(changed) + id[at:],
		} {
			if _, ok := ids.read(damaged); ok {
				t.Errorf("byte %d %s: the client is known", at, damage)
			}
		}
	}
	if _, ok := ids.read(id + "A"); ok {
		t.Error("with a byte more the client is known")
	}
}

func FuzzReadClientID(f *testing.F) {
	ids := newClientIDs()
	f.Add(madeUp(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code"]}`))
	f.Add(clientIDPrefix + "..")
	f.Fuzz(func(t *testing.T, id string) {
		c, ok := ids.read(id)
		if !ok {
			return
		}
		if c.origin != unregistered || len(c.redirectURIs) == 0 || c.secret != nil {
			t.Errorf("%q is %+v", id, c)
		}
		for _, uri := range c.redirectURIs {
			if checkRedirectURI(uri) != nil || !redirectsToLoopback(uri) {
				t.Errorf("%q may redirect to %q", id, uri)
			}
		}
	})
}
