package broker

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse/providers/rawjson"
	"gatehouse/providers/token"
)

// condition is one claim and the value that it must have. A string must equal the value, and a list of strings must
// contain it, exactly. Another value, such as a boolean, is compared by its JSON text.
type condition struct {
	claim string // a name, or a path with dots
	value string
	// isString is set if the value is written as a JSON string: it is not compared with a boolean or a number then.
	isString bool
}

// String returns the condition as it is written in a setting.
func (c condition) String() string {
	if !c.isString && isBareValue(c.value) {
		return c.claim + "=" + c.value
	}
	return c.claim + "=" + jsonString(c.value)
}

func jsonString(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // ">" is frequent in names of groups
	_ = encoder.Encode(text)     // cannot fail for a string
	return strings.TrimSuffix(b.String(), "\n")
}

// isEmailClaim reports whether a claim has e-mail addresses. Providers let people choose theirs, so that one means
// nothing until the provider has verified it.
func isEmailClaim(claim string) bool {
	claim = strings.ToLower(claim)
	return claim == "mail" || strings.Contains(claim, "email") && claim != claimEmailVerified
}

const claimEmailVerified = "email_verified"

// maxValues bounds the values of one claim. Groups of more have no meaning here, and a directory that sends so many
// sends all it has.
const maxValues = 10_000

// claimValues reads claims for conditions, each claim once: a list of 10,000 groups is compared with every rule.
type claimValues struct {
	claims token.ClaimSet
	read   map[string]claimValue
	// Notes are why values were not used, without text from the provider, for the log.
	notes []string
}

// claimValue is what a condition is compared with.
type claimValue struct {
	texts map[string]bool
	// json is the JSON text of a boolean or a number, or "".
	json string
}

func newClaimValues(claims token.ClaimSet) *claimValues {
	return &claimValues{claims: claims, read: map[string]claimValue{}}
}

func (v *claimValues) note(claim, problem string) {
	if text := "the claim " + claim + " " + problem; !slices.Contains(v.notes, text) {
		v.notes = append(v.notes, text)
	}
}

// meets reports whether the claims meet a condition.
func (v *claimValues) meets(c condition) bool {
	value := v.value(c.claim)
	if !value.texts[c.value] && (c.isString || value.json == "" || value.json != c.value) {
		return false
	}
	if isEmailClaim(c.claim) && !v.isVerified() {
		v.note(c.claim, "is not used: email_verified is not true")
		return false
	}
	return true
}

// isVerified reports whether the provider has verified the e-mail address. Some providers send the boolean as a
// string.
func (v *claimValues) isVerified() bool {
	verified := v.value(claimEmailVerified)
	return verified.json == "true" || verified.texts["true"] && len(verified.texts) == 1
}

func (v *claimValues) value(claim string) claimValue {
	if value, ok := v.read[claim]; ok {
		return value
	}
	value := v.parse(claim)
	v.read[claim] = value
	return value
}

func (v *claimValues) parse(claim string) claimValue {
	raw, ok, err := v.claims.Lookup(claim)
	switch {
	case err != nil:
		v.note(claim, "is not used: a member on its path is not an object")
		return claimValue{}
	case !ok:
		return claimValue{}
	}
	if texts, ok := rawjson.Texts(raw); ok {
		if len(texts) > maxValues {
			v.note(claim, "is not used: it has more than 10,000 values")
			return claimValue{}
		}
		set := make(map[string]bool, len(texts))
		for _, text := range texts {
			set[text] = true
		}
		return claimValue{texts: set}
	}
	if raw[0] == '{' || raw[0] == '[' {
		v.note(claim, "is not used: it is neither a string, a list of strings, a boolean nor a number")
		return claimValue{}
	}
	return claimValue{json: string(raw)}
}
