package scalekitenv

import (
	"maps"
	"strings"
	"time"
)

// Changes replace or add members of a JSON object: claims, header parameters, metadata. A nil value removes one.
type Changes = map[string]any

// In returns the NumericDate (RFC 7519, section 2) that lies d ahead, or behind if d is negative.
func In(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// Scopes are the changes that make a token carry exactly these scopes, in both of Scalekit's claims.
func Scopes(names ...string) Changes {
	return Changes{"scope": strings.Join(names, " "), "scopes": append([]string{}, names...)}
}

// withChanges returns base with changes.
func withChanges(base map[string]any, changes ...Changes) map[string]any {
	out := maps.Clone(base)
	for name, value := range merge(changes) {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

// merge returns all changes as one; the last word counts.
func merge(changes []Changes) Changes {
	out := make(Changes)
	for _, c := range changes {
		maps.Copy(out, c)
	}
	return out
}
