package providers

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable returns value for a log line, in at most limit bytes. Characters that are not graphic are escaped, because
// a terminal may interpret them.
func Printable(value string, limit int) string {
	if len(value) <= limit && strings.IndexFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return value
	}
	quoted := strconv.QuoteToGraphic(value[:min(len(value), limit)])
	quoted = quoted[1 : len(quoted)-1]
	if len(quoted) > limit {
		quoted = strings.ToValidUTF8(quoted[:limit], "")
	}
	return quoted
}
