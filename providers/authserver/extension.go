package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The grant types of [Client.GrantTypes] that the demo, or an issuer with assertions, has in addition.
const (
	// GrantAssertion exchanges an identity assertion for an access token (RFC 7523).
	GrantAssertion = string(oidc.GrantTypeBearer)
	// GrantTokenExchange exchanges an ID token for an identity assertion (RFC 8693).
	GrantTokenExchange = string(oidc.GrantTypeTokenExchange)
)

// extensionGrant is a grant that the library does not serve, or serves to a client that it has not authenticated. The
// client has proven who it is, with a secret or a key.
type extensionGrant func(ctx context.Context, form url.Values, c *client) (any, error)

// newExtensions returns the extension grants of the configuration.
func (i *Issuer) newExtensions() map[oidc.GrantType]extensionGrant {
	extensions := make(map[oidc.GrantType]extensionGrant)
	if i.config.Assertions != nil {
		extensions[oidc.GrantTypeBearer] = i.exchangeAssertion
	}
	if slices.ContainsFunc(i.config.Clients, func(c Client) bool {
		return slices.Contains(c.GrantTypes, GrantTokenExchange)
	}) {
		extensions[oidc.GrantTypeTokenExchange] = i.exchangeIDToken
	}
	return extensions
}

// serveExtensions serves the extension grants.
func (i *Issuer) serveExtensions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		grant, ok := i.extensions[oidc.GrantType(r.PostForm.Get("grant_type"))]
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		c, err := i.requireProof(r)
		var answer any
		if err == nil {
			answer, err = grant(r.Context(), r.PostForm, c)
		}
		if err != nil {
			op.WriteError(w, r, err, nil)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // fails only if the client closed the connection
	})
}

// requireProof returns the client of a request to the token endpoint, which must have proven who it is. Who may use the
// client_id of a public client, its own or one that is known to all, is anyone.
func (i *Issuer) requireProof(r *http.Request) (*client, error) {
	credentials := &op.ClientCredentials{ClientID: r.PostForm.Get("client_id"),
		ClientSecret: r.PostForm.Get("client_secret"), ClientAssertion: r.PostForm.Get("client_assertion")}
	if user, password, ok := r.BasicAuth(); ok { // checkCredentialsForm has refused others
		if credentials.ClientSecret != "" {
			return nil, oidc.ErrInvalidRequest().WithDescription("the client authenticates in two ways")
		}
		id, errID := url.QueryUnescape(user)
		secret, errSecret := url.QueryUnescape(password)
		if err := errors.Join(errID, errSecret); err != nil {
			return nil, errAuthentication()
		}
		credentials.ClientID, credentials.ClientSecret = id, secret
	}
	if credentials.ClientAssertion == "" && (credentials.ClientID == "" || credentials.ClientSecret == "") {
		return nil, invalidClient("the client must authenticate")
	}
	return i.authenticateClient(r.Context(), credentials)
}
