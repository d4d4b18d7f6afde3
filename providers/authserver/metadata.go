package authserver

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// cacheControl allows clients to cache metadata and keys briefly: a restarted demo has new keys at the same
// URL.
const cacheControl = "public, max-age=60"

// server is the library's view of an Issuer. It is a separate type so that Issuer does not export the
// library's methods.
type server struct {
	op.UnimplementedServer
	*Issuer
}

// metadata is served at both well-known paths. Clients try them in different orders and stop at the first
// that exists, so both documents are complete.
type metadata struct {
	oidc.DiscoveryConfiguration
	// Clients check iss only if it is announced, and go-sdk refuses an unannounced iss (RFC 9207, section 3).
	AuthorizationResponseIssParameterSupported bool `json:"authorization_response_iss_parameter_supported"`
	// Of the Identity Assertion JWT Authorization Grant: for the server that accepts assertions, and for the provider
	// that issues them (OAuth Identity and Authorization Chaining Across Domains).
	GrantProfilesSupported       []string `json:"authorization_grant_profiles_supported,omitempty"`
	RequestedTokenTypesSupported []string `json:"identity_chaining_requested_token_types_supported,omitempty"`
}

// Discovery implements [op.Server].
func (s *server) Discovery(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	return cacheable(s.metadata), nil
}

func (i *Issuer) newMetadata() metadata {
	issuer := i.config.Issuer
	secretMethods := []oidc.AuthMethod{oidc.AuthMethodBasic, oidc.AuthMethodPost}
	allMethods := append([]oidc.AuthMethod{oidc.AuthMethodNone}, secretMethods...)

	m := metadata{
		DiscoveryConfiguration: oidc.DiscoveryConfiguration{
			Issuer:                                 issuer,
			AuthorizationEndpoint:                  issuer + authorizePath,
			TokenEndpoint:                          issuer + tokenPath,
			RevocationEndpoint:                     issuer + revokePath,
			JwksURI:                                issuer + keysPath,
			RegistrationEndpoint:                   issuer + registerPath,
			ClientIDMetadataDocumentSupported:      i.config.ClientDocuments,
			ScopesSupported:                        i.scopes,
			ResponseTypesSupported:                 []string{string(oidc.ResponseTypeCode)},
			ResponseModesSupported:                 []string{string(oidc.ResponseModeQuery)},
			GrantTypesSupported:                    i.grantTypes(),
			SubjectTypesSupported:                  []string{"public"},
			IDTokenSigningAlgValuesSupported:       []string{i.config.SigningAlgorithm},
			TokenEndpointAuthMethodsSupported:      allMethods,
			RevocationEndpointAuthMethodsSupported: allMethods,
			ClaimsSupported:                        i.claims,
			CodeChallengeMethodsSupported:          []oidc.CodeChallengeMethod{oidc.CodeChallengeMethodS256},
		},
		AuthorizationResponseIssParameterSupported: true,
	}
	if i.acceptsClientAssertions() {
		m.TokenEndpointAuthMethodsSupported = append(slices.Clone(allMethods), oidc.AuthMethodPrivateKeyJWT)
		m.TokenEndpointAuthSigningAlgValuesSupported = clientAssertionAlgorithmNames()
		m.RevocationEndpointAuthMethodsSupported = m.TokenEndpointAuthMethodsSupported
		m.RevocationEndpointAuthSigningAlgValuesSupported = m.TokenEndpointAuthSigningAlgValuesSupported
	}
	if _, ok := i.extensions[oidc.GrantTypeBearer]; ok {
		m.GrantProfilesSupported = []string{assertionProfile}
	}
	if _, ok := i.extensions[oidc.GrantTypeTokenExchange]; ok {
		m.RequestedTokenTypesSupported = []string{string(assertionTokenType)}
	}
	if slices.Contains(i.paths, introspectPath) {
		m.IntrospectionEndpoint = issuer + introspectPath
		m.IntrospectionEndpointAuthMethodsSupported = secretMethods
	}
	return m
}

// Keys implements [op.Server].
func (s *server) Keys(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	keys, err := s.keys.set()
	if err != nil {
		return nil, err
	}
	return cacheable(keys), nil
}

// Ready implements [op.Server]. No route of the handler leads to it.
func (s *server) Ready(ctx context.Context, r *op.Request[struct{}]) (*op.Response, error) {
	return s.UnimplementedServer.Ready(ctx, r)
}

func cacheable(data any) *op.Response {
	return &op.Response{Header: http.Header{"Cache-Control": {cacheControl}}, Data: data}
}

// grantTypes are those of the token endpoint.
func (i *Issuer) grantTypes() []oidc.GrantType {
	return slices.Concat(i.registration.grants, slices.Sorted(maps.Keys(i.extensions)))
}
