package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// clientAddress says where a request comes from: the other end of the connection, or what a trusted proxy
// says.
func clientAddress(c Config) echo.IPExtractor {
	if len(c.Settings.TrustedProxies) == 0 {
		return echo.ExtractIPDirect()
	}
	return newProxyRanges(c.Settings.TrustedProxies).client
}

// proxyRanges are the addresses whose X-Forwarded-For is believed.
type proxyRanges []netip.Prefix

// newProxyRanges reads ranges in CIDR notation. Settings.Check has reported those that cannot be read.
func newProxyRanges(cidrs []string) (ranges proxyRanges) {
	for _, cidr := range cidrs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			ranges = append(ranges, unmapped(prefix))
		}
	}
	return ranges
}

func (p proxyRanges) contain(ip netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(ip) })
}

// client returns the last address that no trusted proxy has: each proxy adds its peer at the end of
// X-Forwarded-For, and what stands before that is what the peer said. The library's extractor does the same,
// but takes an address with a port, as Azure Application Gateway and IIS write it, for no address. One entry
// that cannot be read spoils the header, because it is not known who wrote what stands before it: then the
// request comes from the peer.
func (p proxyRanges) client(r *http.Request) string {
	direct := r.RemoteAddr
	if host, _, err := net.SplitHostPort(direct); err == nil {
		direct = host
	}
	peer, err := netip.ParseAddr(direct)
	fields := r.Header[echo.HeaderXForwardedFor]
	if err != nil || len(fields) == 0 || !p.contain(peer.WithZone("").Unmap()) {
		return direct
	}
	farthest := direct
	for _, field := range slices.Backward(fields) {
		for more := true; more; {
			entry := field
			if i := strings.LastIndexByte(field, ','); i >= 0 {
				field, entry = field[:i], field[i+1:]
			} else {
				more = false
			}
			ip, ok := forwardedAddress(strings.TrimSpace(entry))
			if !ok {
				return direct
			}
			if farthest = ip.String(); !p.contain(ip) {
				return farthest
			}
		}
	}
	return farthest
}

// forwardedAddress reads an entry of X-Forwarded-For: an address, which may have a port, and for IPv6
// brackets.
func forwardedAddress(entry string) (ip netip.Addr, ok bool) {
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(entry)
		ip = withPort.Addr()
	}
	// A zone is any text, and means something on the machine of its author only.
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// unmapped is a range of IPv4 addresses written as IPv6 in the form in which addresses are compared with it.
func unmapped(prefix netip.Prefix) netip.Prefix {
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		return netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix
}
