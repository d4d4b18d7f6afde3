package rawjson

import "slices"

// Names are names whose meaning is fixed.
type Names struct {
	all []string
	// places hold them by length and first letter, because most members are none of them and need not be compared with many.
	places [32][]string
}

// NamesOf returns them as a set in which a member is soon found.
func NamesOf(names ...string) *Names {
	n := &Names{all: names}
	for _, name := range names {
		place := n.place([]byte(name))
		*place = append(*place, name)
	}
	return n
}

// place is where all names in ASCII are that another can be or imitate: only letters beyond it fold into others of another length.
func (n *Names) place(name []byte) *[]string {
	if len(name) == 0 {
		return &n.places[0]
	}
	return &n.places[(11*len(name)+int(name[0]))%len(n.places)] // a letter in its two cases is 32 apart
}

// And returns the names and more.
func (n *Names) And(more ...string) *Names { return NamesOf(slices.Concat(n.all, more)...) }

// Imitated returns the one of the names that a member's name differs from in nothing but case; it is empty if there is none, or n is nil.
func (n *Names) Imitated(name []byte) string {
	if n == nil {
		return ""
	}
	alike := n.all
	if isASCII(name) {
		alike = *n.place(name)
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
