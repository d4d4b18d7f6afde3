package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// rawObject is a JSON object with encoded members. It is a slice: objects are small, and a scan is cheaper
// than building a map.
type rawObject []member

type member struct {
	name  []byte
	value json.RawMessage
}

func (o rawObject) find(name string) (json.RawMessage, bool) {
	for _, m := range o {
		if string(m.name) == name {
			return m.value, true
		}
	}
	return nil, false
}

func (o rawObject) has(name string) bool {
	_, ok := o.find(name)
	return ok
}

// with returns o with value for the member name, which it adds or replaces. Like append, it may change o.
func (o rawObject) with(name string, value json.RawMessage) rawObject {
	for i, m := range o {
		if string(m.name) == name {
			o[i].value = value
			return o
		}
	}
	return append(o, member{[]byte(name), value})
}

// Claims returns the claims for [providers.TokenDetails].
func (o rawObject) Claims() map[string]json.RawMessage { return o.members() }

// members returns the members by name.
func (o rawObject) members() map[string]json.RawMessage {
	members := make(map[string]json.RawMessage, len(o))
	for _, m := range o {
		members[string(m.name)] = m.value
	}
	return members
}

// registeredClaims are claims with a fixed meaning. A member that differs from one only in case is refused:
// encoding/json would take "AUD" for "aud", and the program that reads the token next may do so too.
var registeredClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "client_id", "azp", "cnf",
	"nonce", "at_hash", "c_hash", "events",
}

// maxMembers is far above what tokens have. Names are expensive: they are compared with each other and with
// all known names.
const maxMembers = 256

// parseObject parses one JSON object: not null, nothing after it, no duplicate member (RFC 7519, section 4),
// and no member that differs from one of names only in case. The values are not interpreted; they are parts
// of raw.
func parseObject(raw []byte, names *rawjson.NameSet) (rawObject, error) {
	// A decoder replaces each bad byte by the same character, so that two distinct names could become equal.
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	members := make(rawObject, 0, min(16, 1+len(raw)/10)) // few tokens have more
	err := rawjson.Each(raw, func(name, value []byte) error {
		if known := names.CaseVariant(name); known != "" {
			return fmt.Errorf("member %s differs from %q only in case", providers.Quote(string(name)), known)
		}
		if len(members) == maxMembers {
			return fmt.Errorf("it has more than %d members", maxMembers)
		}
		members = append(members, member{name, value})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// wellFormed reports whether text is free of U+FFFD. encoding/json decodes every lone surrogate to it, so
// that two distinct subjects would compare equal.
func wellFormed(text string) bool { return !strings.ContainsRune(text, utf8.RuneError) }

// str returns the value of the member called name, a string, or "" if there is none.
func (o rawObject) str(name string) (string, error) {
	raw, ok := o.find(name)
	if !ok {
		return "", nil
	}
	text, isText := rawjson.Text(raw)
	if !isText {
		return "", errors.New("not a string")
	}
	return text, nil
}

// strs returns a member that is a string or a list of strings.
func (o rawObject) strs(name string) ([]string, error) {
	raw, ok := o.find(name)
	if !ok {
		return nil, nil
	}
	return stringsIn(raw)
}

func stringsIn(raw json.RawMessage) ([]string, error) {
	texts, ok := rawjson.Texts(raw)
	if !ok {
		return nil, errors.New("neither a string nor a list of strings")
	}
	return texts, nil
}

// maxTime is the last second of the year 9999, beyond which time.Time stops being printable.
const maxTime = 253402300799

// time returns a NumericDate (RFC 7519, section 2), which may have a fraction. ok is false if the claim is
// absent.
func (o rawObject) time(name string) (t time.Time, ok bool, err error) {
	raw, ok := o.claim(name)
	if !ok {
		return time.Time{}, false, nil
	}
	t, err = timeIn(raw)
	return t, err == nil, err
}

func timeIn(raw json.RawMessage) (time.Time, error) {
	seconds, err := strconv.ParseFloat(string(raw), 64) // a JSON string starts with a quote and fails here
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxTime {
		return time.Time{}, errors.New("not a number of seconds since 1970")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// neverNull are the claims that every access token must have (RFC 9068, section 2.2). They are refused if
// they are null; any other claim that is null counts as absent, because many serializers write null for a
// claim that is not set.
var neverNull = []string{"iss", "sub", "aud", "exp"}

// claim returns the claim called name. A claim that is null counts as absent, except those in neverNull.
// Header parameters are read by find, for which null is a value.
func (o rawObject) claim(name string) (json.RawMessage, bool) {
	raw, ok := o.find(name)
	if !ok || isNull(raw) && !slices.Contains(neverNull, name) {
		return nil, false
	}
	return raw, true
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// lookup returns the claim called name or, if there is none and name has dots, the claim at that path:
// realm.roles is roles in realm. Names of members may contain dots, as URLs do. If the path can start with
// several members, the one with the longest name is tried first, and the next one if the first does not
// contain the rest of the path. A member on the path that is not an object is an error.
func (o rawObject) lookup(name string) (json.RawMessage, bool, error) {
	if raw, ok := o.claim(name); ok {
		return raw, true, nil
	}
	return o.path(name)
}

func (o rawObject) path(name string) (json.RawMessage, bool, error) {
	for end := strings.LastIndexByte(name, '.'); end >= 0; end = strings.LastIndexByte(name[:end], '.') {
		raw, ok := o.find(name[:end])
		if !ok || isNull(raw) {
			continue
		}
		inner, err := parseObject(raw, nil)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name[:end], err)
		}
		rest := name[end+1:]
		if found, ok := inner.find(rest); ok && !isNull(found) {
			return found, true, nil
		}
		if found, ok, err := inner.path(rest); ok || err != nil {
			return found, ok, err
		}
	}
	return nil, false, nil
}

// firstString returns the first of the named members that is not empty: a string, or a list with one string.
func (o rawObject) firstString(names []string) (string, error) {
	for _, name := range names {
		raw, ok, err := o.lookup(name)
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		values, err := stringsIn(raw)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if len(values) == 1 && values[0] != "" {
			return values[0], nil
		}
	}
	return "", nil
}

// firstScopes returns the scopes in the first of the named members that is present, and whether any is: a
// string of scopes separated by blanks (RFC 6749, section 3.3), a list, or an object whose members are named
// by scopes. Entries of a list and names of members are not split: they may be names of groups or roles, such
// as "friends of mcp:admin".
func (o rawObject) firstScopes(names []string) (scopes []string, present bool, err error) {
	for _, name := range names {
		raw, ok, err := o.lookup(name)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue
		}
		values, err := scopesIn(name, raw)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		return slices.DeleteFunc(values, func(s string) bool { return !providers.IsScope(s) }), true, nil
	}
	return nil, false, nil
}

func scopesIn(name string, raw json.RawMessage) ([]string, error) {
	if text, ok := rawjson.Text(raw); ok {
		return strings.Split(text, " "), nil
	}
	values, err := stringsIn(raw)
	if err == nil || name == "scope" || name == "scp" { // never an object (RFC 9068, section 2.2.3)
		return values, err
	}
	inner, notObject := parseObject(raw, nil)
	if notObject != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(inner.members())), nil
}
