package configs

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"

	"gatehouse/providers"
)

// builtInProfile applies if no profile is named.
//
//go:embed local.yaml
var builtInProfile []byte

const (
	builtInName   = "local.yaml"
	builtInOrigin = "built-in profile " + builtInName
)

// profileLayer reads the profile at path, or the built-in one if path is empty. named is the origin of path.
func (l *loader) profileLayer(path, named string) (layer, Problems) {
	r := newProfileReader(func(int) string { return builtInOrigin })
	if path == "" {
		r.layer.implicit = true
		r.read(builtInProfile)
		// The scopes of the demo, for instance, are unknown at other providers.
		r.layer.onlyFor, _ = r.layer.values[kindKey].(string)
		return r.layer, r.problems
	}
	content, err := l.readFile(path)
	if err != nil {
		return r.layer, Problems{{Key: configKey, Value: quoteValue(path), Origin: named,
			Code: providers.CodeUnreadableFile, Reason: "the profile cannot be read: " + fileReason(path, err),
			Fix: "name a file that exists, or leave it out for the built-in profile"}}
	}
	r.origin = func(line int) string {
		if line == 0 {
			return "profile " + path
		}
		return fmt.Sprintf("profile %s:%d", path, line)
	}
	text, err := DecodeText(content)
	if err != nil {
		r.report(configKey, 0, providers.CodeInvalidSyntax, err.Error(), "save it as UTF-8")
		return r.layer, r.problems
	}
	r.read([]byte(text))
	return r.layer, r.problems
}

// profileReader flattens a profile, so that each value has its full key and its line. It walks the nodes and
// does not decode into a map: there, a dotted key and the same key in its section would be two entries in
// random order, and errors quote the values.
type profileReader struct {
	layer    layer
	problems Problems
	origin   func(line int) string
	lines    map[string]int // the line of each key and section
}

func newProfileReader(origin func(line int) string) *profileReader {
	spell := func(key string) string { return key }
	return &profileReader{layer: newLayer(false, spell), lines: map[string]int{}, origin: origin}
}

func (r *profileReader) report(key string, line int, code providers.Code, reason, fix string) {
	p := Problem{Key: key, Origin: r.origin(line), Code: code, Reason: reason, Fix: fix}
	r.problems = append(r.problems, p)
}

func (r *profileReader) read(content []byte) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	var document, second yamlv3.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return // empty, or nothing but comments
	case err != nil:
		r.report(configKey, 0, providers.CodeInvalidSyntax, "it is not valid YAML: "+yamlReason(err, content),
			"fix the syntax; configs/"+builtInName+" is an example")
		return
	}
	// Only the first document would be read, silently.
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		r.report(configKey, 0, providers.CodeInvalidSyntax, "it has more than one YAML document",
			"remove the line --- and what does not belong to this profile")
		return
	}
	switch top := document.Content[0]; {
	case top.Kind == yamlv3.MappingNode:
		r.section(top, "")
	case top.ShortTag() != "!!null":
		r.report(configKey, top.Line, providers.CodeInvalidType, "it is "+describeNode(top)+", not settings",
			"write settings with their names, such as log.level: debug")
	}
}

func (r *profileReader) section(section *yamlv3.Node, prefix string) {
	for i := 0; i+1 < len(section.Content); i += 2 {
		name, value := section.Content[i], section.Content[i+1]
		key := prefix + name.Value
		isAlias := value.Kind == yamlv3.AliasNode && value.Alias.Kind == yamlv3.MappingNode
		if name.Kind != yamlv3.ScalarNode || name.ShortTag() == "!!merge" || isAlias {
			r.report(keyText(key), name.Line, providers.CodeInvalidSyntax,
				"sections cannot be merged or aliased (YAML << and *)", "write the settings out")
			continue
		}
		if line, isDuplicate := r.lines[key]; isDuplicate {
			r.report(keyText(key), name.Line, providers.CodeConflict,
				fmt.Sprintf("it is already set in line %d", line), "keep one of the two")
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
			r.report(keyText(key), name.Line, providers.CodeInvalidSyntax,
				"its value does not fit its YAML tag or alias", "write the value plainly, in quotes if it is text")
			continue
		}
		switch decoded.(type) {
		case map[string]any:
			decoded = nil // {} is as empty as no value
		case time.Time:
			decoded = value.Value // no setting is a date
		}
		r.layer.set(key, decoded, r.origin(name.Line))
	}
}

func describeNode(n *yamlv3.Node) string {
	if n.Kind == yamlv3.SequenceNode {
		return "a list"
	}
	return "text"
}

// yamlReason is the parser's error on one line. Only the errors about aliases quote the file, where the text
// may be a secret that begins with an asterisk.
func yamlReason(err error, content []byte) string {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(reason, "anchor") {
		return "a value that begins with * is an alias, and there is no such anchor " +
			"(if it is text, write it in quotes)"
	}
	reason = strings.Join(strings.Fields(reason), " ")
	// The parser does not name the tab, and often reports the line after it.
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.IndexByte(indent, '\t') >= 0 {
			return fmt.Sprintf("line %d is indented with a tab, and YAML allows spaces only (%s)", number, reason)
		}
	}
	return reason
}
