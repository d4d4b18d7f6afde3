package token

import (
	"regexp"
	"slices"
	"strings"

	"gatehouse/providers"
)

// SameAudience reports whether two audience values are equivalent: equal byte for byte, or http(s) URLs that
// differ only in the case of scheme and host, in a default port, or in an empty path and "/". A trailing
// slash on any other path makes a difference: it may be another resource.
func SameAudience(a, b string) bool { return parseAudience(a).equals(b) }

// audience is an accepted value of aud, parsed once: a token can contain hundreds of similar values.
type audience struct {
	value string
	// origin is the scheme and host of an http(s) URL; suffixes are the equivalent forms of port and path after
	// it.
	origin   string
	suffixes []string
}

// httpURL splits an http(s) URL without interpreting it: a URL parser would drop an empty fragment, unescape,
// or fold letters beyond ASCII, and make distinct audiences equal.
var httpURL = regexp.MustCompile(`^([Hh][Tt][Tt][Pp][Ss]?)(://(?:` + providers.HostPattern +
	`))(:[0-9]+)?(/.*)?$`)

func parseAudience(value string) audience {
	m := httpURL.FindStringSubmatch(value)
	if m == nil {
		return audience{value: value}
	}
	ports, paths := []string{m[3]}, []string{m[4]}
	standard := ":443"
	if len(m[1]) == len("http") {
		standard = ":80"
	}
	if m[3] == "" || m[3] == standard {
		ports = []string{"", standard}
	}
	if m[4] == "" || m[4] == "/" {
		paths = []string{"", "/"}
	}
	a := audience{value: value, origin: m[1] + m[2]}
	for _, port := range ports {
		for _, path := range paths {
			a.suffixes = append(a.suffixes, port+path)
		}
	}
	return a
}

// equals reports whether value is equivalent to this audience. The origin is ASCII, and so is every string of
// the same length that folds to it.
func (a audience) equals(value string) bool {
	n := len(a.origin) // 0 if a is no URL; then there are no suffixes
	return value == a.value ||
		len(value) >= n && strings.EqualFold(value[:n], a.origin) && slices.Contains(a.suffixes, value[n:])
}
