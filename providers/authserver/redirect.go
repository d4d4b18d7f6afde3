package authserver

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
)

const (
	maxRedirectURIs      = 20
	maxRedirectURILength = 2000
	// maxRedirectURIBytes bounds all redirect URIs of a client together, which are stored in memory.
	maxRedirectURIBytes = 8 << 10
)

// redirectRules decide about one redirect URI of a client that the operator has not registered.
type redirectRules interface {
	// check returns why no client may have the redirect URI. Errors are for the developer of the client and do not
	// contain it.
	check(uri string) error
	// allow returns why the operator does not allow a redirect URI that passes check.
	allow(uri string) error
}

// anyRedirects are the rules of the demo.
type anyRedirects struct{}

func (anyRedirects) check(uri string) error { return checkRedirectURI(uri) }
func (anyRedirects) allow(string) error     { return nil }

// redirectPolicy are the rules where people sign in at another provider: https, or http on loopback, as MCP
// 2026-07-28 requires, or a private-use scheme that the operator lists.
type redirectPolicy struct {
	hosts   []string // of https; *.HOST for those below HOST; empty allows all
	schemes []string
}

func newRedirectPolicy(p ClientPolicy) redirectPolicy {
	return redirectPolicy{p.RedirectHosts, p.RedirectSchemes}
}

func (redirectPolicy) check(uri string) error {
	if err := checkRedirectURI(uri); err != nil {
		return err
	}
	switch {
	case providers.CheckURI(uri) != nil:
		// Browsers repair some of these characters: a backslash becomes a slash.
		return errors.New("a redirect URI has a character that no URI may have")
	case strings.Contains(uri, "*"):
		return errors.New("a redirect URI has a wildcard; register each redirect URI")
	}
	return nil
}

func (p redirectPolicy) allow(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return errors.New("a redirect URI is not a URI")
	case redirectsToLoopback(uri):
		return nil
	case u.Scheme != "https" && slices.Contains(p.schemes, u.Scheme):
		return nil
	case u.Scheme != "https":
		return errors.New("no redirect URI has a scheme that this server allows")
	case len(p.hosts) == 0 || slices.ContainsFunc(p.hosts, func(entry string) bool { return matchesHost(entry, u) }):
		return nil
	}
	return errors.New("no redirect URI has a host that this server allows")
}

// matchesHost reports whether entry, HOST, HOST:PORT or *.HOST, is for the host of u.
func matchesHost(entry string, u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	if parent, ok := strings.CutPrefix(strings.ToLower(entry), "*."); ok {
		return strings.HasSuffix(host, "."+parent)
	}
	return strings.EqualFold(entry, host) || strings.EqualFold(entry, u.Host)
}

// systemSchemes have a meaning for the browser or the system: a redirect would run a script, show foreign
// content or open a file instead of an app.
const systemSchemes = "about android-app blob cid chrome data feed file filesystem ftp intent jar javascript " +
	"livescript mailto mid resource search-ms shell smb sms ssh tel vbscript view-source ws wss wyciwyg"

// isSystemScheme reports whether a scheme belongs to the operating system or the browser instead of an app.
func isSystemScheme(scheme string) bool {
	return slices.Contains(strings.Fields(systemSchemes), scheme) || strings.HasPrefix(scheme, "ms-") ||
		strings.HasSuffix(scheme, "-extension")
}

// checkRedirectURI returns an error unless a client may register uri: https, http on loopback, or the
// private-use scheme of a native app (RFC 8252, section 7). The dot that section 7.1 requires in such a
// scheme is not enforced: editors register cursor: and vscode:. The error is for the developer of the client
// and does not contain uri.
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
		return errors.New("a redirect URI has no host, or one that is neither an ASCII name nor an address")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("a redirect URI with http is not on loopback")
	case isSystemScheme(u.Scheme):
		return errors.New("a redirect URI has a scheme of the browser or the system")
	case u.Opaque == "" && u.Host == "" && u.Path == "":
		return errors.New("a redirect URI consists of a scheme only")
	}
	return nil
}

// isASCIIHost excludes hosts that net/url accepts but that have a meaning in a Content-Security-Policy, such
// as "a;b". International names are in punycode.
func isASCIIHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' ||
			r == '_')
	})
}

// matchesRedirectURI reports whether requested is one of the registered redirect URIs. They must be equal,
// except for the port of an http URL on loopback, which a native app chooses when it starts (RFC 8252,
// section 7.3). The host name must be the same: localhost may resolve to another address than 127.0.0.1.
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
// host. In other schemes the app decides what the host means.
func redirectsToLoopback(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname())
}

func withoutLoopbackPort(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || strings.Contains(uri, "#") ||
		!isLoopback(u.Hostname()) {
		return "", false
	}
	return strings.Replace(uri, u.Host, u.Hostname(), 1), true
}

// formActionSource returns the CSP source that allows the redirect to uri after the form is posted: browsers
// apply form-action to that redirect too. CSP cannot express IPv6 addresses or hosts of private-use schemes;
// for those the source is only the scheme.
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
