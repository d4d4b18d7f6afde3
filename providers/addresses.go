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
	if strings.Contains(issuer, wellKnown) {
		return "it is the address of the metadata, not the issuer that they name"
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

// wellKnown is what no issuer has in it, and its metadata's address does (RFC 8615).
const wellKnown = "/.well-known/"

// issuerHint guesses which issuer was meant.
func issuerHint(address string) string {
	issuer, _, isMetadata := strings.Cut(address, wellKnown)
	if hint := schemeHint(issuer); hint != "" || !isMetadata || !strings.HasPrefix(issuer, "http") || strings.Contains(issuer, "@") {
		return hint
	}
	return "; did you mean " + issuer + "?"
}

// schemeHint guesses what an address without its scheme, or with the wrong one, was meant to be. It repeats none in which a secret may
// stand.
func schemeHint(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" && u.Host != "" && !IsLoopback(u.Hostname()) && u.User == nil && !strings.ContainsAny(address, "?#") {
		return "; did you mean https" + address[len(u.Scheme):] + "?"
	}
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
