package token

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"gatehouse/providers"
)

// ProbeIntrospection asks at address about a random token. It returns nil if the answer is that the token is not good,
// as it must be; the error wraps [providers.ErrUnavailable] otherwise, and [ErrUnauthorizedWithoutCause] if the answer
// does not say whether it refuses the token or the credentials of this server.
func ProbeIntrospection(ctx context.Context, protocol IntrospectionProtocol, client *http.Client, address string, rules Rules) error {
	req, err := protocol.request(ctx, address, rand.Text())
	if err != nil {
		return providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	}
	answer, err := send(client, req, maxIntrospectionBytes)
	if err != nil {
		return providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	}
	_, err = protocol.claims(answer, rules.knownClaims())
	switch {
	case err == nil:
		return providers.Unavailablef(providers.IntrospectionUnavailable, "it calls a token active that nobody issued")
	case errors.Is(err, providers.ErrInvalidToken):
		return nil
	}
	return err
}
