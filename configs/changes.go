package configs

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// Change is a setting whose effective values in two configurations differ. It has no values, because they may be
// secrets.
type Change struct {
	Key string
	// Loosens is true if the new value allows more than the old one.
	Loosens bool

	needsRestart bool
}

// Loosening says which changes of a setting allow more than before. It is the value of the tag "loosens".
type Loosening string

// All values of the tag. A setting without it never allows more.
const (
	LoosenedByRaising  Loosening = "raised"  // a greater number, or a longer time
	LoosenedByAdding   Loosening = "added"   // another entry of a list
	LoosenedByRemoving Loosening = "removed" // an entry less
	LoosenedByTrue     Loosening = "on"
	LoosenedByAny      Loosening = "any"
)

// Compare returns the changes from current to next, in the order of the documentation.
func Compare(current, next *Config) []Change {
	before, after := current.values(), next.values()
	embedded := isEmbedded(current.Provider) || isEmbedded(next.Provider)
	var changes []Change
	for _, key := range unionOf(current.keys, next.keys) {
		was, hadKey := before[key.Name]
		is, hasKey := after[key.Name]
		if !hadKey {
			was = key.Default
		}
		if !hasKey {
			is = key.Default
		}
		if reflect.DeepEqual(was, is) {
			continue
		}
		change := Change{Key: key.Name, Loosens: key.loosens(was, is)}
		change.needsRestart = key.Reload != ReloadLive && key.Reload != ReloadNew
		if section, _, _ := strings.Cut(key.Name, "."); embedded && (section == "provider" || section == "scopes") {
			// The issuer in this process has the scopes, too. A new one would not know the tokens of the old one.
			change.needsRestart = true
		}
		changes = append(changes, change)
	}
	return changes
}

func isEmbedded(p providers.Settings) bool {
	_, embedded := p.(providers.Embedded)
	return embedded
}

// unionOf returns all of a, and those of b with other names.
func unionOf(a, b []Key) []Key {
	all := slices.Clone(a)
	for _, key := range b {
		if !slices.ContainsFunc(a, func(k Key) bool { return k.Name == key.Name }) {
			all = append(all, key)
		}
	}
	return all
}

// values returns the effective values by key, secrets included.
func (c *Config) values() map[string]any {
	values := map[string]any{"resource": c.Resource.String(), kindKey: c.Kind}
	for _, s := range c.sections() {
		v := reflect.Indirect(reflect.ValueOf(s.settings))
		for i := range v.NumField() {
			if name := v.Type().Field(i).Tag.Get("koanf"); name != "" {
				values[s.name+"."+name] = plainList(v.Field(i))
			}
		}
	}
	for _, u := range c.Upstreams {
		if u.Pinned != nil {
			values[upstreamPrefix+u.Name+".pins"] = u.Pins + " " + u.Pinned.Digest()
		}
	}
	return values
}

// loosens reports whether the value is allows more than the value was, which differs from it.
func (k Key) loosens(was, is any) bool {
	switch k.Loosens {
	case LoosenedByRaising:
		return magnitude(is) > magnitude(was)
	case LoosenedByAdding:
		return hasMore(entries(k, is), entries(k, was))
	case LoosenedByRemoving:
		return hasMore(entries(k, was), entries(k, is))
	case LoosenedByTrue:
		return is == true
	case LoosenedByAny:
		return true
	}
	return false
}

func magnitude(value any) int64 {
	switch v := value.(type) {
	case int:
		return int64(v)
	case time.Duration:
		return int64(v)
	}
	return 0
}

// entries returns the entries of a list. Those of scopes.implies are pairs of scopes, so that one line with two
// narrow scopes equals two lines.
func entries(k Key, value any) []string {
	list, _ := value.([]string)
	if k.Name != impliesKey {
		return list
	}
	hierarchy := Scopes{Implies: list}.Implications()
	var pairs []string
	for broad := range hierarchy {
		for _, narrow := range hierarchy.Expand([]string{broad}) {
			pairs = append(pairs, broad+" "+narrow)
		}
	}
	return pairs
}

// hasMore reports whether a has an entry that b does not have.
func hasMore(a, b []string) bool {
	return slices.ContainsFunc(a, func(entry string) bool { return !slices.Contains(b, entry) })
}
