package token

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
)

// PlainHTTPHosts are the hosts other than loopback that may be reached over plain http.
type PlainHTTPHosts []string

// CheckIssuer is [PlainHTTPHosts.CheckIdentifier] for an issuer or an issuer template.
func (h PlainHTTPHosts) CheckIssuer(issuer string) error {
	if IsTemplate(issuer) {
		issuer = fillTemplate(issuer, "tenant")
	}
	if strings.ContainsAny(issuer, "{}") {
		return errors.New("its braces do not contain one claim, such as {tid}")
	}
	return h.CheckIdentifier(issuer)
}

// CheckIdentifier returns why an issuer identifier cannot be used, or nil (RFC 8414, section 2).
func (h PlainHTTPHosts) CheckIdentifier(issuer string) error {
	if strings.ContainsAny(issuer, "?#") {
		return errors.New("it contains a query or a fragment")
	}
	if strings.Contains(issuer, wellKnown) {
		return errors.New("it is the URL of the metadata document, not the issuer in it")
	}
	return h.CheckURL(issuer)
}

// CheckURL returns why no request may be sent to address, or nil.
func (h PlainHTTPHosts) CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case address != "" && providers.CheckURI(address) != nil:
		return providers.CheckURI(address)
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it is not an https URL")
	case u.User != nil:
		return errors.New("it contains a user name")
	case u.Scheme == "http" && !providers.IsLoopback(u.Hostname()) &&
		!slices.Contains(h, u.Host) && !slices.Contains(h, u.Hostname()):
		return errors.New("plain http is allowed only on loopback; responses could be tampered with")
	}
	return nil
}

// wellKnown is in the URL of every metadata document (RFC 8615) and in no issuer.
const wellKnown = "/.well-known/"

// IssuerHint suggests the issuer for address if that is the URL of its metadata or lacks a scheme, in the
// form "; did you mean ...?". It returns "" if there is nothing to suggest.
func IssuerHint(address string) string {
	issuer, _, isMetadata := strings.Cut(address, wellKnown)
	if hint := SchemeHint(issuer); hint != "" || !isMetadata || !strings.HasPrefix(issuer, "http") ||
		strings.Contains(issuer, "@") {
		return hint
	}
	return "; did you mean " + issuer + "?"
}

// SchemeHint suggests the URL for an address with the wrong scheme or none, in the form "; did you mean
// ...?". It does not repeat an address that may contain a secret.
func SchemeHint(address string) string {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "http" && u.Host != "" && !providers.IsLoopback(u.Hostname()) &&
		u.User == nil && !strings.ContainsAny(address, "?#") {
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
