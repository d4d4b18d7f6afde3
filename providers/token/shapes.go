package token

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

// shapeHint returns what a token is that is no signed JWT, and the fix. It does not repeat the token.
func shapeHint(token string) (Hint, bool) {
	header, rest, _ := strings.Cut(token, ".")
	parts := 1 + strings.Count(token, ".")
	switch {
	case parts == 5 && isJSONHeader(header, "enc"):
		return Hint{
			"it is encrypted (JWE, RFC 7516), so only the server that it is meant for can read it",
			"request an audience: clients send this server's URL as the resource parameter, and the provider must " +
				"know it. At Auth0 that is an API whose identifier is the resource, with the Resource Parameter " +
				"Compatibility Profile or as the Default Audience of the tenant. If the provider encrypts tokens for " +
				"this server on purpose, switch that off",
		}, true
	case strings.HasPrefix(header, "ey") && isJSONHeader(header, "alg") && parts < 3:
		return Hint{
			"it is the beginning of a JWT, which has three parts with dots between them",
			"copy the whole token, up to the end of its signature",
		}, true
	case strings.HasPrefix(header, "ey") && isJSONHeader(header, "alg") && parts == 3 && strings.HasSuffix(rest, "."):
		return Hint{
			"it is a JWT without a signature",
			"send the token as the provider issued it; unsigned tokens are never accepted",
		}, true
	case parts == 3 && strings.ContainsAny(token, "+/=") && isJSONHeader(standardToURL(header), "alg"):
		return Hint{
			"its parts are base64, and those of a JWT are base64url without padding (RFC 7515, section 2)",
			"send the token as the provider issued it: a program or a proxy in between encodes it again",
		}, true
	}
	for _, shape := range foreignShapes {
		if shape.pattern.MatchString(token) {
			return Hint{shape.cause, shape.fix}, true
		}
	}
	if decoded, err := base64.StdEncoding.DecodeString(token); err == nil && strings.HasPrefix(string(decoded), "<") {
		return Hint{samlCause, samlFix}, true
	}
	return Hint{}, false
}

const (
	samlCause = "it is XML, as a SAML assertion is"
	samlFix   = "have the client sign in by OAuth at the provider's token endpoint, which issues access " +
		"tokens; a SAML assertion is for a sign-in page"
	signInHere = "sign in at the provider that this server's metadata names, and send the access token that it issues; "
)

// foreignShapes are credentials of other services and formats, by their documented prefixes.
var foreignShapes = []struct {
	pattern    *regexp.Regexp
	cause, fix string
}{
	{regexp.MustCompile(`^v[1-4]\.(local|public)\.`), "it is a PASETO token, not a JWT",
		"have the provider issue JWTs for this resource, or set provider.introspection to opaque"},
	{regexp.MustCompile(`^(gh[opusr]_|github_pat_)`), "it is a token of GitHub, which is for GitHub's API",
		signInHere + "GitHub issues no tokens for other servers"},
	{regexp.MustCompile(`^glpat-`), "it is a personal access token of GitLab, which is for GitLab's API",
		signInHere + "a personal access token is a key of one service"},
	{regexp.MustCompile(`^ya29\.`), "it is an access token of Google, which is opaque",
		"set provider.preset to google, which asks Google about each token, if users sign in with Google accounts"},
	{regexp.MustCompile(`^xox[a-z]-`), "it is a token of Slack, which is for Slack's API",
		signInHere + "Slack issues no tokens for other servers"},
	{regexp.MustCompile(`^(sk-|pk_|sk_|rk_|AKIA|AIza|hf_|npm_)`), "it is an API key of another service",
		signInHere + "an API key is for the service that issued it: withdraw it there if it was sent to others"},
	{regexp.MustCompile(`^-----BEGIN `), "it is a key or a certificate in PEM",
		signInHere + "a private key is never sent: replace it if it was"},
	{regexp.MustCompile(`^<`), samlCause, samlFix},
}

// isJSONHeader reports whether encoded is base64url of a JSON object with that member.
func isJSONHeader(encoded, member string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	var object map[string]json.RawMessage
	return err == nil && json.Unmarshal(raw, &object) == nil && object[member] != nil
}

func standardToURL(text string) string {
	return strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
}
