package authserver

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/op"

	"gatehouse/providers"
)

// registered is the response to a registration (RFC 7591, section 3.2.1): all metadata of the client,
// including defaults.
type registered struct {
	ClientID         string `json:"client_id"`
	ClientIDIssuedAt int64  `json:"client_id_issued_at"` // seconds since 1970
	ClientSecret     string `json:"client_secret,omitempty"`
	// Required with a secret; 0 means that it does not expire.
	ClientSecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	clientMetadata
}

// register is the dynamic client registration endpoint (RFC 7591). It is open, and some clients register at
// every sign-in: what a registration costs is bounded by [clientIDs].
func (i *Issuer) register(w http.ResponseWriter, r *http.Request) {
	noStore(w.Header())
	m, err := i.readRegistration(w, r)
	var issued registration
	if err == nil {
		issued, err = i.clients.ids.issue(m)
	}
	if err != nil {
		i.record(r.Context(), providers.SignInEvent{Kind: EventRegister, Reason: reasonRegistrationRefused})
		op.WriteError(w, r, err, nil)
		return
	}
	answer := registered{ClientID: issued.id, ClientIDIssuedAt: i.config.Now().Unix(), ClientSecret: issued.secret,
		clientMetadata: m}
	if issued.secret != "" {
		answer.ClientSecretExpiresAt = &issued.secretExpires
	}
	i.record(r.Context(), providers.SignInEvent{Kind: EventRegister, ClientID: issued.id})
	i.config.Logger.InfoContext(r.Context(), "client registered",
		slog.String("client_id", displayClientID(answer.ClientID)), slog.String("client_name", m.ClientName))

	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(answer) // fails only if the client closed the connection
}

func (i *Issuer) readRegistration(w http.ResponseWriter, r *http.Request) (clientMetadata, error) {
	var m clientMetadata
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return m, invalidMetadata("the body must be application/json")
	}
	if r.Body == nil {
		return m, invalidMetadata("the body is empty")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return m, op.NewStatusError(invalidMetadata("the body is too large"), http.StatusRequestEntityTooLarge)
	}
	if err != nil || i.registration.decode(body, &m) != nil {
		return m, invalidMetadata("the body is not a JSON object of client metadata")
	}
	return m, i.registration.checkRegistration(&m)
}
