package token

import (
	"regexp"
	"slices"
	"strings"

	"gatehouse/providers"
)

// SameAudience reports whether two audience values mean the same. They do when they are equal byte for byte, or when both
// are http(s) URLs that differ only in the case of scheme and host, in a default port, or in an empty path against "/".
// A trailing slash on any other path counts: it may be another resource.
func SameAudience(a, b string) bool { return audienceOf(a).is(b) }

// audience is a value that aud may have, taken apart once: a token can hold hundreds of values, each almost ours.
type audience struct {
	value string
	// origin is scheme and host of an http(s) URL, and ends are the port and path that may follow, in each of their spellings.
	origin string
	ends   []string
}

// httpURL takes an http(s) URL apart without interpreting it: a parser would drop an empty fragment, unescape, or fold
// letters beyond ASCII, and call two audiences the same that are not.
var httpURL = regexp.MustCompile(`^([Hh][Tt][Tt][Pp][Ss]?)(://(?:` + providers.HostPattern + `))(:[0-9]+)?(/.*)?$`)

func audienceOf(value string) audience {
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
			a.ends = append(a.ends, port+path)
		}
	}
	return a
}

// is reports whether got means this audience. The origin is ASCII, and so is whatever folds into it byte by byte.
func (a audience) is(got string) bool {
	n := len(a.origin) // 0 if nothing may follow
	return got == a.value || len(got) >= n && strings.EqualFold(got[:n], a.origin) && slices.Contains(a.ends, got[n:])
}
