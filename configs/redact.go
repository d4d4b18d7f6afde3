package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const redacted = "[redacted]"

// quoteValue formats a value for a report: on one line, truncated, and without the secrets of a URL.
func quoteValue(v any) string {
	const limit = 120
	var s string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		s = strconv.Quote(redactURL(v))
	case time.Duration:
		s = shortDuration(v)
	case []string:
		s = quoteList(v)
	case []any:
		s = quoteList(v)
	case bool, int, int64, uint64, float64:
		s = fmt.Sprint(v)
	default: // a section, which may have a secret in it
		s = "{...}"
	}
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

func quoteList[T any](list []T) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = quoteValue(item)
		if items[i] == "" {
			items[i] = "null"
		}
	}
	return "[" + strings.Join(items, ", ") + "]"
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,120}$`)

// keyText formats a key for a report, so that no key can imitate another part of the report.
func keyText(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return quoteValue(key)
}

// redactURL hides the parts of a URL that may be secrets: user and password, query and fragment.
func redactURL(s string) string {
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
