package providers

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Resource is the canonical URL of the protected resource: the one place where the public address is said. The mount
// path, the audience, the metadata document and every challenge derive from it. Make one with [ParseResource].
type Resource struct {
	url *url.URL
}

// metadataPrefix is where RFC 9728 (section 3) puts the document of a resource: before the resource's path.
const metadataPrefix = "/.well-known/oauth-protected-resource"

// plainPath is what a mount path may consist of. Patterns of the router (":", "*"), escapes and dot segments would
// make the path that is served differ from the path that is announced.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$`)

// HostPattern is a name in ASCII, or an IP address. Others are spelled in more than one way, and net/url lets through
// quotes and brackets that have a meaning in a challenge.
const HostPattern = `[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]`

var plainAuthority = regexp.MustCompile(`^(?:` + HostPattern + `)(?::[0-9]+)?$`)

// ParseResource reads the canonical URL of the resource. Scheme and host become lower case and an empty path becomes
// "/"; nothing else is changed. The error says what is wrong with s and is meant for the person who configures it.
func ParseResource(s string) (Resource, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return Resource{}, errors.New("it is empty")
	case CheckURI(s) != nil:
		return Resource{}, CheckURI(s)
	case err != nil:
		return Resource{}, errors.New("it is not a URL")
	case u.Scheme == "" || u.Host == "" || u.Opaque != "":
		return Resource{}, errors.New("it is not an absolute URL such as https://mcp.example.com/mcp")
	case u.User != nil:
		return Resource{}, errors.New("it contains a user name")
	case u.RawQuery != "" || u.ForceQuery:
		return Resource{}, errors.New("it contains a query")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return Resource{}, errors.New("it contains a fragment")
	case u.Hostname() == "":
		return Resource{}, errors.New("it names no host")
	case !plainAuthority.MatchString(u.Host):
		return Resource{}, errors.New("its host is not a name in ASCII or an IP address, alone or with a port")
	case u.Port() != "" && !isPort(u.Port()):
		return Resource{}, errors.New("its port is not between 1 and 65535")
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Path == "" {
		u.Path = "/"
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return Resource{}, fmt.Errorf("its scheme is %q, not https", u.Scheme)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return Resource{}, errors.New("it spells out the default port, which clients leave out of the Host and Origin that they send")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return Resource{}, errors.New("it is plain http outside this computer, where tokens would travel in the clear")
	case u.RawPath != "" || !plainPath.MatchString(u.Path):
		return Resource{}, errors.New("its path has more than letters, digits, '-', '_', '.', '~' between single slashes")
	}
	return Resource{url: u}, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// String returns the URL as clients must spell it.
func (r Resource) String() string { return r.url.String() }

// Origin returns scheme, host and port, without a slash at the end.
func (r Resource) Origin() string { return r.url.Scheme + "://" + r.url.Host }

// Host returns host and port as they stand in the URL, which is what a client sends as its Host header.
func (r Resource) Host() string { return r.url.Host }

// IsHost reports whether host, in lower case, is the host of the resource. The default port of the resource's
// scheme may be there or not (RFC 9110, section 4.2.3): proxies that write host:port spell it out.
func (r Resource) IsHost(host string) bool {
	return host == r.url.Host || r.url.Port() == "" && host == r.url.Host+DefaultPort(r.url.Scheme)
}

// DefaultPort returns the default port of an http scheme with a colon before it, or "" for other schemes (RFC
// 9110, section 4.2).
func DefaultPort(scheme string) string {
	switch scheme {
	case "http":
		return ":80"
	case "https":
		return ":443"
	}
	return ""
}

// Path returns the path at which the resource is mounted, at least "/".
func (r Resource) Path() string { return r.url.Path }

// Hostname is the host without its port.
func (r Resource) Hostname() string { return r.url.Hostname() }

// IsLoopback reports whether the resource is reachable from this computer only.
func (r Resource) IsLoopback() bool { return IsLoopback(r.url.Hostname()) }

// MetadataPaths returns the paths of the metadata document: the one that RFC 9728, section 3.1 derives from the
// resource's path, and the root form that simple clients try. They are the same for a resource at "/".
func (r Resource) MetadataPaths() []string {
	if r.Path() == "/" {
		return []string{metadataPrefix}
	}
	return []string{metadataPrefix + r.Path(), metadataPrefix}
}

// MetadataURL returns the absolute URL of the metadata document, as challenges name it.
func (r Resource) MetadataURL() string { return r.Origin() + r.MetadataPaths()[0] }

// IsLoopback reports whether host, a name or an address without a port, means this computer.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
