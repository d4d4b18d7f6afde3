package main

import (
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// matcher is a condition for a label in PromQL, such as a!="b".
type matcher struct{ label, op, value string }

// holds reports whether a series with these labels fulfills m. A missing label is empty.
func (m matcher) holds(labels map[string]string) bool {
	switch value := labels[m.label]; m.op {
	case "=":
		return value == m.value
	case "!=":
		return value != m.value
	case "=~":
		return regexp.MustCompile("^(?:" + m.value + ")$").MatchString(value)
	default:
		return !regexp.MustCompile("^(?:" + m.value + ")$").MatchString(value)
	}
}

// selector chooses series in PromQL, such as name{a="b"}.
type selector struct {
	metric   string
	matchers []matcher
}

// expression is what an expression in PromQL names. promtool checks its syntax.
type expression struct {
	selectors []selector
	grouping  []string // the labels of the first by (...), which is that of the outermost aggregation; nil without one
	matching  []string // those of all by, on, ignoring and group_...
	made      []string // labels that label_replace adds
}

var (
	// Strings, ranges, names, numbers with units, and operators.
	promqlToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*|` +
		`\d+(?:\.\d+)?[a-z]*|[=!]~|[!=<>]=|\S`)
	promqlName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

	promqlGroupings = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	promqlKeywords  = []string{"and", "or", "unless", "bool", "offset"}
)

// parsePromQL finds the names in text. A name in front of "(" or of a grouping is a function or an aggregation.
func parsePromQL(text string) expression {
	var e expression
	tokens := append(promqlToken.FindAllString(text, -1), "", "")
	for i := 0; tokens[i] != ""; i++ {
		name, next := tokens[i], tokens[i+1]
		switch {
		case !promqlName.MatchString(name) || slices.Contains(promqlKeywords, name):
		case slices.Contains(promqlGroupings, name):
			labels := []string{}
			for i++; next == "(" && tokens[i] != ")"; i++ {
				if promqlName.MatchString(tokens[i]) {
					labels = append(labels, tokens[i])
				}
			}
			if name == "by" && e.grouping == nil {
				e.grouping = labels
			}
			e.matching = append(e.matching, labels...)
		case name == "label_replace":
			e.made = append(e.made, labelThatIsMade(tokens[i:]))
		case next == "(" || slices.Contains(promqlGroupings, next):
		default:
			s := selector{metric: name}
			for i++; next == "{" && tokens[i] != "}"; i++ {
				if promqlName.MatchString(tokens[i]) {
					value, _ := strconv.Unquote(tokens[i+2])
					s.matchers = append(s.matchers, matcher{tokens[i], tokens[i+1], value})
					i += 2
				}
			}
			if next != "{" {
				i-- // the token is not part of the selector
			}
			e.selectors = append(e.selectors, s)
		}
	}
	return e
}

// labelThatIsMade returns the second argument of a function.
func labelThatIsMade(tokens []string) string {
	depth := 0
	for i, token := range tokens {
		switch token {
		case "(", "{":
			depth++
		case ")", "}":
			depth--
		case ",":
			if depth == 1 {
				label, _ := strconv.Unquote(tokens[i+1])
				return label
			}
		}
	}
	return ""
}

func TestParsePromQL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]expression{
		`a`: {selectors: []selector{{metric: "a"}}},
		`a{b="c", d!="", e=~"f|g", h!~"i\\d"}[5m] > 0.02`: {selectors: []selector{{metric: "a", matchers: []matcher{
			{"b", "=", "c"}, {"d", "!=", ""}, {"e", "=~", "f|g"}, {"h", "!~", `i\d`},
		}}}},
		`sum by (x, y) (rate(a_total{b="c"}[5m])) / on (x) group_left (z) max without (w) (d unless e offset 10m)`: {
			selectors: []selector{{metric: "a_total", matchers: []matcher{{"b", "=", "c"}}}, {metric: "d"}, {metric: "e"}},
			grouping:  []string{"x", "y"}, matching: []string{"x", "y", "x", "z", "w"},
		},
		`(label_replace(a{b="c"} / d, "made", "v", "", "") or vector(1)) >= 1`: {
			selectors: []selector{{metric: "a", matchers: []matcher{{"b", "=", "c"}}}, {metric: "d"}}, made: []string{"made"},
		},
		`histogram_quantile(0.95, sum(rate(a_bucket[1h])) by (le)) and count(b == bool 1) > 3`: {
			selectors: []selector{{metric: "a_bucket"}, {metric: "b"}}, grouping: []string{"le"}, matching: []string{"le"},
		},
	} {
		got := parsePromQL(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(expression{}, selector{}, matcher{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}
