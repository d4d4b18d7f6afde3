package upstream

import (
	"errors"
	"fmt"
	"strings"

	"gatehouse/providers"
)

// ToolRule is one line of upstreams.NAME.tools: which tools it offers, and the scopes that a call needs in addition
// to scopes.required.
type ToolRule struct {
	// Patterns are names as the upstream has them, without the prefix. A * is any number of characters.
	Patterns []string
	// Scopes are nil for a line without >.
	Scopes []string
}

// ParseToolRule parses "pattern pattern > scope scope", or patterns alone.
func ParseToolRule(line string) (ToolRule, error) {
	left, right, hasScopes := strings.Cut(line, ">")
	rule := ToolRule{Patterns: strings.Fields(left), Scopes: strings.Fields(right)}
	switch {
	case len(rule.Patterns) == 0:
		return ToolRule{}, errors.New("it names no tool")
	case hasScopes && len(rule.Scopes) == 0:
		return ToolRule{}, errors.New("there is no scope after >")
	case !hasScopes:
		rule.Scopes = nil
	}
	for _, pattern := range rule.Patterns {
		if strings.IndexFunc(pattern, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 || len(pattern) > 128 {
			return ToolRule{}, fmt.Errorf("%s is not the name of a tool", providers.Quote(pattern))
		}
	}
	for _, scope := range rule.Scopes {
		switch {
		case !providers.IsScope(scope):
			return ToolRule{}, fmt.Errorf("%s is not a scope (RFC 6749, section 3.3)", providers.Quote(scope))
		case scope == "offline_access":
			return ToolRule{}, errors.New("offline_access is requested by clients, not by the server")
		case strings.Contains(scope, ">"):
			return ToolRule{}, errors.New("it has more than one >")
		}
	}
	return rule, nil
}

// Match reports whether the rule offers the tool that the upstream calls name.
func (r ToolRule) Match(name string) bool { return r.MatchedBy(name) != "" }

// MatchedBy returns the first pattern that matches, or "".
func (r ToolRule) MatchedBy(name string) string {
	for _, pattern := range r.Patterns {
		if matchPattern(pattern, name) {
			return pattern
		}
	}
	return ""
}

// matchPattern compares the parts between asterisks: the first and the last at their ends, the others from left to
// right.
func matchPattern(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = after
	}
	return true
}

// Rules returns Tools in parsed form. It skips invalid lines, which Validate reports.
func (s Settings) Rules() []ToolRule {
	var rules []ToolRule
	for _, line := range s.Tools {
		if rule, err := ParseToolRule(line); err == nil {
			rules = append(rules, rule)
		}
	}
	return rules
}

// Scopes returns the scopes of all lines, without duplicates.
func (s Settings) Scopes() []string {
	var scopes []string
	for _, rule := range s.Rules() {
		scopes = providers.MergeScopes(scopes, rule.Scopes)
	}
	return scopes
}

// RuleFor returns the first rule that matches the tool that the upstream calls name. A tool without one is not
// offered.
func (s Settings) RuleFor(name string) (ToolRule, bool) {
	for _, rule := range s.Rules() {
		if rule.Match(name) {
			return rule, true
		}
	}
	return ToolRule{}, false
}
