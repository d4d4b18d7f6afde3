package rawjson

import "slices"

// NameSet is a set of names with a fixed meaning, in ASCII.
type NameSet struct {
	names []string
	// buckets holds the names by length and first letter, so that a member is compared with few of them.
	buckets [32][]string
}

// NewNameSet returns the set of these names.
func NewNameSet(names ...string) *NameSet {
	s := &NameSet{names: names}
	for _, name := range names {
		bucket := s.bucket([]byte(name))
		*bucket = append(*bucket, name)
	}
	return s
}

// bucket returns the bucket of the names that an ASCII name can equal when case is ignored. It does not work
// for a name with other letters: they can fold to ASCII, and to another length.
func (s *NameSet) bucket(name []byte) *[]string {
	if len(name) == 0 {
		return &s.buckets[0]
	}
	return &s.buckets[(11*len(name)+int(name[0]))%len(s.buckets)] // upper and lower case are 32 apart
}

// With returns the set with more names.
func (s *NameSet) With(more ...string) *NameSet { return NewNameSet(slices.Concat(s.names, more)...) }

// CaseVariant returns the name in the set that name differs from only in case, or "". A nil set is empty.
func (s *NameSet) CaseVariant(name []byte) string {
	if s == nil {
		return ""
	}
	candidates := s.names
	if isASCII(name) {
		candidates = *s.bucket(name)
	}
	for _, candidate := range candidates {
		if string(name) == candidate {
			return ""
		}
	}
	for _, candidate := range candidates {
		if isCaseVariant(name, candidate) {
			return candidate
		}
	}
	return ""
}
