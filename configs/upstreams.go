package configs

import (
	"reflect"
	"slices"
	"strings"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/token"
)

const (
	upstreamsSection = "upstreams"
	upstreamPrefix   = "upstreams."

	// AnyName is in place of the name in the keys of a section that exists once for each name. No name has capitals.
	AnyName = "NAME"
)

// upstreamKeys returns the settings of the upstream called name.
func upstreamKeys(name string) []Key {
	return keysOf(upstreamPrefix+name, upstream.DefaultSettings(name), "")
}

// meantUpstreamKeys returns the settings of the upstream that the second part of key names, if it can be one: the other
// parts may be misspelled.
func meantUpstreamKeys(key string) []Key {
	parts := strings.Split(key, ".")
	if len(parts) < 3 || !upstream.IsName(parts[1]) {
		return nil
	}
	return upstreamKeys(parts[1])
}

// upstreamNameOf returns the name in upstreams.NAME.KEY.
func upstreamNameOf(key string) (name string, ok bool) {
	rest, isUpstream := strings.CutPrefix(key, upstreamPrefix)
	name, _, hasKey := strings.Cut(rest, ".")
	return name, isUpstream && hasKey
}

// isUpstreamName reports whether key names an upstream and no setting of it. A key that resembles key_file is
// misspelled.
func (l *loader) isUpstreamName(key string) bool {
	name, isUpstream := strings.CutPrefix(key, upstreamPrefix)
	return isUpstream && upstream.IsName(name) && distance(name, normalize(keyFileName)) > 2
}

// nameUpstreams adds the keys of the upstreams that the layers name. Those with an impossible name are reported once
// in each layer and removed from it.
func (l *loader) nameUpstreams(layers []layer) {
	var names []string
	for _, one := range layers {
		reported := map[string]bool{}
		for _, key := range one.sortedKeys() {
			name, ok := upstreamNameOf(key)
			switch {
			case !ok || name == keyFileName:
			case upstream.IsName(name):
				names = append(names, name)
			default:
				if !reported[name] {
					l.addProblem(badUpstreamName(name, one.origins[key]))
				}
				reported[name] = true
				delete(one.values, key)
			}
		}
	}
	slices.Sort(names)
	l.upstreams = slices.Compact(names)
	l.allKeys = l.kinds.keys(l.upstreams...)
}

// keyFileName is a setting of the section itself, where the names of upstreams are.
const keyFileName = "key_file"

func badUpstreamName(name, origin string) Problem {
	fix := "choose a name such as files"
	plain := strings.TrimLeft(strings.ToLower(punctuation.Replace(name)), "0123456789")
	if upstream.IsName(plain) {
		fix = "did you mean " + upstreamPrefix + plain + "?"
	}
	return Problem{Key: keyText(upstreamPrefix + name), Origin: origin, Code: providers.CodeInvalidValue,
		Reason: "the name of an upstream is at most 32 lower-case letters and digits, and begins with a letter: " +
			"it is part of variables and of the names of tools", Fix: fix}
}

// defaultUpstreams returns the sections of upstreams with their defaults; decode fills them.
func (l *loader) defaultUpstreams() []upstream.Settings {
	var all []upstream.Settings
	for _, name := range l.upstreams {
		all = append(all, upstream.DefaultSettings(name))
	}
	return all
}

// readPins reads the files with the pins of upstreams.
func (l *loader) readPins(config *Config) {
	for i := range config.Upstreams {
		u := &config.Upstreams[i]
		if u.Pins == "" {
			continue
		}
		report := l.report(upstreamPrefix + u.Name)
		const fix = "write it with `gatehouse upstream pin NAME`, and review it"
		content, err := l.readFile(u.Pins)
		if err != nil {
			report(providers.Problem{Key: "pins", Code: providers.CodeUnreadableFile,
				Reason: "the file cannot be read: " + fileReason(u.Pins, err), Fix: strings.ReplaceAll(fix, AnyName, u.Name)})
			continue
		}
		if u.Pinned, err = upstream.ParsePins(content); err != nil {
			report(providers.Problem{Key: "pins", Code: providers.CodeInvalidSyntax, Reason: err.Error(),
				Fix: strings.ReplaceAll(fix, AnyName, u.Name)})
		}
	}
}

// validateUpstreams reports what is wrong with the upstreams, each alone and together with the other settings.
func (l *loader) validateUpstreams(config *Config, resource providers.Resource, usable bool) {
	shared := l.report(upstreamsSection)
	config.UpstreamKey.Validate(shared)
	config.UpstreamKey.ValidateFor(config.Upstreams, !usable || resource.IsLoopback(), shared)
	audiences := l.audiences()
	for i, u := range config.Upstreams {
		report := l.report(upstreamPrefix + u.Name)
		isIncomplete := l.hasUnreadKey(upstreamPrefix + u.Name + ".")
		u.Validate(func(p providers.Problem) {
			if p.Code != providers.CodeMissing || !isIncomplete {
				report(p)
			}
		})
		if most := config.MCP.CallTimeout; u.CallTimeout > most {
			report(providers.Problem{Key: "call_timeout", Code: providers.CodeConflict,
				Reason: "it is longer than mcp.call_timeout, which is " + shortDuration(most),
				Fix:    "use at most " + shortDuration(most) + ", or raise mcp.call_timeout"})
		}
		if u.URL == "" {
			continue
		}
		sameURL := func(other upstream.Settings) bool { return token.SameAudience(other.URL, u.URL) }
		if j := slices.IndexFunc(config.Upstreams[:i], sameURL); j >= 0 {
			report(providers.Problem{Key: "url", Code: providers.CodeConflict,
				Reason: upstreamPrefix + config.Upstreams[j].Name + " has the same URL: a token for one would be valid for both",
				Fix:    "offer the tools of both sections in one of them"})
		}
		if slices.ContainsFunc(audiences, func(a string) bool { return token.SameAudience(a, u.URL) }) {
			report(providers.Problem{Key: "url", Code: providers.CodeConflict,
				Reason: "it is an audience of this server, which would accept the tokens that it makes for the upstream",
				Fix:    "give the upstream another URL"})
		}
	}
}

// hasUnreadKey reports whether a key with that prefix is unknown or has a value of another type: what seems to be
// missing is probably that.
func (l *loader) hasUnreadKey(prefix string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool {
		return strings.HasPrefix(p.Key, prefix) &&
			(p.Code == providers.CodeUnknownKey || p.Code == providers.CodeInvalidType)
	})
}

// audiences are the values of aud that this server accepts.
func (l *loader) audiences() []string {
	all := []string{l.merged.String("resource")}
	for _, key := range []string{"provider.audiences", "provider.expected_audience"} {
		switch value := l.merged.Get(key).(type) {
		case string:
			all = append(all, value)
		case []string:
			all = append(all, value...)
		}
	}
	return all
}

// listType is implemented by lists that are written in another way than with commas, and that may have secrets in
// them.
type listType interface {
	// ParseText parses the list as it is written in the environment and in flags. The error quotes nothing.
	ParseText(text string) ([]string, error)
	// Redacted returns the entries without secrets, and Text the list in that form.
	Redacted() []string
	Text() string
	// Example is a list in that form.
	Example() string
}

// textList is implemented by a [listType] that a profile may write in that form, too.
type textList interface{ AcceptsText() bool }

// asListType returns list as the type of the key; nil if that is an ordinary list, or none.
func (k Key) asListType(list []string) listType {
	if k.typ.Kind() != reflect.Slice {
		return nil
	}
	special, _ := reflect.ValueOf(list).Convert(k.typ).Interface().(listType)
	return special
}

// isListType reports whether the setting called key is a [listType]: its text has quotes of its own, and no secrets.
func isListType(key string) bool {
	return slices.ContainsFunc(meantUpstreamKeys(key), func(k Key) bool {
		return k.Name == key && k.asListType(nil) != nil
	})
}

// showList returns the value of a [listType] without secrets. What is not a list of text is not shown: a part of it
// may be a secret.
func (k Key) showList(value any) string {
	switch value := value.(type) {
	case []string:
		return k.asListType(value).Text()
	case []any:
		list := make([]string, len(value))
		for i, item := range value {
			text, isText := item.(string)
			if !isText {
				return redacted
			}
			list[i] = text
		}
		return k.asListType(list).Text()
	}
	return redacted
}
