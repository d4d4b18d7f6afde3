// Package local is the adapter for an embedded authorization server (package authserver): an identity
// provider for demos and tests, where anyone can sign in as anyone.
package local

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/oidc"
	"gatehouse/providers/token"
)

// Settings are the settings of kind "local": the issuer of package authserver, at the origin of the resource.
// Its tokens are verified like those of any other provider.
type Settings struct {
	AutoApprove                    bool             `koanf:"auto_approve" reload:"restart" help:"skip the consent page unless another site opened it: every user is alice; for scripts"`
	SigningAlgorithm               string           `koanf:"signing_algorithm" reload:"restart" values:"RS256,ES256,EdDSA" help:"RS256, ES256 or EdDSA"`
	TokenLifetime                  time.Duration    `koanf:"token_lifetime" reload:"restart" help:"lifetime of access tokens"`
	ClientSecret                   providers.Secret `koanf:"client_secret" reload:"restart" help:"enables the confidential client local-service, for client_credentials and introspection"`
	RefreshGrace                   time.Duration    `koanf:"refresh_grace" reload:"restart" help:"how long a replaced refresh token still returns the same successor; with 0 a repeat revokes the grant"`
	ClientDocuments                bool             `koanf:"client_documents" reload:"restart" help:"announce and fetch client ID metadata documents; disable it without internet access, so that clients register dynamically"`
	AllowLoopbackClientDocuments   bool             `koanf:"allow_loopback_client_documents" reload:"restart" help:"also fetch client ID metadata documents from loopback and private networks; for development"`
	MaxTokenBytes                  int              `koanf:"max_token_bytes" reload:"restart" help:"maximum length of a token, in bytes"`
	DangerouslyAllowPublicResource bool             `koanf:"dangerously_allow_public_resource" reload:"restart" help:"allow a resource that other computers can reach, although anyone can sign in as anyone"`

	// ClientDocumentRootCAs verifies the hosts of client ID metadata documents; the system's roots if nil. It
	// has no configuration key.
	ClientDocumentRootCAs *x509.CertPool
	// SigningKey is the issuer's key, which must fit SigningAlgorithm; a new one is generated at each start
	// if nil. It has no configuration key: tests sign hostile tokens with the key that the provider trusts.
	SigningKey crypto.Signer
}

// Defaults returns the default settings.
func Defaults() *Settings {
	return &Settings{
		SigningAlgorithm: string(jose.RS256), TokenLifetime: 10 * time.Minute, RefreshGrace: time.Minute,
		ClientDocuments: true, MaxTokenBytes: token.DefaultMaxTokenBytes,
	}
}

var signingAlgorithms = []string{string(jose.RS256), string(jose.ES256), string(jose.EdDSA)}

// Validate implements [providers.Settings].
func (s *Settings) Validate(resource providers.Resource, report func(providers.Problem)) {
	if !slices.Contains(signingAlgorithms, s.SigningAlgorithm) {
		report(providers.Problem{Key: "signing_algorithm", Code: providers.CodeUnknownValue,
			Reason: "the local issuer does not support it",
			Fix:    "use RS256, ES256 or EdDSA"})
	}
	if s.TokenLifetime < time.Second || s.TokenLifetime > 24*time.Hour {
		report(providers.Problem{Key: "token_lifetime", Code: providers.CodeOutOfRange,
			Reason: "it is not between 1s and 24h",
			Fix:    "use a duration such as 10m"})
	}
	if s.RefreshGrace < 0 || s.RefreshGrace > 10*time.Minute {
		report(providers.Problem{Key: "refresh_grace", Code: providers.CodeOutOfRange,
			Reason: "it is not between 0s and 10m",
			Fix:    "use a duration such as 60s"})
	}
	if s.AllowLoopbackClientDocuments && !s.ClientDocuments {
		report(providers.Problem{Key: "allow_loopback_client_documents", Code: providers.CodeNoEffect,
			Reason: "provider.client_documents is false, so no document is fetched",
			Fix:    "set provider.client_documents to true, or remove this setting"})
	}
	token.CheckMaxTokenBytes(s.MaxTokenBytes, report)
	if !resource.IsLoopback() && !s.DangerouslyAllowPublicResource {
		report(providers.Problem{Key: "kind", Code: providers.CodeInsecure,
			Reason: "the local issuer lets anyone sign in as anyone, and other computers can reach " + resource.String(),
			Fix: "use a real provider, or a resource on localhost; " +
				"a demo in a closed network may set provider.dangerously_allow_public_resource"})
	}
	if slices.Contains(authserver.Paths(), resource.Path()) {
		report(providers.Problem{Key: "kind", Code: providers.CodeConflict,
			Reason: "the local issuer serves " + resource.Path() + " itself, at the origin of the resource",
			Fix:    "use another path in resource, such as /mcp"})
	}
}

// CheckListen implements [providers.ListenChecker]: anyone who can reach the server can sign in as anyone,
// whatever the host of the resource is.
func (s *Settings) CheckListen(host string, report func(providers.Problem)) {
	if !providers.IsLoopback(host) && !s.DangerouslyAllowPublicResource {
		report(providers.Problem{Key: "listen", Code: providers.CodeInsecure,
			Reason: "the local issuer lets anyone sign in as anyone, and other computers can reach this address",
			Fix: "listen on 127.0.0.1, or use a real provider; a container with its port published on 127.0.0.1 only " +
				"may set provider.dangerously_allow_public_resource"})
	}
}

// Remote implements [providers.Embedded].
func (s *Settings) Remote(resource providers.Resource) providers.Settings {
	outside := oidc.Defaults()
	outside.Issuer, outside.Algorithms, outside.MaxTokenBytes = resource.Origin(), []string{s.SigningAlgorithm},
		s.MaxTokenBytes
	return outside
}

const refetchInterval = 100 * time.Millisecond

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	issuer, err := authserver.New(authserver.Config{
		UserAgent:                      info.UserAgent,
		Issuer:                         info.Resource.Origin(),
		Resources:                      []string{info.Resource.String()},
		Scopes:                         info.KnownScopes,
		ScopeDescriptions:              info.ScopeDescriptions,
		DefaultScopes:                  info.InitialScopes,
		SigningAlgorithm:               s.SigningAlgorithm,
		SigningKey:                     s.SigningKey,
		AutoApprove:                    s.AutoApprove,
		AccessTokenLifetime:            s.TokenLifetime,
		Clients:                        authserver.DemoClients(s.ClientSecret.Reveal()),
		RefreshGrace:                   s.RefreshGrace,
		ClientDocuments:                s.ClientDocuments,
		AllowLoopbackClientDocuments:   s.AllowLoopbackClientDocuments,
		ClientDocumentRootCAs:          s.ClientDocumentRootCAs,
		DangerouslyAllowPublicResource: s.DangerouslyAllowPublicResource,
		Logger:                         info.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("local issuer: %w", err)
	}
	client := token.NewClient(authserver.Transport(issuer.Handler()), info.UserAgent)
	// A fetch is a call within the process, so a short interval is cheap. It lets a token of an earlier run
	// be refused soon.
	keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(issuer.KeysURL()), Client: client},
		token.KeyPolicy{RefetchInterval: refetchInterval}, info.Logger)
	go keys.Run(ctx)
	return &provider{issuer: issuer, Provider: token.NewProvider(token.Parts{
		Keys: keys,
		Verifier: token.NewVerifier(token.Rules{
			Issuers:      []string{info.Resource.Origin()},
			Audiences:    []string{info.Resource.String()},
			Algorithms:   []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.SigningAlgorithm)},
			TokenTypes:   []string{"at+jwt"},
			ScopeClaims:  []string{"scope"},
			ClientClaims: []string{"client_id"},

			MaxTokenBytes: s.MaxTokenBytes,
		}, keys),
		Metadata: info.Metadata(info.Resource.Origin()),
	})}, nil
}

// provider is a [token.Provider] with its issuer.
type provider struct {
	*token.Provider
	issuer *authserver.Issuer
}

// Routes implements [providers.RouteProvider].
func (p *provider) Routes() []providers.Route { return p.issuer.Routes() }
