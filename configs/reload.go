package configs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// Reload is the section "reload".
type Reload struct {
	Poll time.Duration `koanf:"poll" reload:"live" help:"interval of looking for changed files; 0s: only on SIGHUP"`
}

// Validate reports every invalid setting. The key is relative to the section.
func (r Reload) Validate(report func(providers.Problem)) {
	if r.Poll != 0 && (r.Poll < 100*time.Millisecond || r.Poll > time.Hour) {
		report(providers.Problem{Key: "poll", Code: providers.CodeOutOfRange,
			Reason: "it is neither 0s nor between 100ms and 1h",
			Fix:    "use a duration such as 2s; 0s turns it off"})
	}
}

// ReloadClass says when a change of a setting applies. It is the value of the tag "reload". A setting without
// the tag needs a restart.
type ReloadClass string

// The classes.
const (
	ReloadLive    ReloadClass = "live"    // from the next request on, or at the next stop
	ReloadNew     ReloadClass = "new"     // for new connections and sessions
	ReloadRestart ReloadClass = "restart" // a reload is refused
)

// CheckReload reports why a server that runs with current must not change to next, which is valid in itself. The
// server must then stay with current as a whole.
func CheckReload(current, next *Config) Problems {
	problems := missingSources(current, next)
	if len(current.Scopes.Required) > 0 && len(next.Scopes.Required) == 0 {
		problems = append(problems, Problem{Key: requiredKey, Origin: next.originOf(requiredKey),
			Code:   providers.CodeInsecure,
			Reason: "it is empty although it was not: every token of the provider for this resource would be accepted",
			Fix:    "name the scope that every call needs; to serve without one, restart the server"})
	}
	for _, change := range Compare(current, next) {
		if change.needsRestart {
			problems = append(problems, Problem{Key: change.Key, Origin: next.originOf(change.Key),
				Code: providers.CodeNeedsRestart, Reason: "a change of it needs a restart",
				Fix: "restart the server, or restore the value"})
		}
	}
	if !current.OTLP.equals(next.OTLP) {
		problems = append(problems, Problem{Key: otlpVariables, Origin: dotEnv, Code: providers.CodeNeedsRestart,
			Reason: "a change of them needs a restart", Fix: "restart the server, or restore the values"})
	}
	return problems
}

const requiredKey = "scopes.required"

// missingSources reports files that set something before and set nothing now, and a kind of provider that is no
// longer named where it was: what is left is probably a part of a file.
func missingSources(current, next *Config) Problems {
	var problems Problems
	for _, before := range current.files {
		now := configFile{}
		if i := slices.IndexFunc(next.files, func(f configFile) bool { return f.key == before.key }); i >= 0 {
			now = next.files[i]
		}
		switch {
		case before.settings > 0 && now.settings == 0:
			problems = append(problems, Problem{Key: before.key, Origin: before.origin, Code: providers.CodeMissing,
				Reason: "the file is missing, or has no settings any more",
				Fix:    "restore it; to serve without it, restart the server"})
		case before.namesKind && !now.namesKind:
			problems = append(problems, Problem{Key: kindKey, Origin: before.origin, Code: providers.CodeMissing,
				Reason: "the file names neither " + kindKey + " nor " + presetKey + " any more",
				Fix:    "restore it; to name the kind elsewhere, restart the server"})
		}
	}
	return problems
}

// originOf returns the origin of an effective value; "default" if the key does not exist for the kind.
func (c *Config) originOf(key string) string {
	i := slices.IndexFunc(c.Effective, func(v Value) bool { return v.Key == key })
	if i < 0 {
		return defaultOrigin
	}
	return c.Effective[i].Origin
}

// maxSummarized is how many problems a summary names: a file of another program has thousands.
const maxSummarized = 10

// Summary names the settings with their codes, in one line and without values: for a log, where the values of a
// profile do not belong. It names the first ten.
func (p Problems) Summary() string {
	var all []string
	for _, one := range p[:min(len(p), maxSummarized)] {
		text := one.setting() + " (" + string(one.Code) + ", " + one.Origin + ")"
		if one.Code == providers.CodeUnusable { // only the reason says what is wrong, and it has no value
			text += ": " + one.Reason
		}
		all = append(all, text)
	}
	if n := len(p) - len(all); n > 0 {
		all = append(all, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, "; ")
}

// Settings are the settings with problems, without those that do not exist.
func (p Problems) Settings() []string {
	var all []string
	for _, one := range p {
		if one.Code != providers.CodeUnknownKey {
			all = append(all, one.Key)
		}
	}
	return all
}

// setting returns the setting that the problem is about. A name that does not exist may be anything that was pasted
// into the file.
func (p Problem) setting() string {
	if p.Code == providers.CodeUnknownKey {
		return "an unknown setting"
	}
	return p.Key
}
