package configs

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"
	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/parsers/yaml"
	yamlv3 "go.yaml.in/yaml/v3"
)

//go:embed *.yaml
var profiles embed.FS

const (
	defaultProfile = "local.yaml"
	envPrefix      = "GATEHOUSE_"
	// configVariable names the profile file, like the flag --config.
	configVariable = envPrefix + "CONFIG"
	dotEnv         = ".env"
)

// Sources says where to look. Later ones win: defaults, profile, .env, environment, flags.
type Sources struct {
	// Profile is the path of a profile file. If it is empty, GATEHOUSE_CONFIG names it; without that, it is the
	// built-in local.yaml.
	Profile string
	// Dir is where .env is looked for; empty means nowhere.
	Dir string
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Flags are the flags that were set, by the name of their key.
	Flags map[string]string
}

// layer is one source: values by flat key, and where each came from in words.
type layer struct {
	values  map[string]any
	origins map[string]string
	// textual is true where every value is text, so that lists and numbers must be read from it.
	textual bool
}

func newLayer(textual bool) layer {
	return layer{values: map[string]any{}, origins: map[string]string{}, textual: textual}
}

func (l layer) set(key string, value any, origin string) {
	l.values[key], l.origins[key] = value, origin
}

// read returns all layers but the defaults. What cannot even be read is a problem of its own.
func read(s Sources) ([]layer, Problems) {
	var problems Problems
	dot, problem := dotEnvLayer(s.Dir)
	problems = append(problems, problem...)
	environment := envLayer(s.Environ, func(name string) string { return "environment variable " + name })

	path := s.Profile
	for _, l := range []layer{environment, dot} {
		if value, ok := l.values["config"]; ok {
			if path == "" {
				path = value.(string)
			}
			delete(l.values, "config")
		}
	}
	profile, problem := profileLayer(path)
	problems = append(problems, problem...)

	flags := newLayer(true)
	for name, value := range s.Flags {
		flags.set(name, value, "flag --"+name)
	}
	return []layer{profile, dot, environment, flags}, problems
}

func profileLayer(path string) (layer, Problems) {
	l := newLayer(false)
	var (
		content []byte
		err     error
		origin  string
	)
	if path == "" {
		origin = "built-in profile " + defaultProfile
		content, err = profiles.ReadFile(defaultProfile)
	} else {
		origin = "profile " + path
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return l, Problems{{Key: "--config", Value: quoteValue(path), Reason: "the profile cannot be read: " + reasonOf(err),
			WayOut: "name a file that exists, or leave --config out for the built-in local profile"}}
	}
	tree, err := parseYAML(content)
	if err != nil {
		return l, Problems{{Key: "--config", Value: quoteValue(path), Origin: origin, Reason: err.Error(), WayOut: "mend the file; `gatehouse config` shows what is in force"}}
	}
	flat, _ := maps.Flatten(tree, nil, ".")
	for key, value := range flat {
		l.set(key, value, origin)
	}
	return l, nil
}

func parseYAML(content []byte) (map[string]any, error) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	var first, second yamlv3.Node
	if err := decoder.Decode(&first); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	// Only the first document would count, silently.
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one YAML document (a line with ---)")
	}
	tree, err := yaml.Parser().Unmarshal(content)
	if err != nil {
		return nil, fmt.Errorf("it is not YAML with settings: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return tree, nil
}

func dotEnvLayer(dir string) (layer, Problems) {
	if dir == "" {
		return newLayer(true), nil
	}
	path := filepath.Join(dir, dotEnv)
	variables, err := godotenv.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newLayer(true), nil
	case err != nil:
		return newLayer(true), Problems{{Key: dotEnv, Origin: "the working directory", Reason: "it cannot be read: " + reasonOf(err),
			WayOut: "write NAME=value, one a line, or remove the file"}}
	}
	var environ []string
	for name, value := range variables {
		environ = append(environ, name+"="+value)
	}
	return envLayer(environ, func(name string) string { return name + " in " + dotEnv }), nil
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// serviceLink matches what Kubernetes puts into the environment of every pod when there is a Service called gatehouse.
var serviceLink = regexp.MustCompile(`^GATEHOUSE_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// envLayer takes the variables with our prefix. An empty variable counts as unset: compose files pass on variables
// that nobody set as empty ones.
func envLayer(environ []string, origin func(name string) string) layer {
	l := newLayer(true)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		short, ours := strings.CutPrefix(name, envPrefix)
		if !ours || value == "" || serviceLink.MatchString(name) {
			continue
		}
		l.set(strings.ReplaceAll(strings.ToLower(short), "__", "."), value, origin(name))
	}
	return l
}

// convert reads value as the type of key. Text layers hold lists separated by commas; a profile has types of its own, and
// a value of another type is refused rather than bent.
func convert(value any, key Key, textual bool) (any, string) {
	text, isText := value.(string)
	switch key.typ {
	case reflect.TypeFor[[]string]():
		if textual {
			return splitList(text), ""
		}
		items, ok := value.([]any)
		if !ok {
			return nil, "it is not a list"
		}
		list := []string{}
		for _, item := range items {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Sprintf("%v in the list is not text", item)
			}
			list = append(list, s)
		}
		return list, ""
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if !isText || err != nil {
			return nil, "it is not a duration such as 30s or 10m"
		}
		return d, ""
	}
	switch key.typ.Kind() {
	case reflect.Int:
		if n, ok := value.(int); ok {
			return n, ""
		}
		n, err := strconv.Atoi(text)
		if !textual || err != nil {
			return nil, "it is not a whole number"
		}
		return n, ""
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			return b, ""
		}
		b, err := strconv.ParseBool(text)
		if !textual || err != nil {
			return nil, "it is neither true nor false"
		}
		return b, ""
	default:
		if !isText {
			return nil, "it is not text (write it in quotes)"
		}
		return text, ""
	}
}

func splitList(s string) []string {
	list := []string{}
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// readSecrets replaces every *_file entry that belongs to a secret with the content of the file, so that a secret need
// not stand in a profile or in the environment.
func (l layer) readSecrets(keys []Key) Problems {
	var problems Problems
	for _, key := range keys {
		name := key.Name + "_file"
		path, ok := l.values[name].(string)
		if !key.IsSecret() || !ok {
			continue
		}
		origin := l.origins[name]
		delete(l.values, name)
		if _, twice := l.values[key.Name]; twice {
			problems = append(problems, Problem{Key: name, Origin: origin, Reason: key.Name + " is set beside it", WayOut: "keep one of them"})
			continue
		}
		secret, err := ReadSecret(path)
		if err != nil {
			problems = append(problems, Problem{Key: name, Value: quoteValue(path), Origin: origin, Reason: err.Error(),
				WayOut: "name a file that the user who runs gatehouse can read, with the secret in it"})
			continue
		}
		l.set(key.Name, secret, origin+" (file "+path+")")
	}
	return problems
}

// ReadSecret returns the content of a file without the line end that editors add. An empty file is an error: it is
// always a mistake, and would switch a check off.
func ReadSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", errors.New("the secret cannot be read: " + reasonOf(err))
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}

// sortedKeys gives reports a stable order.
func (l layer) sortedKeys() []string {
	keys := make([]string, 0, len(l.values))
	for k := range l.values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
