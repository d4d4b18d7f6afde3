package scalekitenv

import (
	"maps"
	"strings"
	"time"
)

// Changes replace or add members of a JSON object: claims, header parameters, metadata. A nil value removes a
// member.
type Changes = map[string]any

// In returns the NumericDate (RFC 7519, section 2) at d from now; a negative d is in the past.
func In(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// Scopes returns the changes that give a token exactly these scopes, in both claims that Scalekit uses.
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

// merge returns all changes as one; later ones win.
func merge(changes []Changes) Changes {
	out := make(Changes)
	for _, c := range changes {
		maps.Copy(out, c)
	}
	return out
}
