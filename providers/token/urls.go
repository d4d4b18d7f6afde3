package token

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
)

// PlainHTTPHosts are the hosts besides this computer that may be asked over plain http.
type PlainHTTPHosts []string

// CheckIssuer is CheckIdentifier for what may also be an issuer template.
func (h PlainHTTPHosts) CheckIssuer(issuer string) error {
	if IsTemplate(issuer) {
		issuer = fillTemplate(issuer, "tenant")
	}
	if strings.ContainsAny(issuer, "{}") {
		return errors.New("what is in its braces is not one claim, such as {tid}")
	}
	return h.CheckIdentifier(issuer)
}

// CheckIdentifier returns why an issuer identifier must not be used, or nil (RFC 8414, section 2).
func (h PlainHTTPHosts) CheckIdentifier(issuer string) error {
	if strings.ContainsAny(issuer, "?#") {
		return errors.New("it contains a query or a fragment")
	}
	if strings.Contains(issuer, wellKnown) {
		return errors.New("it is the address of the metadata, not the issuer that they name")
	}
	return h.CheckURL(issuer)
}

// CheckURL returns why address must not be asked, or nil.
func (h PlainHTTPHosts) CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case address != "" && providers.CheckURI(address) != nil:
		return providers.CheckURI(address)
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it is not an https URL")
	case u.User != nil:
		return errors.New("it contains a user name")
	case u.Scheme == "http" && !providers.IsLoopback(u.Hostname()) && !slices.Contains(h, u.Host) && !slices.Contains(h, u.Hostname()):
		return errors.New("it is plain http outside this computer, where anybody on the way could put an answer of his own in")
	}
	return nil
}

// wellKnown is what no issuer has in it, and its metadata's address does (RFC 8615).
const wellKnown = "/.well-known/"

// IssuerHint guesses which issuer was meant.
func IssuerHint(address string) string {
	issuer, _, isMetadata := strings.Cut(address, wellKnown)
	if hint := SchemeHint(issuer); hint != "" || !isMetadata || !strings.HasPrefix(issuer, "http") || strings.Contains(issuer, "@") {
		return hint
	}
	return "; did you mean " + issuer + "?"
}

// SchemeHint guesses what an address without its scheme, or with the wrong one, was meant to be. It repeats none in which a secret may
// stand.
func SchemeHint(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" && u.Host != "" && !providers.IsLoopback(u.Hostname()) && u.User == nil && !strings.ContainsAny(address, "?#") {
		return "; did you mean https" + address[len(u.Scheme):] + "?"
	}
	if address == "" || strings.Contains(address, "://") {
		return ""
	}
	host, _, _ := strings.Cut(address, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if providers.IsLoopback(host) {
		return "; did you mean http://" + address + "?"
	}
	if strings.Contains(host, ".") {
		return "; did you mean https://" + address + "?"
	}
	return ""
}
