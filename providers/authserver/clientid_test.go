package authserver

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// forgedID returns an id as an attacker can make it: with a valid digest and an invalid MAC.
func forgedID(registration string) string {
	id := clientIDPrefix + base64.RawURLEncoding.EncodeToString([]byte("1234567890"+registration)) + "." +
		strings.Repeat("A", 24)
	return id + "." + digestOf(id)
}

// The rules of /register apply to an id that /register did not issue.
func TestForgedClientIDs(t *testing.T) {
	const grants = `"g":["authorization_code","refresh_token"]`
	ids := newReadableIDs(demoRules())
	tests := []struct {
		name, id string
		want     []string // redirect URIs; nil if the client is unknown
	}{
		{"a loopback redirect URI counts", forgedID(`{"r":["http://127.0.0.1/cb"],"n":"X",` + grants + `}`),
			[]string{"http://127.0.0.1/cb"}},
		{"of several redirect URIs those on loopback count",
			forgedID(`{"r":["https://app.example/cb","http://localhost/cb","app://localhost/cb","https://[::1]/cb"],` +
				grants + `}`),
			[]string{"http://localhost/cb", "https://[::1]/cb"}},
		{"a host that only looks like loopback does not count",
			forgedID(`{"r":["https://127.0.0.1.evil.example/cb"],` + grants + `}`), nil},
		{"a private-use scheme does not count", forgedID(`{"r":["com.example.app://localhost/cb"],` + grants + `}`),
			nil},
		{"http outside loopback", forgedID(`{"r":["http://127.0.0.1/cb","http://evil.example/cb"],` + grants + `}`),
			nil},
		{"a scheme of the browser", forgedID(`{"r":["http://127.0.0.1/cb","javascript:alert(1)"],` + grants + `}`),
			nil},
		{"a fragment", forgedID(`{"r":["http://127.0.0.1/cb#x"],` + grants + `}`), nil},
		{"a user name", forgedID(`{"r":["http://me@127.0.0.1/cb"],` + grants + `}`), nil},
		{"no redirect URI", forgedID(`{` + grants + `}`), nil},
		{"too many redirect URIs", forgedID(`{"r":["http://localhost"` + strings.Repeat(`,"http://localhost"`, 20) +
			`],` + grants + `}`), nil},
		{"more than 700 bytes", forgedID(`{"r":["http://127.0.0.1/` + strings.Repeat("x", 660) + `"],` + grants +
			`}`), nil},
		{"too long a name", forgedID(`{"r":["http://127.0.0.1/cb"],"n":"` + strings.Repeat("x", 201) + `",` +
			grants + `}`), nil},
		{"a name with a character that turns the text around",
			forgedID("{\"r\":[\"http://127.0.0.1/cb\"],\"n\":\"a\u202eb\"," + grants + "}"), nil},
		{"client_credentials",
			forgedID(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code","client_credentials"]}`), nil},
		{"an unknown grant type", forgedID(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code","password"]}`),
			nil},
		{"no grant type", forgedID(`{"r":["http://127.0.0.1/cb"]}`), nil},
		{"another spelling of the same registration", forgedID(`{ "r":["http://127.0.0.1/cb"],` + grants + `}`),
			nil},
		{"a member twice", forgedID(`{"r":["http://127.0.0.1/cb"],"r":["http://127.0.0.1/cb"],` + grants + `}`),
			nil},
		{"an unknown member", forgedID(`{"r":["http://127.0.0.1/cb"],"x":1,` + grants + `}`), nil},
		{"an array", forgedID(`[]`), nil},
		{"no JSON", forgedID(`x`), nil},
		{"nothing", "", nil},
		{"the prefix alone", clientIDPrefix, nil},
		{"less than a salt", clientIDPrefix + "AAAA." + strings.Repeat("A", 24) + "." +
			digestOf(clientIDPrefix+"AAAA."+strings.Repeat("A", 24)), nil},
		{"one part", clientIDPrefix + "AAAA", nil},
		{"four parts", clientIDPrefix + "AAAA.AAAA.AAAA.AAAA", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, ok := ids.read(test.id)
			if ok != (test.want != nil) {
				t.Fatalf("known: %t", ok)
			}
			if ok && (strings.Join(c.redirectURIs, " ") != strings.Join(test.want, " ") || c.origin != unregistered ||
				!c.public()) {
				t.Errorf("client %+v, want the redirect URIs %v", c, test.want)
			}
		})
	}
}

// A damaged id is unknown: it is not taken for the id of a client that registered with another process.
func TestDamagedClientIDs(t *testing.T) {
	ids := newReadableIDs(demoRules())
	m := clientMetadata{RedirectURIs: []string{"http://127.0.0.1/cb"}, ClientName: "X",
		TokenEndpointAuthMethod: oidc.AuthMethodNone}
	if err := demoRules().checkRegistration(&m); err != nil {
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
		t.Error("with one more byte the client is known")
	}
}

func FuzzReadClientID(f *testing.F) {
	ids := newReadableIDs(demoRules())
	f.Add(forgedID(`{"r":["http://127.0.0.1/cb"],"g":["authorization_code"]}`))
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
