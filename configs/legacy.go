package configs

import (
	"cmp"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// LegacyName is an environment variable of another program that means one of our settings, so that its users need not
// rename anything.
type LegacyName struct {
	// Variable is the name of the environment variable, and Key the setting that it means.
	Variable, Key string
	// Identifies is true of names that nothing else has: they alone say which kind the provider is.
	Identifies bool
}

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
		{"PORT", "server.listen", false},
	}
}

// variable is an environment variable and where it stands.
type variable struct{ name, value, origin string }

// legacyVariables are those of the variables that have a legacy name. An empty one counts as unset; the environment wins
// over .env, as it does for other names.
func legacyVariables(dotEnv, environ []variable) map[string]variable {
	found := map[string]variable{}
	for _, v := range slices.Concat(dotEnv, environ) {
		known := slices.ContainsFunc(Kinds(), func(k Kind) bool {
			return slices.ContainsFunc(k.LegacyNames, func(n LegacyName) bool { return n.Variable == v.name })
		})
		if known && v.value != "" {
			found[v.name] = v
		}
	}
	return found
}

// identifiesKind returns the first variable that says which kind the provider is, and that kind.
func identifiesKind(found map[string]variable) (v variable, kind string, ok bool) {
	for _, k := range Kinds() {
		for _, name := range k.LegacyNames {
			if v, ok := found[name.Variable]; ok && name.Identifies {
				return v, k.Name, true
			}
		}
	}
	return variable{}, "", false
}

// impliedKind is the kind that a variable identifies, for when provider.kind is not set.
func impliedKind(found map[string]variable) layer {
	l := newLayer(true, func(key string) string { return key })
	l.assumed = true
	if v, kind, ok := identifiesKind(found); ok {
		l.set(kindKey, kind, derivedFrom+v.name)
	}
	return l
}

// contradictsKind reports a kind that is set although a variable identifies another.
func contradictsKind(found map[string]variable, kind, origin string) *Problem {
	v, implied, ok := identifiesKind(found)
	if !ok || kind == implied {
		return nil
	}
	return &Problem{Key: kindKey, Value: quoteValue(kind), Origin: origin,
		Reason: v.name + " is set (" + v.origin + "), and means that " + kindKey + " is " + implied,
		Fix:    "remove " + v.name + ", or set " + kindKey + " to " + implied}
}

// legacyLayers reads the legacy names of each kind as settings of that kind; see legacyLayer.
func legacyLayers(found map[string]variable, resource string, ours ...layer) []layer {
	var layers []layer
	for _, kind := range Kinds() {
		if len(kind.LegacyNames) > 0 {
			layers = append(layers, legacyLayer(kind, found, resource, ours...))
		}
	}
	return layers
}

// legacyLayer reads the legacy names of kind as settings. ours are the layers that may set the same under our own names
// at the same rank: of two different values for one setting, which one is meant is unknown.
func legacyLayer(kind Kind, found map[string]variable, resource string, ours ...layer) layer {
	l := newLayer(true, func(key string) string { return key })
	l.onlyFor = kind.Name
	said := map[string]variable{}
	for _, one := range ours {
		for key, value := range one.values {
			if text, isText := value.(string); isText {
				said[key] = variable{name: one.spell(key), value: text, origin: one.origins[key]}
			}
		}
	}
	for _, name := range kind.LegacyNames {
		v, ok := found[name.Variable]
		if !ok {
			continue
		}
		if name.Key == "server.listen" {
			address, problem := listenOn(v, resource)
			if problem != nil {
				l.problems = append(l.problems, *problem)
				continue
			}
			v.value = address
		}
		if other, twice := said[name.Key]; twice && !sameValue(name.Key, v.value, other.value) {
			l.problems = append(l.problems, contradiction(name, v, other))
			continue
		}
		said[name.Key] = v
		l.set(name.Key, v.value, v.origin)
	}
	return l
}

// listenOn makes an address of a port: this computer only for a resource on it, else every address, as in a container.
func listenOn(port variable, resource string) (string, *Problem) {
	if n, err := strconv.ParseUint(port.value, 10, 16); err != nil || n == 0 {
		return "", &Problem{Key: port.name, Value: quoteValue(port.value), Origin: port.origin, Reason: "it is not a port between 1 and 65535", Fix: "write a port such as 3002, or set server.listen instead"}
	}
	u, err := url.Parse(resource)
	if resource == "" || err == nil && providers.IsLoopback(u.Hostname()) { // the default is on this computer
		return net.JoinHostPort("127.0.0.1", port.value), nil
	}
	return net.JoinHostPort("", port.value), nil
}

// resourceSaid is the resource as far as the layers and the variables say it.
func resourceSaid(found map[string]variable, layers ...layer) string {
	value, _, _ := latest(layers, "resource")
	text, _ := value.(string)
	var metadata struct{ Resource string }
	// What is wrong with it is reported where it is used.
	_ = json.Unmarshal([]byte(found["PROTECTED_RESOURCE_METADATA"].value), &metadata)
	return cmp.Or(text, found["MCP_URL"].value, found["BASE_URL"].value, metadata.Resource, found["EXPECTED_AUDIENCE"].value)
}

func sameValue(key, a, b string) bool {
	switch key {
	case "server.listen":
		_, portA, _ := net.SplitHostPort(a)
		_, portB, _ := net.SplitHostPort(b)
		return portA == portB
	case "provider.environment_url":
		return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
	default:
		return token.SameAudience(a, b)
	}
}

func contradiction(name LegacyName, v, other variable) Problem {
	value, otherValue := quoteValue(v.value), quoteValue(other.value)
	if i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == name.Key }); i >= 0 && Keys()[i].IsSecret() {
		value, otherValue = redacted, redacted
	}
	return Problem{Key: v.name, Value: value, Origin: v.origin,
		Reason: "it means " + name.Key + ", and so does " + other.name + " with another value, " + otherValue, Fix: "keep one of the two"}
}

// legacyNotes tells how the legacy names were read.
func legacyNotes(found map[string]variable, kind Kind, origins map[string]string) []string {
	var read []string
	for _, name := range kind.LegacyNames {
		if v, ok := found[name.Variable]; ok && origins[name.Key] == v.origin { // not what a flag overrides
			read = append(read, name.Variable+" as "+name.Key)
		}
	}
	if len(read) == 0 {
		return nil
	}
	return []string{"names from elsewhere are read: " + strings.Join(read, ", ")}
}
