package configs

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
)

//go:embed *.yaml
var profiles embed.FS

// The built-in profiles that are in force when nobody names one.
const (
	defaultProfile = "local.yaml"
	legacyProfile  = "scalekit.yaml" // in an environment with the variables of Scalekit's templates
)

const builtInProfile = "built-in profile " // the origin of what is in one, before its name

// profileLayer reads the profile at path, or the built-in one of that name if path is empty. named says who chose path.
func profileLayer(path, named, builtIn string) (layer, Problems) {
	r := profileReader{layer: newLayer(false, func(key string) string { return key }), lines: map[string]int{}}
	if path == "" {
		// It is part of the binary and always there; nobody can look up a line in it.
		content, _ := profiles.ReadFile(builtIn)
		r.layer.assumed = true
		r.origin = func(int) string { return builtInProfile + builtIn }
		r.read(content)
		// What fits the demo fits no other provider: its scopes, for one, are unknown there.
		r.layer.onlyFor, _ = r.layer.values[kindKey].(string)
		return r.layer, r.problems
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return r.layer, Problems{{Key: configKey, Value: quoteValue(path), Origin: named, Reason: "the profile cannot be read: " + reasonOf(err),
			Fix: "name a file that exists, or leave it out for the built-in profile"}}
	}
	r.origin = func(line int) string {
		if line == 0 {
			return "profile " + path
		}
		return fmt.Sprintf("profile %s:%d", path, line)
	}
	r.read(content)
	return r.layer, r.problems
}

// profileReader flattens a profile, so that every value is known by its full key and its line. It walks the nodes and does
// not decode into a map, for which a dotted key and the same key in its section would be two entries, in random order, and
// whose errors quote the values.
type profileReader struct {
	layer    layer
	problems Problems
	origin   func(line int) string
	lines    map[string]int // where each key and section stands
}

func (r *profileReader) refuse(key string, line int, reason, fix string) {
	r.problems = append(r.problems, Problem{Key: key, Origin: r.origin(line), Reason: reason, Fix: fix})
}

func (r *profileReader) read(content []byte) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	var document, second yamlv3.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return // empty, or nothing but comments
	case err != nil:
		r.refuse(configKey, 0, "it is not YAML: "+yamlReason(err), "mend it; a profile looks like configs/"+defaultProfile)
		return
	}
	// Only the first document would count, silently.
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		r.refuse(configKey, 0, "it has more than one YAML document", "remove the line --- and what does not belong to this profile")
		return
	}
	switch top := document.Content[0]; {
	case top.Kind == yamlv3.MappingNode:
		r.section(top, "")
	case top.ShortTag() != "!!null":
		r.refuse(configKey, top.Line, "it is "+nodeInWords(top)+", not settings", "write settings with their names, such as log.level: debug")
	}
}

func (r *profileReader) section(section *yamlv3.Node, prefix string) {
	for i := 0; i+1 < len(section.Content); i += 2 {
		name, value := section.Content[i], section.Content[i+1]
		key := prefix + name.Value
		if name.Kind != yamlv3.ScalarNode || name.ShortTag() == "!!merge" || value.Kind == yamlv3.AliasNode && value.Alias.Kind == yamlv3.MappingNode {
			r.refuse(keyText(key), name.Line, "a section cannot be taken from elsewhere (YAML << and *) here", "write its settings out")
			continue
		}
		if line, twice := r.lines[key]; twice {
			r.refuse(keyText(key), name.Line, fmt.Sprintf("it is already set in line %d", line), "keep one of the two")
			continue
		}
		r.lines[key] = name.Line
		if value.Kind == yamlv3.MappingNode && len(value.Content) > 0 {
			r.section(value, key+".")
			continue
		}
		var decoded any
		// The error is not shown, because it quotes the value.
		if err := value.Decode(&decoded); err != nil {
			r.refuse(keyText(key), name.Line, "its value does not fit the YAML tag or alias in it", "write the value plainly, in quotes if it is text")
			continue
		}
		switch decoded.(type) {
		case map[string]any:
			decoded = nil // {} says as little as nothing does
		case time.Time:
			decoded = value.Value // no setting is a date
		}
		r.layer.set(key, decoded, r.origin(name.Line))
	}
}

func nodeInWords(n *yamlv3.Node) string {
	if n.Kind == yamlv3.SequenceNode {
		return "a list"
	}
	return "text"
}

// yamlReason is what the parser says, on one line. Of all its errors only the one about aliases quotes the file, where it
// may be a secret that begins with an asterisk.
func yamlReason(err error) string {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(reason, "anchor") {
		return "a value that begins with * is an alias, and there is no such anchor (if it is text, write it in quotes)"
	}
	return strings.Join(strings.Fields(reason), " ")
}
