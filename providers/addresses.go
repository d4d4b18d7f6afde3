package providers

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// httpHosts are the hosts besides this computer that may be asked over plain http.
type httpHosts []string

// refusesIssuer is refusesIdentifier for what may also be an issuer template.
func (h httpHosts) refusesIssuer(issuer string) string {
	if isTemplate(issuer) {
		issuer = fillTemplate(issuer, "tenant")
	}
	if strings.ContainsAny(issuer, "{}") {
		return "what is in its braces is not one claim, such as {tid}"
	}
	return h.refusesIdentifier(issuer)
}

// refusesIdentifier says why an issuer identifier must not be used, or "" (RFC 8414, section 2).
func (h httpHosts) refusesIdentifier(issuer string) string {
	if strings.ContainsAny(issuer, "?#") {
		return "it contains a query or a fragment"
	}
	return h.refuses(issuer)
}

// refuses says why an address must not be asked, or "".
func (h httpHosts) refuses(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return "it is not an https URL"
	case u.User != nil:
		return "it contains a user name"
	case u.Scheme == "http" && !IsLoopback(u.Hostname()) && !slices.Contains(h, u.Host) && !slices.Contains(h, u.Hostname()):
		return "it is plain http outside this computer, where anybody on the way could put an answer of his own in"
	}
	return ""
}

// schemeHint guesses what an address without its scheme was meant to be.
func schemeHint(address string) string {
	if address == "" || strings.Contains(address, "://") {
		return ""
	}
	host, _, _ := strings.Cut(address, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if IsLoopback(host) {
		return "; did you mean http://" + address + "?"
	}
	if strings.Contains(host, ".") {
		return "; did you mean https://" + address + "?"
	}
	return ""
}
