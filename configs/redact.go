package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers"
)

const redacted = "[redacted]"

// quoteValue formats a value for a report: on one line, truncated, and without the secrets of a URL.
func quoteValue(v any) string {
	var s string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		s = strconv.Quote(providers.RedactURL(v))
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
	return truncate(s)
}

func truncate(s string) string {
	const limit = 120
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

// redactURLs is [providers.RedactURL] for a value or a list of values that are URLs. The names of claims, for
// instance, may have the same characters.
func redactURLs(v any) any {
	redact := func(s string) string {
		if strings.Contains(s, "://") {
			return providers.RedactURL(s)
		}
		return s
	}
	switch v := v.(type) {
	case string:
		return redact(v)
	case []string:
		list := make([]string, len(v))
		for i, s := range v {
			list[i] = redact(s)
		}
		return list
	}
	return v
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,120}$`)

// keyText formats a key for a report, so that no key can imitate another part of the report.
func keyText(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return quoteValue(key)
}
