package configs

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
)

// annotate adds the effective values, with their origins, and the notes to a valid configuration.
func (l *loader) annotate(config *Config, layers []layer, variables []variable) {
	for _, k := range l.keys {
		v := Value{Key: k.Name, Value: formatValue(redactURLs(l.merged.Get(k.Name))), Origin: l.origins[k.Name]}
		switch {
		case k.IsSecret():
			v.Value = display(k, l.merged.Get(k.Name))
		case k.asListType(nil) != nil:
			v.Value = k.showList(l.merged.Get(k.Name))
		}
		config.Effective = append(config.Effective, v)
	}
	config.Notes = slices.Concat(
		portNotes(config), l.platformNotes(config, variables), demoNotes(config),
		l.legacyNotes(layers, config.Kind), l.presetNotes(layers))
}

// portNotes mentions a resource on this computer with another port than the server's.
func portNotes(c *Config) []string {
	u, _ := url.Parse(c.Resource.Origin()) // parsed before
	dialed := cmp.Or(u.Port(), strings.TrimPrefix(providers.DefaultPort(u.Scheme), ":"))
	_, port, _ := net.SplitHostPort(c.Server.Listen)
	if !c.Resource.IsLoopback() || port == dialed {
		return nil
	}
	return []string{fmt.Sprintf("clients dial port %s (resource), but the server listens on port %s "+
		"(server.listen): this works only if something forwards one to the other", dialed, port)}
}

// platformNotes explains why PORT is not used. A platform that sets it finds nothing at its port then.
func (l *loader) platformNotes(c *Config, variables []variable) []string {
	port, isSet := platformPort(variables)
	_, listening, _ := net.SplitHostPort(c.Server.Listen)
	if _, err := strconv.ParseUint(port.value, 10, 16); !isSet || err != nil || port.value == listening {
		return nil
	}
	note := fmt.Sprintf("the environment variable PORT is %s, but the server listens on %s (server.listen, %s); ",
		port.value, c.Server.Listen, l.origins[listenKey])
	if c.Resource.IsLoopback() {
		return []string{note + "if a platform set it, set resource to the public URL"}
	}
	return []string{note + "if a platform set it, leave server.listen out"}
}

// demoNotes names the settings of the built-in profile that a server on a public resource has. This takes
// kind local and provider.dangerously_allow_public_resource: the profile applies to no other kind.
func demoNotes(c *Config) []string {
	var keys []string
	for _, v := range c.Effective {
		isProvider := strings.HasPrefix(v.Key, providerPrefix) // these have guardrails and notes of their own
		isText := v.Key == "scopes.descriptions"               // it changes what users read and nothing else
		if !isProvider && !isText && v.Key != "resource" && v.Origin == builtInOrigin {
			keys = append(keys, v.Key+" ("+v.Value+")")
		}
	}
	if len(keys) == 0 || c.Resource.IsLoopback() {
		return nil
	}
	return []string{"these values are meant for the demo: " + strings.Join(keys, ", ") +
		"; set them for a public server, or name a profile of your own (--config)"}
}

// legacyNotes names the legacy variables that set effective values.
func (l *loader) legacyNotes(layers []layer, kind string) []string {
	var used []string
	for _, one := range layers {
		if one.onlyFor != kind {
			continue
		}
		for _, name := range one.legacyNames {
			if l.origins[name.Key] == one.origins[name.Key] && one.spell(name.Key) == name.Variable {
				used = append(used, name.Variable+" as "+name.Key)
			}
		}
	}
	if len(used) == 0 {
		return nil
	}
	return []string{"variables of other programs are used: " + strings.Join(used, ", ")}
}

// presetNotes names the claims of the preset that a list of required claims removed: they tell access tokens
// from others.
func (l *loader) presetNotes(layers []layer) []string {
	const key = "provider.required_claims"
	var notes []string
	for _, one := range layers {
		required, _ := one.values[key].([]any)
		if !strings.HasPrefix(one.origins[key], presetOrigin) {
			continue
		}
		for _, claim := range required {
			if text, isText := claim.(string); isText && !slices.Contains(l.merged.Strings(key), text) {
				notes = append(notes, fmt.Sprintf("%s (%s) replaces %s of the %s, which distinguishes access tokens "+
					"from other tokens: add it to the list, unless your tokens do not have it",
					key, l.origins[key], text, one.origins[key]))
			}
		}
	}
	return notes
}
