package configs

import (
	"slices"
	"strings"
)

// FlagFix says what to do about a flag that does not exist: the flag that was probably meant, or the variable
// for a secret, which has no flag. It is empty without a suggestion.
func FlagFix(name string, flags []string) string {
	for _, key := range slices.Concat(Keys(), meantUpstreamKeys(name)) {
		if !key.hasFlag() && strings.TrimSuffix(name, fileSuffix) == key.Name {
			variable := envLayer(nil).spell(key.Name)
			return "a command line is visible to every user of the computer: set " + variable +
				", or name a file in " + variable + strings.ToUpper(fileSuffix)
		}
	}
	meant := slices.Clone(flags)
	if slices.Contains(flags, upstreamPrefix+keyFileName) { // the settings are flags
		for _, key := range meantUpstreamKeys(name) {
			meant = append(meant, key.Name)
		}
	}
	if near := Nearest(name, meant); near != "" {
		return "did you mean --" + near + "?"
	}
	return ""
}

// Nearest returns the candidate that a mistyped name probably means, or "".
func Nearest(name string, candidates []string) string {
	if len(name) > 100 {
		return ""
	}
	best, least := "", 3
	typed := normalize(name)
	for _, c := range candidates {
		meant := normalize(c)
		if abs(len(typed)-len(meant)) >= least {
			continue
		}
		if d := distance(typed, meant); d < least {
			best, least = c, d
		}
	}
	if best != "" {
		return best
	}
	// The right name in the wrong section, or in none.
	for _, c := range candidates {
		if strings.EqualFold(lastPart(c), lastPart(name)) {
			return c
		}
	}
	return ""
}

// normalize removes differences of spelling: allowedOrigins, allowed-origins, allowed_origins.
func normalize(s string) string { return strings.ToLower(punctuation.Replace(s)) }

var punctuation = strings.NewReplacer("_", "", "-", "", ".", "")

func abs(n int) int { return max(n, -n) }

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is the number of letters to insert, delete, replace or swap to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
