package configs

import (
	"fmt"
	"strconv"
	"strings"
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
	// WayOut is what to do.
	WayOut string
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
		for _, line := range [][2]string{{"from", one.Origin}, {"problem", one.Reason}, {"way out", one.WayOut}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "    %-8s %s\n", line[0], line[1])
			}
		}
	}
	return b.String()
}

// quoteValue makes a value fit for the report.
func quoteValue(v any) string {
	const limit = 120
	var s string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		s = strconv.Quote(v)
	case []string:
		s = "[" + strings.Join(v, ", ") + "]"
	default:
		s = fmt.Sprint(v)
	}
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return s
}

// nearest returns the candidate that name was probably meant to be, or "".
func nearest(name string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := distance(name, c); d < least {
			best, least = c, d
		}
	}
	return best
}

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
