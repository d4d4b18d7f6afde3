package configs

import (
	"bytes"
	"reflect"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Profile returns a profile with every setting that a source sets, so that it gives the same configuration alone. It
// has no secrets: a comment is in place of one that is in no file.
func (c *Config) Profile() ([]byte, error) {
	root := &yamlv3.Node{Kind: yamlv3.MappingNode}
	values := c.values()
	for i, v := range c.Effective {
		key := c.keys[i]
		if !v.IsExplicit() || strings.HasPrefix(v.Origin, presetOrigin) {
			continue
		}
		parts := strings.Split(key.Name, ".")
		section := root
		for _, name := range parts[:len(parts)-1] {
			section = sectionOf(section, name)
		}
		c.addSetting(section, parts[len(parts)-1], key, values[key.Name])
	}
	var b bytes.Buffer
	encoder := yamlv3.NewEncoder(&b)
	encoder.SetIndent(2)
	err := encoder.Encode(root)
	return b.Bytes(), err
}

// addSetting adds a setting to its section.
func (c *Config) addSetting(section *yamlv3.Node, name string, key Key, value any) {
	comment := ""
	path, isFile := c.paths[key.Name]
	switch list, isList := value.([]string); {
	case key.IsSecret() && isFile:
		value = path
		if !key.IsFile {
			name += fileSuffix
		}
	case key.IsSecret():
		value, comment, name = "", "the secret is not shown: write it to a file, and name the file here", name+fileSuffix
	case isList && key.asListType(list) != nil:
		shown := key.asListType(list).Redacted()
		if !reflect.DeepEqual(shown, list) {
			comment = redacted + " is a secret: write it to a file as NAME=VALUE, and name the file in env_file"
		}
		value = shown
	case isList:
	default:
		if d, isDuration := value.(time.Duration); isDuration {
			value = shortDuration(d)
		}
		if shown := redactURLs(value); shown != value {
			value, comment = shown, redacted+" is a secret"
		}
	}
	node := &yamlv3.Node{}
	if err := node.Encode(value); err != nil {
		return // the values of settings can be encoded
	}
	if node.Kind == yamlv3.SequenceNode && name != "tools" {
		node.Style = yamlv3.FlowStyle
	}
	section.Content = append(section.Content,
		&yamlv3.Node{Kind: yamlv3.ScalarNode, Value: name, HeadComment: comment}, node)
}

// sectionOf returns the section called name, which it adds if there is none.
func sectionOf(parent *yamlv3.Node, name string) *yamlv3.Node {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == name {
			return parent.Content[i+1]
		}
	}
	section := &yamlv3.Node{Kind: yamlv3.MappingNode}
	parent.Content = append(parent.Content, &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: name}, section)
	return section
}
