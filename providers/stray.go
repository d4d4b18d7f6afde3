package providers

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TrimStray removes what editors, shells and dashboards add to a value, and says what it was: white space and
// invisible characters at both ends, and quotation marks around it. It also reports an invisible character
// inside, which only the operator can remove. The reason is empty if s has nothing of this.
func TrimStray(s string) (trimmed, reason string) {
	const cutset = `"'`
	trimmed = strings.TrimFunc(s, isEdge)
	for len(trimmed) > 1 && strings.IndexByte(cutset, trimmed[0]) >= 0 && trimmed[len(trimmed)-1] == trimmed[0] {
		trimmed = strings.TrimFunc(trimmed[1:len(trimmed)-1], isEdge)
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	switch {
	case s == "":
		return "", ""
	case isInvisible(first):
		return trimmed, "it begins with " + nameRune(first)
	case isInvisible(last):
		return trimmed, "it ends with " + nameRune(last)
	case trimmed != s:
		return trimmed, "it has quotes around it, which belong to the value"
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r != ' ' && isInvisible(r) }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		before := utf8.RuneCountInString(s[:i])
		return trimmed, fmt.Sprintf("it contains %s after %d characters", nameRune(r), before)
	}
	return trimmed, ""
}

// isInvisible reports whether a reader cannot see r, or takes it for a space.
func isInvisible(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == utf8.RuneError
}

// isEdge reports whether r does not belong at an end of a value. The curly quotation marks are those that word
// processors and chat programs write.
func isEdge(r rune) bool {
	return isInvisible(r) || strings.ContainsRune("\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb", r)
}

// nameRune returns the name of a character that a terminal may not show, with its article.
func nameRune(r rune) string {
	switch r {
	case ' ':
		return "a space"
	case '\t':
		return "a tab"
	case '\r':
		return "a carriage return (the line ends of Windows)"
	case '\n':
		return "a line end"
	case '\u00a0':
		return "a no-break space (U+00A0)"
	case '\ufeff':
		return "a byte order mark (U+FEFF)"
	case '\u200b':
		return "a zero-width space (U+200B)"
	case '\u2018', '\u2019', '\u201c', '\u201d', '\u201e':
		return fmt.Sprintf("a curly quotation mark (%U)", r)
	case utf8.RuneError:
		return "a byte that is not UTF-8"
	}
	switch {
	case !unicode.IsPrint(r):
		return fmt.Sprintf("the character %U", r)
	case r < utf8.RuneSelf:
		return fmt.Sprintf("%q", r)
	}
	return fmt.Sprintf("%q (%U)", r, r)
}
