package rawjson

import "slices"

// Names are names whose meaning is fixed.
type Names struct {
	all []string
	// byLength holds those of each length, because most members are none of them and need not be compared with many.
	byLength [24][]string
}

// NamesOf returns them as a set in which a member is soon found.
func NamesOf(names ...string) *Names {
	n := &Names{all: names}
	for _, name := range names {
		if len(name) < len(n.byLength) {
			n.byLength[len(name)] = append(n.byLength[len(name)], name)
		}
	}
	return n
}

// And returns the names and more.
func (n *Names) And(more ...string) *Names { return NamesOf(slices.Concat(n.all, more)...) }

// Imitated returns the one of the names that a member's name differs from in nothing but case; it is empty if there is none, or n is nil.
func (n *Names) Imitated(name []byte) string {
	if n == nil {
		return ""
	}
	alike := n.all
	if len(name) < len(n.byLength) && isPlain(name) {
		alike = n.byLength[len(name)] // others it cannot imitate
	}
	for _, fixed := range alike {
		if string(name) == fixed {
			return ""
		}
	}
	for _, fixed := range alike {
		if imitates(name, fixed) {
			return fixed
		}
	}
	return ""
}
