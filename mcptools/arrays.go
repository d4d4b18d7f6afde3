package mcptools

import (
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// forbidNullArrays makes every array of a derived schema an array and nothing else. The type that is derived from a
// Go slice is ["null","array"], because a nil slice is encoded as null; some clients warn about it, and some models'
// APIs reject it. It reports whether there is an array.
func forbidNullArrays(s *jsonschema.Schema) (found bool) {
	if s == nil {
		return false
	}
	if slices.Equal(s.Types, []string{"null", "array"}) {
		s.Types, s.Type = nil, "array"
	}
	found = s.Type == "array"
	for _, property := range s.Properties {
		found = forbidNullArrays(property) || found
	}
	for _, part := range []*jsonschema.Schema{s.Items, s.AdditionalProperties} {
		found = forbidNullArrays(part) || found
	}
	return found
}

// emptyNullArrays returns value with an empty array in place of each null for which the schema has an array, and
// whether there was one. It changes the maps and slices of value.
func emptyNullArrays(s *jsonschema.Schema, value any) (result any, changed bool) {
	if s == nil {
		return value, false
	}
	set := func(part *jsonschema.Schema, old any, store func(any)) {
		if filled, ok := emptyNullArrays(part, old); ok {
			store(filled)
			changed = true
		}
	}
	switch v := value.(type) {
	case nil:
		if s.Type == "array" {
			return []any{}, true
		}
	case map[string]any:
		for name, member := range v {
			part, known := s.Properties[name]
			if !known {
				part = s.AdditionalProperties
			}
			set(part, member, func(filled any) { v[name] = filled })
		}
	case []any:
		for i, item := range v {
			set(s.Items, item, func(filled any) { v[i] = filled })
		}
	}
	return value, changed
}
