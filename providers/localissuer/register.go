package localissuer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// registered is the answer to a registration (RFC 7591, section 3.2.1): all that now holds for the client, defaults
// included.
type registered struct {
	ClientID         string `json:"client_id"`
	ClientIDIssuedAt int64  `json:"client_id_issued_at"` // seconds since 1970
	ClientSecret     string `json:"client_secret,omitempty"`
	// Required beside a secret; 0 means never.
	ClientSecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	clientMetadata
}

// register is the dynamic client registration endpoint (RFC 7591). It is open to everybody, and some clients register
// anew at every sign-in, so the number of clients is bounded and the oldest make room.
func (i *Issuer) register(w http.ResponseWriter, r *http.Request) {
	noStore(w.Header())
	m, err := readRegistration(w, r)
	if err != nil {
		op.WriteError(w, r, err, nil)
		return
	}
	c := &client{
		id:           rand.Text(),
		name:         m.ClientName,
		origin:       dynamic,
		redirectURIs: m.RedirectURIs,
		grantTypes:   m.GrantTypes,
	}
	answer := registered{ClientID: c.id, ClientIDIssuedAt: i.config.Now().Unix(), clientMetadata: m}
	if m.TokenEndpointAuthMethod != oidc.AuthMethodNone {
		answer.ClientSecret, answer.ClientSecretExpiresAt = rand.Text(), new(int64)
		digest := sha256.Sum256([]byte(answer.ClientSecret))
		c.secret = &digest
	}
	i.clients.add(c)
	i.config.Logger.InfoContext(r.Context(), "client registered itself", slog.String("client_id", c.id), slog.String("client_name", c.name))

	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if this fails
}

func readRegistration(w http.ResponseWriter, r *http.Request) (clientMetadata, error) {
	var m clientMetadata
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return m, invalidMetadata("the body must be application/json")
	}
	if r.Body == nil {
		return m, invalidMetadata("there is no body")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return m, op.NewStatusError(invalidMetadata("the body is too large"), http.StatusRequestEntityTooLarge)
	}
	if err != nil || json.Unmarshal(body, &m) != nil {
		return m, invalidMetadata("the body is not a JSON object of client metadata")
	}
	if err := m.check(); err != nil {
		return m, err
	}
	switch m.TokenEndpointAuthMethod {
	case "":
		m.TokenEndpointAuthMethod = oidc.AuthMethodBasic // RFC 7591, section 2
	case oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost:
	default:
		return m, invalidMetadata("the token_endpoint_auth_method is not supported")
	}
	if m.TokenEndpointAuthMethod == oidc.AuthMethodNone && slices.Contains(m.GrantTypes, oidc.GrantTypeClientCredentials) {
		return m, invalidMetadata("client_credentials takes a client that authenticates")
	}
	return m, nil
}
