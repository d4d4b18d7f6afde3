package authserver

import (
	"context"
	"net/http"

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
}

// Discovery implements [op.Server].
func (s *server) Discovery(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	issuer := s.config.Issuer
	secretMethods := []oidc.AuthMethod{oidc.AuthMethodBasic, oidc.AuthMethodPost}
	allMethods := append([]oidc.AuthMethod{oidc.AuthMethodNone}, secretMethods...)

	return cacheable(metadata{
		DiscoveryConfiguration: oidc.DiscoveryConfiguration{
			Issuer:                                    issuer,
			AuthorizationEndpoint:                     issuer + authorizePath,
			TokenEndpoint:                             issuer + tokenPath,
			IntrospectionEndpoint:                     issuer + introspectPath,
			RevocationEndpoint:                        issuer + revokePath,
			JwksURI:                                   issuer + keysPath,
			RegistrationEndpoint:                      issuer + registerPath,
			ClientIDMetadataDocumentSupported:         s.config.ClientDocuments,
			ScopesSupported:                           s.scopes,
			ResponseTypesSupported:                    []string{string(oidc.ResponseTypeCode)},
			ResponseModesSupported:                    []string{string(oidc.ResponseModeQuery)},
			GrantTypesSupported:                       supportedGrants(),
			SubjectTypesSupported:                     []string{"public"},
			IDTokenSigningAlgValuesSupported:          []string{s.config.SigningAlgorithm},
			TokenEndpointAuthMethodsSupported:         allMethods,
			RevocationEndpointAuthMethodsSupported:    allMethods,
			IntrospectionEndpointAuthMethodsSupported: secretMethods,
			ClaimsSupported: []string{"iss", "sub", "aud", "exp", "iat", "auth_time",
				"nonce", "at_hash", "name"},
			CodeChallengeMethodsSupported: []oidc.CodeChallengeMethod{oidc.CodeChallengeMethodS256},
		},
		AuthorizationResponseIssParameterSupported: true,
	}), nil
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

func supportedGrants() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials}
}
