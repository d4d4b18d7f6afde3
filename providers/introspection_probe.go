package providers

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
)

// ProbeIntrospection asks at address about a random token: what counts is that the endpoint tells this
// server so. See [Diagnosis.Introspect] for the errors.
func ProbeIntrospection(ctx context.Context, style introspectionStyle, client *http.Client, address string, rules Rules) error {
	req, err := style.request(ctx, address, rand.Text())
	if err != nil {
		return Unavailablef(IntrospectionUnavailable, "%v", err)
	}
	answer, err := send(client, req, maxIntrospectionBytes)
	if err != nil {
		return Unavailablef(IntrospectionUnavailable, "%v", err)
	}
	_, err = style.claims(answer, rules.fixedClaims())
	switch {
	case err == nil:
		return Unavailablef(IntrospectionUnavailable, "it calls a token active that nobody issued")
	case errors.Is(err, ErrInvalidToken):
		return nil
	}
	return err
}
