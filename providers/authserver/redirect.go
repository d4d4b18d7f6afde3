package authserver

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const (
	maxRedirectURIs      = 20
	maxRedirectURILength = 2000
	// maxRedirectURIBytes bounds all of one client's together: they stay in memory.
	maxRedirectURIBytes = 8 << 10
)

// systemSchemes mean something to the browser itself: a redirect there would run a script, show foreign content as ours
// or reach for a file, instead of opening an app.
const systemSchemes = "about android-app blob cid chrome data feed file filesystem ftp intent jar javascript livescript mailto mid " +
	"resource search-ms shell smb sms ssh tel vbscript view-source ws wss wyciwyg"

// isSystemScheme reports whether a scheme starts a part of the operating system or of the browser instead of an app.
func isSystemScheme(scheme string) bool {
	return slices.Contains(strings.Fields(systemSchemes), scheme) || strings.HasPrefix(scheme, "ms-") || strings.HasSuffix(scheme, "-extension")
}

// checkRedirectURI says whether a client may register uri: https, http on loopback, or the private-use scheme of a
// native app (RFC 8252, section 7). The dot that section 7.1 asks for in such a scheme is not demanded: editors register
// names like cursor: and vscode:. The error is meant for the client's developer and does not repeat uri.
func checkRedirectURI(uri string) error {
	if len(uri) > maxRedirectURILength {
		return errors.New("a redirect URI is too long")
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("a redirect URI is not an absolute URI")
	case strings.Contains(uri, "#"):
		return errors.New("a redirect URI has a fragment") // RFC 6749, section 3.1.2
	case u.User != nil:
		return errors.New("a redirect URI has a user name")
	case u.Scheme == "https" && !isASCIIHost(u.Hostname()):
		return errors.New("a redirect URI has no host, or one that is neither ASCII name nor address")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("a redirect URI with http is not on loopback")
	case isSystemScheme(u.Scheme):
		return errors.New("a redirect URI has a scheme that belongs to the browser or the system")
	case u.Opaque == "" && u.Host == "" && u.Path == "":
		return errors.New("a redirect URI has nothing behind its scheme")
	}
	return nil
}

// isASCIIHost keeps hosts out that net/url lets through but that mean something in a Content-Security-Policy, such as
// "a;b". Names outside ASCII come as punycode.
func isASCIIHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// matchesRedirectURI reports whether requested is one of the registered redirect URIs. They must be equal, but for the port
// of an http URL on loopback, which a native app picks when it starts (RFC 8252, section 7.3). The host name must be the
// same all the same: localhost may resolve to something other than 127.0.0.1.
func matchesRedirectURI(requested string, registered []string) bool {
	if slices.Contains(registered, requested) {
		return true
	}
	without, ok := withoutLoopbackPort(requested)
	return ok && slices.ContainsFunc(registered, func(uri string) bool {
		other, ok := withoutLoopbackPort(uri)
		return ok && other == without
	})
}

// redirectsToLoopback reports whether a redirect to uri stays on this computer: http or https with a loopback
// host. The host of another scheme means whatever the app behind it makes of it.
func redirectsToLoopback(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname())
}

func withoutLoopbackPort(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || strings.Contains(uri, "#") || !isLoopback(u.Hostname()) {
		return "", false
	}
	return strings.Replace(uri, u.Host, u.Hostname(), 1), true
}

// formActionSource is the CSP source that lets a form's answer redirect to uri. Browsers hold the redirect that follows
// a POST against form-action as well. CSP cannot write IPv6 addresses or hosts of private-use schemes: there the
// scheme has to do.
func formActionSource(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if (u.Scheme == "http" || u.Scheme == "https") && !strings.Contains(u.Hostname(), ":") {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}
