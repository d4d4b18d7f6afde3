package configs

import (
	"fmt"
	"slices"

	"gatehouse/server/denials"
)

// DenialsProblems returns what is wrong with the file of denials, as problems of the setting that names it.
// [Load] does not read the file: a server that runs keeps the last good list, also when its configuration is
// loaded again.
func (c *Config) DenialsProblems(err *denials.FileError) Problems {
	const key = "denials.file"
	origin := defaultOrigin
	if i := slices.IndexFunc(c.Effective, func(v Value) bool { return v.Key == key }); i >= 0 {
		origin = c.Effective[i].Origin
	}
	problems := make(Problems, 0, len(err.Findings))
	for _, p := range err.Findings {
		reason := p.Reason
		if p.Line > 0 {
			reason = fmt.Sprintf("line %d: %s", p.Line, p.Reason)
		}
		problems = append(problems, Problem{
			Key: key, Value: quoteValue(err.File), Origin: origin, Code: p.Code, Reason: reason, Fix: p.Fix,
		})
	}
	return problems
}
