package token

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"gatehouse/providers"
)

// ProbeIntrospection introspects a random token at endpoint. It returns nil if the token is not active.
// Otherwise the error wraps [providers.ErrUnavailable], and [ErrUnauthorizedWithoutCause] if the response
// does not tell whether it rejects the token or the credentials of this server.
func ProbeIntrospection(
	ctx context.Context, protocol IntrospectionProtocol, client *http.Client, endpoint string, rules Rules,
) error {
	req, err := protocol.request(ctx, endpoint, rand.Text())
	if err != nil {
		return providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	resp, err := doJSON(client, req, maxIntrospectionBytes)
	if err != nil {
		return providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	_, err = protocol.claims(resp, rules.knownClaims())
	switch {
	case err == nil:
		return providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "it reports a random token as active")
	case errors.Is(err, providers.ErrInvalidToken):
		return nil
	}
	return err
}
