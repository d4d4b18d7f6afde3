package providers

import "strings"

// quoted is a value from a token, which is quoted when the detail is put together.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string { return Quote(string(q)) }

// quotedList are several.
type quotedList []string

// String implements fmt.Stringer.
func (q quotedList) String() string { return Quote(strings.Join(q, " ")) }
