package upstream

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatehouse/providers"
)

var hostPattern = regexp.MustCompile(`^(?:` + providers.HostPattern + `)(?::[0-9]+)?$`)

// checkURL reports what is wrong with the URL of an upstream, as far as it can be known without the network. The
// addresses of a host name are checked by [checkAddress] at each connection.
func checkURL(text string, add addFunc) {
	const write = "write the URL of the MCP endpoint, such as http://tickets.internal:8080/mcp"
	u, err := url.Parse(text)
	switch {
	case providers.CheckURI(text) != nil:
		add("url", providers.CodeInvalidValue, providers.CheckURI(text).Error(), write)
	case !strings.Contains(text, "://"):
		add("url", providers.CodeInvalidValue, "it does not begin with https:// or http://", write)
	case err != nil || u.Host == "" || u.Opaque != "" || u.Hostname() == "":
		add("url", providers.CodeInvalidValue, "it is not an absolute URL", write)
	case u.Scheme != "https" && u.Scheme != "http":
		add("url", providers.CodeInvalidValue, "its scheme is neither https nor http", write)
	case u.User != nil:
		add("url", providers.CodeInsecure, "it contains a user name",
			"remove it, and name a file with the value of the header Authorization in authorization_file")
	case strings.Contains(text, "#"):
		add("url", providers.CodeInvalidValue, "it contains a fragment", "remove # and what follows")
	case !hostPattern.MatchString(u.Host) || u.Port() == "0":
		add("url", providers.CodeInvalidValue, "its host is not a name in ASCII or an IP address, alone or with a port",
			write)
	case isMetadataHost(u.Hostname()):
		add("url", providers.CodeNotAllowed, errForbiddenAddress.Error(), write)
	default:
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			return // a name
		}
		switch err := checkAddress(addr, u.Scheme == "https"); {
		case errors.Is(err, errPlainHTTP):
			add("url", providers.CodeInsecure, err.Error(), "use https")
		case err != nil:
			add("url", providers.CodeNotAllowed, err.Error(), write)
		}
	}
}

// isMetadataHost reports whether host is a name of the metadata service of a cloud.
func isMetadataHost(host string) bool {
	names := []string{"metadata", "metadata.google.internal", "metadata.goog", "instance-data",
		"instance-data.ec2.internal"}
	return slices.Contains(names, strings.ToLower(strings.TrimSuffix(host, ".")))
}

var (
	errForbiddenAddress = errors.New("its address is link-local, unspecified or multicast, or gives the credentials of " +
		"the machine to its programs")
	errPlainHTTP = errors.New("its address is neither on loopback nor on a private network, and http is readable on " +
		"the way")
)

// checkAddress reports whether an upstream may be at addr: with http on loopback and private networks only, and never
// where clouds serve credentials.
func checkAddress(addr netip.Addr, isHTTPS bool) error {
	addr = addr.WithZone("").Unmap()
	if v4, isEmbedded := embeddedIPv4(addr); isEmbedded {
		if err := checkAddress(v4, true); err != nil {
			return err
		}
	}
	if addr.IsLoopback() {
		return nil
	}
	isForbidden := func(p netip.Prefix) bool { return p.Contains(addr) }
	if !addr.IsGlobalUnicast() || slices.ContainsFunc(forbiddenNetworks(), isForbidden) {
		return errForbiddenAddress
	}
	if !isHTTPS && !addr.IsPrivate() {
		return errPlainHTTP
	}
	return nil
}

// forbiddenNetworks are those that net/netip counts as global unicast, and at which nothing or the metadata service of
// a cloud answers.
func forbiddenNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
		netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
		netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
		netip.MustParsePrefix("fec0::/10"),          // site-local
		netip.MustParsePrefix("::/96"),              // IPv4-compatible
	}
}

// embeddedIPv4 returns the IPv4 address that a gateway would connect to for addr.
func embeddedIPv4(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr): // NAT64 (RFC 6052)
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr): // 6to4 (RFC 3056)
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
