// Package broker is the adapter for an identity provider that cannot register MCP clients, or knows neither their
// resource nor their scopes. MCP clients sign in at an authorization server of this program (package authserver), which
// sends people on to the provider, as the one client that is registered there.
package broker

import (
	"crypto"
	"crypto/x509"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver/store"
)

// Settings are the settings of kind "broker".
type Settings struct {
	Preset string `koanf:"preset" reload:"restart" help:"defaults for one provider; every setting can be overridden"`

	Issuer           string           `koanf:"issuer" reload:"restart" help:"issuer of the provider at which people sign in, exactly as in its metadata"`
	ClientID         string           `koanf:"client_id" reload:"restart" help:"this server's client at the provider; its redirect URI is the origin of resource with /callback"`
	ClientSecret     providers.Secret `koanf:"client_secret" reload:"restart" help:"secret of client_id"`
	ClientKey        providers.Secret `koanf:"client_key" reload:"restart" help:"PEM private key of client_id for private_key_jwt, instead of client_secret"`
	UpstreamScopes   []string         `koanf:"upstream_scopes" reload:"restart" help:"scopes to request at the provider"`
	AuthorizeParams  []string         `koanf:"authorize_params" reload:"restart" help:"more parameters of the request to the provider, name=value, such as prompt=consent"`
	SubjectClaim     string           `koanf:"subject_claim" reload:"restart" help:"claim of the ID token that becomes sub"`
	RequiredClaims   []string         `koanf:"required_claims" reload:"restart" help:"claims that the ID token must have, such as hd=example.com"`
	ScopeRules       ClaimList        `koanf:"scope_rules" reload:"restart" help:"who may have which scopes, such as groups=mcp > mcp:use greet:read; without rules everyone may have scopes.initial"`
	HTTPAllowedHosts []string         `koanf:"http_allowed_hosts" reload:"restart" help:"hosts allowed over plain http, in addition to loopback"`

	Secrets       providers.Secret `koanf:"secrets_file" file:"only" reload:"restart" help:"file with the secrets that seal what is stored; gatehouse secret FILE writes one"`
	Store         string           `koanf:"store" reload:"restart" help:"where sign-ins are kept: memory (on loopback), file:///PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB"`
	StorePassword providers.Secret `koanf:"store_password" reload:"restart" help:"password of the store; its user is in provider.store"`

	RefreshGrace          time.Duration `koanf:"refresh_grace" reload:"restart" help:"how long a replaced refresh token still returns the same successor"`
	RecheckInterval       time.Duration `koanf:"recheck_interval" reload:"restart" help:"age of the provider's last confirmation from which a refresh asks it again"`
	RecheckMaxStale       time.Duration `koanf:"recheck_max_stale" reload:"restart" help:"how long refreshes continue while the provider cannot be reached"`
	SessionLifetime       time.Duration `koanf:"session_lifetime" reload:"restart" help:"how long a sign-in lasts"`
	SessionWithoutRefresh time.Duration `koanf:"session_without_refresh" reload:"restart" help:"how long a sign-in lasts for which the provider issues no refresh token"`
	RevokeBefore          string        `koanf:"revoke_before" reload:"restart" help:"end all sign-ins before this time, as in 2026-11-30T12:00:00Z"`

	Resources                    []string      `koanf:"resources" reload:"restart" help:"other resources that tokens may be issued for"`
	ClientDocuments              bool          `koanf:"client_documents" reload:"restart" help:"announce and fetch client ID metadata documents; disable it without internet access, so that clients register dynamically"`
	AllowLoopbackClientDocuments bool          `koanf:"allow_loopback_client_documents" reload:"restart" help:"also fetch client ID metadata documents from loopback and private networks; for development"`
	RegistrationLifetime         time.Duration `koanf:"registration_lifetime" reload:"restart" help:"how long a dynamic registration is valid"`
	RedirectHosts                []string      `koanf:"redirect_hosts" reload:"restart" help:"hosts that clients may redirect to, besides loopback: names, or *.NAME; all if empty"`
	RedirectSchemes              []string      `koanf:"redirect_schemes" reload:"restart" help:"schemes of native apps that clients may redirect to, such as cursor"`
	DeniedClients                []string      `koanf:"denied_clients" reload:"restart" help:"client ids, also in the short form of the log, or hosts of client ID metadata documents, that are refused"`

	EnterpriseIssuers []string `koanf:"enterprise_issuers" reload:"restart" help:"issuers of identity assertions (ID-JAG) with which clients get tokens without a browser"`
	EnterpriseClients []string `koanf:"enterprise_clients" reload:"restart" help:"clients that may use identity assertions: ID=FILE with the secret in FILE, or the URL of a client ID metadata document"`
	EnterpriseScopes  []string `koanf:"enterprise_scopes" reload:"restart" help:"scopes that these clients may get"`

	// ClientDocumentRootCAs verifies the hosts of client ID metadata documents; the system's roots if nil. It has no
	// configuration key.
	ClientDocumentRootCAs *x509.CertPool
	// SigningKey signs tokens in place of the keys in the store, if it is not nil. It has no configuration key: tests
	// sign hostile tokens with the key that the provider trusts.
	SigningKey crypto.Signer
}

// Defaults returns the default settings.
func Defaults() *Settings {
	return &Settings{
		UpstreamScopes: []string{"openid", "offline_access"}, AuthorizeParams: []string{}, SubjectClaim: "sub",
		RequiredClaims: []string{}, ScopeRules: ClaimList{}, HTTPAllowedHosts: []string{},
		Store:        store.InMemory,
		RefreshGrace: time.Minute, RecheckInterval: 10 * time.Minute, RecheckMaxStale: time.Hour,
		SessionLifetime: 720 * time.Hour, SessionWithoutRefresh: 8 * time.Hour,
		Resources: []string{}, ClientDocuments: true, RegistrationLifetime: 8760 * time.Hour,
		RedirectHosts: []string{}, RedirectSchemes: []string{}, DeniedClients: []string{},
		EnterpriseIssuers: []string{}, EnterpriseClients: []string{}, EnterpriseScopes: []string{},
	}
}
