package authserver

import (
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// grantableScopes adds the scopes of the issuer itself: openid yields an ID token, offline_access a refresh
// token. Both are listed in the metadata because clients request offline_access only if it is listed
// (SEP-2207).
func grantableScopes(scopes []string) []string {
	all := slices.Clone(scopes)
	for _, own := range []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess} {
		if !slices.Contains(all, own) {
			all = append(all, own)
		}
	}
	return all
}

// grantScopes returns the known scopes among those requested, and the default scopes if none are requested.
// The token response tells the client what was granted (RFC 6749, section 3.3). The scope in the client's
// registration is not a limit: clients register the scope of the first challenge and request more later.
func (i *Issuer) grantScopes(parameter string) ([]string, error) {
	requested := strings.Fields(parameter)
	if len(requested) == 0 {
		return i.config.DefaultScopes, nil
	}
	var granted []string
	for _, scope := range requested {
		if slices.Contains(i.scopes, scope) && !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	if len(granted) == 0 {
		return nil, oidc.ErrInvalidScope().WithDescription("none of the requested scopes is known")
	}
	return granted, nil
}

// describeScope returns the text of the consent page for a scope: that of the configuration, or of a scope that
// OpenID Connect Core 1.0, sections 3.1.2.1, 5.4 and 11 define. It is empty for other scopes.
func (i *Issuer) describeScope(scope string) string {
	if text := i.config.ScopeDescriptions[scope]; text != "" {
		return text
	}
	switch scope {
	case oidc.ScopeOpenID:
		return "Know who you are"
	case oidc.ScopeProfile:
		return "See your profile, such as your name"
	case oidc.ScopeEmail:
		return "See your email address"
	case oidc.ScopePhone:
		return "See your phone number"
	case oidc.ScopeAddress:
		return "See your postal address"
	case oidc.ScopeOfflineAccess:
		return "Keep access while you are away"
	}
	return ""
}

// isProtocolScope reports whether a scope is one of the issuer itself. They are about the client, not about what the
// person may do.
func isProtocolScope(scope string) bool {
	return scope == oidc.ScopeOpenID || scope == oidc.ScopeOfflineAccess
}

func hasResourceScope(scopes []string) bool {
	return slices.ContainsFunc(scopes, func(scope string) bool { return !isProtocolScope(scope) })
}

// allowed returns those of the scopes that the person may have.
func (p Person) allowed(scopes []string) []string {
	if p.Unrestricted {
		return scopes
	}
	return slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool {
		return !isProtocolScope(scope) && !slices.Contains(p.Scopes, scope)
	})
}

// isScopeToken reports whether s is a scope-token of RFC 6749, section 3.3.
func isScopeToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s,
		func(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' || r == '\\' })
}
