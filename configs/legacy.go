package configs

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// LegacyName is an environment variable of another program that sets one of our settings, so that users of
// that program need not rename it.
type LegacyName struct {
	// Variable is the name of the environment variable, and Key the setting that it sets. A variable for
	// server.listen has a port alone.
	Variable, Key string
	// IdentifiesKind is set on names that no other program uses: such a variable implies the kind.
	IdentifiesKind bool
}

const listenKey = "server.listen"

// scalekitTemplateNames are the names of Scalekit's template and of a standalone FastMCP server.
func scalekitTemplateNames() []LegacyName {
	return []LegacyName{
		{"SK_ENV_URL", "provider.environment_url", true},
		{"SCALEKIT_ENVIRONMENT_URL", "provider.environment_url", true},
		{"SCALEKIT_RESOURCE_ID", "provider.resource_id", true},
		{"MCP_SERVER_ID", "provider.resource_id", false},
		{"SK_CLIENT_ID", "provider.client_id", true},
		{"SK_CLIENT_SECRET", "provider.client_secret", true},
		{"EXPECTED_AUDIENCE", "provider.expected_audience", false},
		{"PROTECTED_RESOURCE_METADATA", "provider.protected_resource_metadata", false},
		{"MCP_URL", "resource", false},
		{"BASE_URL", "resource", false},
		{"PORT", listenKey, false},
	}
}

// legacyVariable returns the variable of that name. An empty one counts as unset, and the last one wins.
func legacyVariable(variables []variable, name string) (found variable, isSet bool) {
	for _, v := range variables {
		if v.name == name && v.value != "" {
			found, isSet = v, true
		}
	}
	return found, isSet
}

// kindFromLegacy returns the first variable that identifies a kind, and that kind.
func (t kindTable) kindFromLegacy(variables []variable) (v variable, kind string, ok bool) {
	for _, k := range t {
		for _, name := range k.LegacyNames {
			if v, isSet := legacyVariable(variables, name.Variable); isSet && name.IdentifiesKind {
				return v, k.Name, true
			}
		}
	}
	return variable{}, "", false
}

// legacyLayers reads the legacy names of each kind, as a layer for that kind only. Of several names for one
// setting the last one counts; validateLegacy reports different values.
func (t kindTable) legacyLayers(variables []variable) []layer {
	identifying, implied, _ := t.kindFromLegacy(variables)
	var layers []layer
	for _, kind := range t {
		spelling := map[string]string{}
		l := newLayer(true, func(key string) string { return spelling[key] })
		l.onlyFor, l.implicit, l.legacyNames = kind.Name, true, kind.LegacyNames
		for _, name := range kind.LegacyNames {
			v, isSet := legacyVariable(variables, name.Variable)
			if !isSet {
				continue
			}
			if name.Key == listenKey {
				v.value = net.JoinHostPort("", v.value)
			}
			spelling[name.Key] = v.name
			l.set(name.Key, v.value, v.origin)
		}
		if kind.Name == implied {
			l.set(kindKey, kind.Name, derivedFrom+identifying.name)
		}
		layers = append(layers, l)
	}
	return layers
}

// isLegacyPort reports whether origin is that of a legacy variable with a port.
func isLegacyPort(kind Kind, variables []variable, origin string) bool {
	return slices.ContainsFunc(kind.LegacyNames, func(name LegacyName) bool {
		v, isSet := legacyVariable(variables, name.Variable)
		return isSet && name.Key == listenKey && v.origin == origin
	})
}

// validateLegacy reports legacy variables that contradict the kind in force, each other, or a setting in .env
// or the environment: it is unknown which of two values is meant.
func (t kindTable) validateLegacy(kind Kind, kindOrigin string, variables []variable) Problems {
	var problems Problems
	if v, implied, ok := t.kindFromLegacy(variables); ok && kind.Name != implied {
		problems = append(problems, kindConflict(kind.Name, kindOrigin, v, implied))
	}
	ours := envLayer(variables)
	set := map[string]variable{}
	for key, value := range ours.values {
		if text, isText := value.(string); isText {
			set[key] = variable{name: ours.spell(key), value: text, origin: ours.origins[key]}
		}
	}
	for _, name := range kind.LegacyNames {
		v, isSet := legacyVariable(variables, name.Variable)
		if !isSet {
			continue
		}
		if name.Key == listenKey {
			if n, err := strconv.ParseUint(v.value, 10, 16); err != nil || n == 0 {
				problems = append(problems, Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin,
					Code: providers.CodeInvalidValue, Reason: "it is not a port between 1 and 65535",
					Fix: "write a port such as 3002, or set " + listenKey + " instead"})
				continue
			}
			v.value = net.JoinHostPort("", v.value)
		}
		other, isDuplicate := set[name.Key]
		if isDuplicate && !sameLegacyValue(name.Key, v.value, other.value) {
			problems = append(problems, t.valueConflict(name, v, other))
			continue
		}
		set[name.Key] = v
	}
	return problems
}

func sameLegacyValue(key, a, b string) bool {
	switch key {
	case listenKey:
		_, portA, _ := net.SplitHostPort(a)
		_, portB, _ := net.SplitHostPort(b)
		return portA == portB
	case "provider.environment_url":
		return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
	default:
		return token.SameAudience(a, b)
	}
}

func kindConflict(kind, origin string, v variable, implied string) Problem {
	return Problem{Key: kindKey, Value: quoteValue(kind), Origin: origin, Code: providers.CodeConflict,
		Reason: v.name + " is set (" + v.origin + "), which implies " + kindKey + " " + implied,
		Fix:    "remove " + v.name + ", or set " + kindKey + " to " + implied}
}

func (t kindTable) valueConflict(name LegacyName, v, other variable) Problem {
	value, otherValue := quoteValue(v.value), quoteValue(other.value)
	if slices.ContainsFunc(t.keys(), func(k Key) bool { return k.Name == name.Key && k.IsSecret() }) {
		value, otherValue = redacted, redacted
	}
	return Problem{Key: v.name, Value: value, Origin: v.origin, Code: providers.CodeConflict,
		Reason: "it sets " + name.Key + ", and so does " + other.name + " with another value, " + otherValue,
		Fix:    "keep one of the two"}
}
