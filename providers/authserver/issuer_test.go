package authserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

func TestNewValidatesConfig(t *testing.T) {
	valid := authserver.Config{Issuer: "http://localhost:3002", Resources: []string{"http://localhost:3002/mcp"},
		SigningAlgorithm: "ES256"}
	p256, err256 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err384 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err := errors.Join(err256, err384); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*authserver.Config)
		want   string // in the error; empty if config is valid
	}{
		{"a minimal configuration works", func(*authserver.Config) {}, ""},
		{"an https issuer works", func(c *authserver.Config) { c.Issuer = "https://issuer.example" }, ""},
		{"an IPv6 loopback issuer works", func(c *authserver.Config) { c.Issuer = "http://[::1]:3002" }, ""},
		{"a resource without a path works",
			func(c *authserver.Config) { c.Resources = []string{"http://127.0.0.1:3002"} }, ""},
		{"AS-02 an issuer with a path is refused", func(c *authserver.Config) { c.Issuer += "/realm" },
			"scheme, host and port only"},
		{"AS-02 an issuer with a trailing slash is refused", func(c *authserver.Config) { c.Issuer += "/" },
			"scheme, host and port only"},
		{"an issuer with a query is refused", func(c *authserver.Config) { c.Issuer += "?a=b" },
			"scheme, host and port only"},
		{"an issuer with a fragment is refused", func(c *authserver.Config) { c.Issuer += "#" },
			"scheme, host and port only"},
		{"an issuer with a user name is refused",
			func(c *authserver.Config) { c.Issuer = "http://me@localhost:3002" }, "scheme, host and port only"},
		{"an issuer in capitals is refused", func(c *authserver.Config) { c.Issuer = "HTTP://localhost:3002" },
			"scheme, host and port only"},
		{"an empty issuer is refused", func(c *authserver.Config) { c.Issuer = "" }, "not an http or https URL"},
		{"AS-26 an http issuer outside loopback is refused",
			func(c *authserver.Config) { c.Issuer = "http://issuer:9000" }, "loopback only"},
		{"a public resource is refused",
			func(c *authserver.Config) { c.Resources = []string{"https://mcp.example/mcp"} },
			"anyone can sign in as anyone"},
		{"a name that only starts with localhost is refused",
			func(c *authserver.Config) { c.Resources = []string{"http://localhost.evil.example/"} },
			"anyone can sign in as anyone"},
		{"a public resource works when the danger is accepted", func(c *authserver.Config) {
			c.Resources, c.DangerouslyAllowPublicResource = []string{"https://mcp.example/mcp"}, true
		}, ""},
		{"AS-16b a resource with a fragment is refused",
			func(c *authserver.Config) { c.Resources = []string{"http://localhost/mcp#x"} }, "fragment"},
		{"no resource is refused", func(c *authserver.Config) { c.Resources = nil }, "no resources"},
		{"an unknown algorithm is refused", func(c *authserver.Config) { c.SigningAlgorithm = "HS256" },
			"use RS256, ES256 or EdDSA"},
		{"a signing key that fits works", func(c *authserver.Config) { c.SigningKey = p256 }, ""},
		{"a signing key of another type is refused",
			func(c *authserver.Config) { c.SigningAlgorithm, c.SigningKey = "RS256", p256 }, "cannot sign RS256"},
		{"a signing key of another curve is refused", func(c *authserver.Config) { c.SigningKey = p384 },
			"cannot sign ES256"},
		{"a default scope that is no scope is refused",
			func(c *authserver.Config) { c.DefaultScopes = []string{"x"} }, "not one of the scopes"},
		{"a scope with a space is refused", func(c *authserver.Config) { c.Scopes = []string{"a b"} },
			"RFC 6749, section 3.3"},
		{"a negative lifetime is refused", func(c *authserver.Config) { c.AccessTokenLifetime = -time.Second },
			"at least 1s"},
		{"a negative refresh grace is refused", func(c *authserver.Config) { c.RefreshGrace = -time.Second },
			"0 or more"},
		{"client documents from loopback without client documents are refused",
			func(c *authserver.Config) { c.AllowLoopbackClientDocuments = true }, "client documents are disabled"},
		{"client documents from loopback work",
			func(c *authserver.Config) { c.ClientDocuments, c.AllowLoopbackClientDocuments = true, true }, ""},
		{"a client without an ID is refused", func(c *authserver.Config) { c.Clients = []authserver.Client{{}} },
			"no ID"},
		{"two clients of one ID are refused", func(c *authserver.Config) {
			c.Clients = append(authserver.DemoClients(""), authserver.DemoClients("")...)
		}, "not unique"},
		{"a client without redirect URI is refused",
			func(c *authserver.Config) { c.Clients = []authserver.Client{{ID: "a"}} }, "requires a redirect URI"},
		{"AS-26 a client with an http redirect URI is refused", func(c *authserver.Config) {
			c.Clients = []authserver.Client{{ID: "a", RedirectURIs: []string{"http://app.example/cb"}}}
		}, "not on loopback"},
		{"client_credentials without a secret is refused", func(c *authserver.Config) {
			c.Clients = []authserver.Client{{ID: "a", GrantTypes: []string{"client_credentials"}}}
		}, "requires a secret"},
		{"an unknown grant type is refused", func(c *authserver.Config) {
			c.Clients = []authserver.Client{{ID: "a", GrantTypes: []string{"implicit"}}}
		}, "unknown"},
		{"the demo clients work", func(c *authserver.Config) { c.Clients = authserver.DemoClients("secret") }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := valid
			test.change(&config)
			_, err := authserver.New(config)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one that contains %q", err, test.want)
			}
		})
	}

	t.Run("all problems arrive together and without the secret", func(t *testing.T) {
		_, err := authserver.New(authserver.Config{
			Issuer: "ftp://x", SigningAlgorithm: "none", Clients: []authserver.Client{{ID: "a", Secret: "hush"}},
		})
		for _, want := range []string{"issuer", "no resources", "algorithm", "client"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not speak of %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "hush") {
			t.Error("the error contains the secret")
		}
	})
}
