package app

import (
	"runtime/debug"
	"strings"
	"unicode"
)

// version is set by the linker (-X) where the toolchain cannot know it: an image is built without the repository's
// history.
var version string

// Version returns the version that the linker set; without it, the module version or the commit that the Go toolchain
// recorded in the binary.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision[:min(12, len(revision))] + modified
}

// UserAgent returns the User-Agent of requests to the provider (RFC 9110, section 10.1.5). The version in it is a
// token, so characters that a token may not contain are removed.
func UserAgent() string {
	return "gatehouse/" + strings.Map(func(r rune) rune {
		if r > '~' || !strings.ContainsRune("!#$%&'*+-.^_`|~", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, Version())
}
