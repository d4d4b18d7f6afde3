package broker

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/providers"
)

// everyone is the condition that every person meets.
const everyone = "*"

// SyntaxError is an entry of a setting that cannot be read.
type SyntaxError struct {
	// Reason says what is wrong, and Fix what to write, each on one line.
	Reason, Fix string
}

// Error implements error.
func (e *SyntaxError) Error() string { return e.Reason + "; " + e.Fix }

// ParseScopeRules parses provider.scope_rules: a list of rules "claim=value > scope scope", each entry of which may
// contain several rules with commas between them. "*" instead of claim=value is everyone. A value with a comma, a ">"
// or a quote is a JSON string. Each error is a [*SyntaxError].
func ParseScopeRules(list []string) (Rules, []error) {
	const example = "write claim=value > scope, such as roles=McpUser > mcp:use greet:read, or * > mcp:use for everyone"
	var (
		rules  Rules
		errs   []error
		refuse = func(text, reason, fix string) {
			errs = append(errs, &SyntaxError{strconv.Quote(text) + " " + reason, fix})
		}
	)
	for _, text := range entries(list, refuse) {
		left, right, ok := cutOutsideStrings(text, '>')
		_, _, more := cutOutsideStrings(right, '>')
		if !ok || more {
			refuse(text, "is not a condition and its scopes with one > between them", example+
				"; a value with a > is a JSON string")
			continue
		}
		r := rule{everyone: left == everyone, scopes: strings.Fields(right)}
		if !r.everyone {
			var err error
			if r.condition, err = parseCondition(left); err != nil {
				refuse(text, err.Error(), example)
				continue
			}
		}
		if len(r.scopes) == 0 {
			refuse(text, "names no scope", example)
			continue
		}
		valid := true
		for _, scope := range r.scopes {
			if !providers.IsScope(scope) {
				valid = false
				refuse(text, "names "+strconv.Quote(scope)+", which is not a scope (RFC 6749, section 3.3)",
					"use printable ASCII without quotes and backslashes, with blanks between scopes")
			}
		}
		if valid {
			r.scopes = providers.MergeScopes(nil, r.scopes)
			rules.rules = append(rules.rules, r)
		}
	}
	return rules, errs
}

// ParseRequiredClaims parses provider.required_claims: a list of conditions "claim=value", each entry of which may
// contain several with commas between them. The syntax of values is that of [ParseScopeRules]. Each error is a
// [*SyntaxError].
func ParseRequiredClaims(list []string) (RequiredClaims, []error) {
	const example = "write claim=value, such as hd=example.com"
	var (
		required RequiredClaims
		errs     []error
		refuse   = func(text, reason, fix string) {
			errs = append(errs, &SyntaxError{strconv.Quote(text) + " " + reason, fix})
		}
	)
	for _, text := range entries(list, refuse) {
		c, err := parseCondition(text)
		if err != nil {
			refuse(text, err.Error(), example)
			continue
		}
		required = append(required, c)
	}
	return required, errs
}

// entries returns the texts between commas outside strings, without blanks around them. Empty ones are left out, as
// in other lists.
func entries(list []string, refuse func(text, reason, fix string)) []string {
	var texts []string
	for _, text := range list {
		if !stringsEnd(text) {
			refuse(text, "has a quote without the one that ends the string", "write the value as a JSON string, such as "+
				`groups="CN=MCP,OU=x"`)
			continue
		}
		for more := true; more; {
			var entry string
			entry, text, more = cutOutsideStrings(text, ',')
			if entry != "" {
				texts = append(texts, entry)
			}
		}
	}
	return texts
}

// cutOutsideStrings is strings.Cut at the first separator that is not in a JSON string, without blanks around both
// parts. Every string in text must end.
func cutOutsideStrings(text string, separator byte) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringLength(text[i:]) - 1
		case separator:
			return strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:]), true
		}
	}
	return strings.TrimSpace(text), "", false
}

// stringLength returns the length of the JSON string with which text begins, 0 if it does not end.
func stringLength(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// stringsEnd reports whether every JSON string in text ends.
func stringsEnd(text string) bool {
	for i := strings.IndexByte(text, '"'); i >= 0; i = strings.IndexByte(text, '"') {
		length := stringLength(text[i:])
		if length == 0 {
			return false
		}
		text = text[i+length:]
	}
	return true
}

// parseCondition parses claim=value.
func parseCondition(text string) (condition, error) {
	claim, value, ok := strings.Cut(text, "=")
	claim, value = strings.TrimSpace(claim), strings.TrimSpace(value)
	switch {
	case !ok || claim == "" || value == "":
		return condition{}, errors.New("is not a claim and its value")
	case strings.Trim(claim, ".") != claim || strings.ContainsFunc(claim, func(r rune) bool {
		return r == '"' || r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}):
		return condition{}, errors.New("has " + strconv.Quote(claim) + ", which is not the name of a claim")
	case value[0] == '"':
		var decoded string
		if stringLength(value) != len(value) || json.Unmarshal([]byte(value), &decoded) != nil {
			return condition{}, errors.New("has a value that is not one JSON string")
		}
		if decoded == "" || strings.ContainsRune(decoded, utf8.RuneError) {
			return condition{}, errors.New("has a value that is empty or not Unicode")
		}
		return condition{claim: claim, value: decoded, isString: true}, nil
	case value == everyone:
		return condition{}, errors.New(`has the value *, which is not a pattern; as a value it is "*"`)
	case !isBareValue(value):
		return condition{}, errors.New("has a value that must be a JSON string")
	}
	return condition{claim: claim, value: value}, nil
}

// isBareValue reports whether a value needs no quotes.
func isBareValue(value string) bool {
	return value != "" && value != everyone && strings.TrimSpace(value) == value &&
		!strings.ContainsFunc(value, func(r rune) bool {
			return strings.ContainsRune(`,>"`, r) || r == utf8.RuneError || !unicode.IsGraphic(r)
		})
}
