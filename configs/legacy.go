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

// legacyName is an environment variable of Scalekit's template or of a standalone FastMCP server that means one of our
// settings, so that whoever comes from there need not rename anything.
type legacyName struct {
	variable string
	key      string
	// telling is true of names that nothing else has: they alone say that the provider is Scalekit.
	telling bool
}

func legacyNames() []legacyName {
	return []legacyName{
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

const legacyKind = "scalekit"

// variable is an environment variable and where it stands.
type variable struct{ name, value, origin string }

// legacyVariables are those of the variables that have a legacy name. An empty one counts as unset; the environment wins
// over .env, as it does for other names.
func legacyVariables(dotEnv, environ []variable) map[string]variable {
	found := map[string]variable{}
	for _, v := range slices.Concat(dotEnv, environ) {
		known := slices.ContainsFunc(legacyNames(), func(n legacyName) bool { return n.variable == v.name })
		if known && v.value != "" {
			found[v.name] = v
		}
	}
	return found
}

// telling returns the first variable that says that the provider is Scalekit.
func telling(found map[string]variable) (variable, bool) {
	for _, name := range legacyNames() {
		if v, ok := found[name.variable]; ok && name.telling {
			return v, true
		}
	}
	return variable{}, false
}

// impliedKind says the kind for whoever has the telling variables, unless somebody else says it.
func impliedKind(found map[string]variable) layer {
	l := newLayer(true, func(key string) string { return key })
	l.assumed = true
	if v, ok := telling(found); ok {
		l.set(kindKey, legacyKind, derivedFrom+v.name)
	}
	return l
}

// contradictsKind reports a kind that somebody chose in an environment that says Scalekit.
func contradictsKind(found map[string]variable, kind, origin string) *Problem {
	v, ok := telling(found)
	if !ok || kind == legacyKind {
		return nil
	}
	return &Problem{Key: kindKey, Value: quoteValue(kind), Origin: origin,
		Reason: v.name + " is set (" + v.origin + "), and means that the provider is Scalekit", WayOut: "remove " + v.name + ", or set " + kindKey + " to " + legacyKind}
}

// legacyLayer reads the legacy names as settings. ours are the layers that may say the same under our own names at the same
// rank: who said a thing twice, with different values, believes one of the two, and nobody can know which.
func legacyLayer(found map[string]variable, resource string, ours ...layer) layer {
	l := newLayer(true, func(key string) string { return key })
	l.onlyFor = legacyKind
	said := map[string]variable{}
	for _, one := range ours {
		for key, value := range one.values {
			if text, isText := value.(string); isText {
				said[key] = variable{name: one.spell(key), value: text, origin: one.origins[key]}
			}
		}
	}
	for _, name := range legacyNames() {
		v, ok := found[name.variable]
		if !ok {
			continue
		}
		if name.key == "server.listen" {
			address, problem := listenOn(v, resource)
			if problem != nil {
				l.problems = append(l.problems, *problem)
				continue
			}
			v.value = address
		}
		if other, twice := said[name.key]; twice && !sameValue(name.key, v.value, other.value) {
			l.problems = append(l.problems, contradiction(name, v, other))
			continue
		}
		said[name.key] = v
		l.set(name.key, v.value, v.origin)
	}
	return l
}

// listenOn makes an address of a port: this computer only for a resource on it, else every address, as in a container.
func listenOn(port variable, resource string) (string, *Problem) {
	if n, err := strconv.ParseUint(port.value, 10, 16); err != nil || n == 0 {
		return "", &Problem{Key: port.name, Value: quoteValue(port.value), Origin: port.origin, Reason: "it is not a port between 1 and 65535", WayOut: "write a port such as 3002, or set server.listen instead"}
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

func contradiction(name legacyName, v, other variable) Problem {
	value, otherValue := quoteValue(v.value), quoteValue(other.value)
	if i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == name.key }); i >= 0 && Keys()[i].IsSecret() {
		value, otherValue = redacted, redacted
	}
	return Problem{Key: v.name, Value: value, Origin: v.origin,
		Reason: "it means " + name.key + ", and so does " + other.name + " with another value, " + otherValue, WayOut: "keep one of the two"}
}

// legacyNotes tells how the legacy names were read.
func legacyNotes(found map[string]variable, kind string, origins map[string]string) []string {
	var read []string
	for _, name := range legacyNames() {
		if v, ok := found[name.variable]; ok && kind == legacyKind && origins[name.key] == v.origin { // not what a flag overrides
			read = append(read, name.variable+" as "+name.key)
		}
	}
	if len(read) == 0 {
		return nil
	}
	return []string{"names from elsewhere are read: " + strings.Join(read, ", ")}
}
