package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// clientAddress returns the extractor of a request's client address: the connection's peer, or the address
// that a trusted proxy reports.
func clientAddress(c Config) echo.IPExtractor {
	if len(c.Settings.TrustedProxies) == 0 {
		return echo.ExtractIPDirect()
	}
	return newProxyRanges(c.Settings.TrustedProxies).clientIP
}

// proxyRanges are the addresses whose X-Forwarded-For is trusted.
type proxyRanges []netip.Prefix

// newProxyRanges reads ranges in CIDR notation. Settings.Validate reports those that cannot be read.
func newProxyRanges(cidrs []string) (ranges proxyRanges) {
	for _, cidr := range cidrs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			ranges = append(ranges, unmapPrefix(prefix))
		}
	}
	return ranges
}

func (p proxyRanges) contains(ip netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(ip) })
}

// clientIP returns the last address that is not a trusted proxy: each proxy appends its peer to
// X-Forwarded-For, and that peer may have invented all entries before it. Echo's extractor does the same, but
// rejects an address with a port, as Azure Application Gateway and IIS write it. If an entry cannot be
// parsed, the header is ignored and the peer is the client: it is unknown which proxy wrote the entries
// before it.
func (p proxyRanges) clientIP(r *http.Request) string {
	direct := r.RemoteAddr
	if host, _, err := net.SplitHostPort(direct); err == nil {
		direct = host
	}
	peer, err := netip.ParseAddr(direct)
	fields := r.Header[echo.HeaderXForwardedFor]
	if err != nil || len(fields) == 0 || !p.contains(peer.WithZone("").Unmap()) {
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
			ip, ok := parseForwarded(strings.TrimSpace(entry))
			if !ok {
				return direct
			}
			if farthest = ip.String(); !p.contains(ip) {
				return farthest
			}
		}
	}
	return farthest
}

// parseForwarded parses an entry of X-Forwarded-For: an address, optionally with a port; IPv6 may have
// brackets.
func parseForwarded(entry string) (ip netip.Addr, ok bool) {
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(entry)
		ip = withPort.Addr()
	}
	// A zone is arbitrary text and has a meaning only on the sender's machine.
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// unmapPrefix converts a range of IPv4-mapped IPv6 addresses to IPv4, the form in which addresses are
// compared.
func unmapPrefix(prefix netip.Prefix) netip.Prefix {
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		return netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix
}
