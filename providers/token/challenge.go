package token

import "strings"

// hasBasicChallenge reports whether one of the WWW-Authenticate fields has a challenge of the scheme Basic
// (RFC 9110, section 11.6.1). A field is a list of challenges and of their parameters; a challenge starts
// with a scheme, which is not followed by "=".
func hasBasicChallenge(fields []string) bool {
	for _, field := range fields {
		for _, element := range splitList(field) {
			scheme, rest, _ := strings.Cut(strings.TrimSpace(element), " ")
			if strings.EqualFold(scheme, "Basic") && !strings.HasPrefix(strings.TrimSpace(rest), "=") {
				return true
			}
		}
	}
	return false
}

// splitList splits a field at commas outside quoted strings (RFC 9110, section 5.6.1).
func splitList(field string) []string {
	var elements []string
	start, quoted := 0, false
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			elements = append(elements, field[start:i])
			start = i + 1
		}
	}
	return append(elements, field[start:])
}
