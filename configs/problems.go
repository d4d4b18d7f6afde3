package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Key is the setting, such as server.listen.
	Key string
	// Origin is where the value came from, in words.
	Origin string
	// Value is what was found, for people; empty if there is none. A secret is redacted.
	Value string
	// Reason is what is wrong with it.
	Reason string
	// Fix is what to do.
	Fix string
}

// Problems is the error of [Load]: everything that is wrong, at once.
type Problems []Problem

// Error returns the whole report.
func (p Problems) Error() string {
	var b strings.Builder
	if len(p) == 1 {
		b.WriteString("the configuration has a problem\n")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems\n", len(p))
	}
	for _, one := range p {
		fmt.Fprintf(&b, "\n  %s", one.Key)
		if one.Value != "" {
			fmt.Fprintf(&b, " = %s", one.Value)
		}
		b.WriteByte('\n')
		for _, line := range [][2]string{{"from", one.Origin}, {"problem", one.Reason}, {"way out", one.Fix}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "    %-8s %s\n", line[0], line[1])
			}
		}
	}
	return b.String()
}

const redacted = "[redacted]"

// quoteValue makes a value fit for the report: on one line, not too long, and without the secrets of a URL.
func quoteValue(v any) string {
	const limit = 120
	var s string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		s = strconv.Quote(withoutSecrets(v))
	case time.Duration:
		s = shortDuration(v)
	case []string:
		s = quoteList(v)
	case []any:
		s = quoteList(v)
	case bool, int, int64, uint64, float64:
		s = fmt.Sprint(v)
	default: // a section, and nobody knows what is in it
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

// keyText is a key as it stands in a report, where nothing that was typed may pass for a part of the report.
func keyText(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return quoteValue(key)
}

// withoutSecrets hides what people put into URLs and should not: user and password, and whatever stands in a query.
func withoutSecrets(s string) string {
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

// FlagWayOut says what to do about a flag that does not exist: the one that was meant, or where a secret belongs, which has
// no flag. It is empty if that cannot be guessed.
func FlagWayOut(name string, flags []string) string {
	for _, key := range Keys() {
		if key.IsSecret() && strings.TrimSuffix(name, fileSuffix) == key.Name {
			variable := envPrefix + strings.ToUpper(strings.ReplaceAll(key.Name, ".", "__"))
			return "a command line is visible to every user of the computer: set " + variable + ", or name a file in " + variable + strings.ToUpper(fileSuffix)
		}
	}
	if near := nearest(name, flags); near != "" {
		return "did you mean --" + near + "?"
	}
	return ""
}

// nearest returns the candidate that name was probably meant to be, or "".
func nearest(name string, candidates []string) string {
	if len(name) > 100 {
		return ""
	}
	best, least := "", 3
	typed := letters(name)
	for _, c := range candidates {
		meant := letters(c)
		if abs(len(typed)-len(meant)) >= least {
			continue
		}
		if d := distance(typed, meant); d < least {
			best, least = c, d
		}
	}
	if best != "" {
		return best
	}
	// The right name in the wrong section, or in none.
	for _, c := range candidates {
		if strings.EqualFold(lastPart(c), lastPart(name)) {
			return c
		}
	}
	return ""
}

// letters leaves out what people spell differently: allowedOrigins, allowed-origins, allowed_origins.
func letters(s string) string { return strings.ToLower(punctuation.Replace(s)) }

var punctuation = strings.NewReplacer("_", "", "-", "", ".", "")

func abs(n int) int { return max(n, -n) }

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is the number of letters to insert, delete, replace or swap to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
