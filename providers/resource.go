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

// Resource is the canonical URL of the protected resource. The mount path, the audience, the metadata
// document and every challenge derive from it. [ParseResource] makes one.
type Resource struct {
	url *url.URL
}

// metadataPrefix is where RFC 9728 (section 3) puts the document of a resource: before the resource's path.
const metadataPrefix = "/.well-known/oauth-protected-resource"

// plainPath matches the allowed mount paths. With router patterns (":", "*"), escapes or dot segments, the
// served path would differ from the announced path.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$`)

// HostPattern matches a host name in ASCII or an IP address. Other names have several forms, and net/url
// accepts quotes and brackets, which have a meaning in a challenge.
const HostPattern = `[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]`

var plainAuthority = regexp.MustCompile(`^(?:` + HostPattern + `)(?::[0-9]+)?$`)

// ParseResource parses the canonical URL of the resource. Scheme and host are converted to lower case and an
// empty path to "/"; nothing else is changed. The error describes the problem for the operator.
func ParseResource(s string) (Resource, error) { return parseResource(s, IsLoopback) }

// ParseDemoIssuer is [ParseResource] for the address of a fake issuer, which may also be a name below localhost over
// plain http, such as http://company.localhost:9001 (RFC 6761, section 6.3): browsers resolve it to loopback, and a
// container network can give it to a container.
func ParseDemoIssuer(s string) (Resource, error) {
	return parseResource(s, func(host string) bool { return IsLoopback(host) || IsBelowLocalhost(host) })
}

// IsBelowLocalhost reports whether host is a name below localhost. It is not loopback: only browsers are sure to treat
// it so.
func IsBelowLocalhost(host string) bool {
	name, isBelow := strings.CutSuffix(host, ".localhost")
	return isBelow && name != "" && !strings.HasSuffix(name, ".")
}

// parseResource parses the URL. Hosts for which isLocal is true may have plain http.
func parseResource(s string, isLocal func(host string) bool) (Resource, error) {
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
		return Resource{}, errors.New("it contains the default port, which clients omit from the Host and " +
			"Origin that they send")
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return Resource{}, errors.New("plain http is allowed only on loopback; tokens could be read on the network")
	case u.RawPath != "" || !plainPath.MatchString(u.Path):
		return Resource{}, errors.New("its path may contain only letters, digits, '-', '_', '.', '~' " +
			"between single slashes")
	}
	return Resource{url: u}, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// String returns the URL as clients must write it.
func (r Resource) String() string { return r.url.String() }

// Origin returns scheme, host and port, without a slash at the end.
func (r Resource) Origin() string { return r.url.Scheme + "://" + r.url.Host }

// Host returns host and port as in the URL, which a client sends as its Host header.
func (r Resource) Host() string { return r.url.Host }

// Hostname returns the host without its port.
func (r Resource) Hostname() string { return r.url.Hostname() }

// IsHost reports whether host, in lower case, is the host of the resource, with or without the default port
// of its scheme (RFC 9110, section 4.2.3): some proxies always add the port.
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

// IsLoopback reports whether the resource is reachable on loopback only.
func (r Resource) IsLoopback() bool { return IsLoopback(r.url.Hostname()) }

// MetadataPaths returns the paths of the metadata document: the one that RFC 9728, section 3.1 derives from
// the resource's path, and the root form that simple clients try. They are the same for a resource at "/".
func (r Resource) MetadataPaths() []string {
	if r.Path() == "/" {
		return []string{metadataPrefix}
	}
	return []string{metadataPrefix + r.Path(), metadataPrefix}
}

// MetadataURL returns the absolute URL of the metadata document, as challenges name it.
func (r Resource) MetadataURL() string { return r.Origin() + r.MetadataPaths()[0] }

// IsLoopback reports whether host, a name or an address without a port, is a loopback address.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
