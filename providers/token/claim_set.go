package token

import (
	"encoding/json"
	"slices"

	"gatehouse/providers/rawjson"
)

// ClaimSet is a JSON object from a provider, such as the payload of an ID token or a userinfo response. The zero value
// has no claims.
type ClaimSet struct{ object rawObject }

// ParseClaimSet parses one JSON object. It refuses duplicate members, and members that differ only in case from a
// registered claim or from one of names, which are paths as for [ClaimSet.Lookup].
func ParseClaimSet(raw []byte, names ...string) (ClaimSet, error) {
	known := Rules{ScopeClaims: names}.knownClaims()
	object, err := parseObject(raw, known)
	return ClaimSet{object}, err
}

// Lookup returns the claim called name or, if there is none and name has dots, the claim at that path: realm.roles is
// roles in realm. A claim that is null counts as absent. A member on the path that is not an object is an error.
func (c ClaimSet) Lookup(name string) (value json.RawMessage, ok bool, err error) {
	value, ok, err = c.object.lookup(name)
	if ok && isNull(value) {
		return nil, false, nil
	}
	return value, ok, err
}

// Text returns the claim called name, a string. ok is false if it is absent or has another type.
func (c ClaimSet) Text(name string) (text string, ok bool) {
	value, ok, err := c.Lookup(name)
	if !ok || err != nil {
		return "", false
	}
	text, ok = rawjson.Text(value)
	if !ok || !wellFormed(text) {
		return "", false
	}
	return text, true
}

// Has reports whether the claim, or the first member of its path, is there and not null.
func (c ClaimSet) Has(name string) bool {
	if _, ok, err := c.Lookup(name); ok || err != nil {
		return true
	}
	return false
}

// With returns the claims of c, and those of more that c does not have.
func (c ClaimSet) With(more ClaimSet) ClaimSet {
	merged := slices.Clone(c.object)
	for _, m := range more.object {
		if value, ok := c.object.find(string(m.name)); ok && !isNull(value) {
			continue
		}
		merged = merged.with(string(m.name), m.value)
	}
	return ClaimSet{merged}
}
