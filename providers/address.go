package providers

import (
	"errors"
	"strings"
)

// CheckURI returns which character of s no URI may have, or nil (RFC 3986, section 2). net/url accepts spaces
// and other characters in a path; an address with one would be announced as it is, and clients refuse it.
func CheckURI(s string) error {
	if _, reason := TrimStray(s); reason != "" {
		return errors.New(reason)
	}
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		case r == '%' && (len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2])):
			return errors.New("it has a % without two hexadecimal digits (RFC 3986, section 2.1)")
		case r == '%', strings.ContainsRune("-._~:/?#[]@!$&'()*+,;=", r):
		default:
			return errors.New("it contains " + nameRune(r) + ", which no URL may have (RFC 3986, section 2)")
		}
	}
	return nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// RedactURL returns an address as reports, logs and pages show it: without user and password, query and
// fragment, which may be secrets.
func RedactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 && strings.Contains(s[:i], ":") {
		scheme, _, hasScheme := strings.Cut(s[:i], "://")
		s = redacted + s[i:]
		if hasScheme && !strings.ContainsAny(scheme, ":@") {
			s = scheme + "://" + s
		}
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return s[:i+1] + redacted
	}
	return s
}
