package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/providers/token"
)

// hasUserinfo reports whether the userinfo endpoint can be asked with the access token of a response.
func hasUserinfo(m token.PublishedMetadata, t tokens) bool {
	return m.UserinfoEndpoint != "" && strings.EqualFold(t.kind, "Bearer")
}

// userinfo returns the claims of the userinfo endpoint (OpenID Connect Core 1.0, section 5.3). The error is an outage.
func (u *Upstream) userinfo(ctx context.Context, m token.PublishedMetadata, t tokens) (token.ClaimSet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserinfoEndpoint, nil)
	if err != nil {
		return token.ClaimSet{}, errors.New("the userinfo endpoint is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+t.access)
	status, body, err := token.Do(u.client, req, maxResponseBytes)
	switch {
	case err != nil:
		return token.ClaimSet{}, err
	case status != http.StatusOK:
		return token.ClaimSet{}, fmt.Errorf("the userinfo endpoint answered %d", status)
	}
	claims, err := u.parseClaims(body)
	if err != nil {
		return token.ClaimSet{}, errors.New("the userinfo endpoint answered 200 without a JSON object that can be read")
	}
	if subject, ok := claims.Text("sub"); !ok || subject == "" {
		return token.ClaimSet{}, errors.New("the userinfo endpoint answered without sub")
	}
	return claims, nil
}

// addUserinfo adds to the claims of an ID token those of the userinfo endpoint, if there is one: some providers have
// groups and e-mail addresses only there. source is where the needed claims are. An endpoint that does not answer is an
// outage: without its claims, the rules would judge the person by half of what the provider says.
func (u *Upstream) addUserinfo(
	ctx context.Context, m token.PublishedMetadata, t tokens, claims token.ClaimSet,
) (all token.ClaimSet, source string, err error) {
	if !hasUserinfo(m, t) {
		return claims, sourceIDToken, nil
	}
	more, err := u.userinfo(ctx, m, t)
	if err != nil {
		return token.ClaimSet{}, "", u.unavailable(err)
	}
	own, _ := claims.Text("sub")
	if other, _ := more.Text("sub"); own != other {
		// They must not be used then (section 5.3.2). Microsoft Graph may have another sub than the ID token.
		u.logger.Warn("the claims of the userinfo endpoint are not used: its sub is not that of the ID token")
		return claims, sourceIDToken, nil
	}
	return claims.With(more), sourceUserinfo, nil
}
