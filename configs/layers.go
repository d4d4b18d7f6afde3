package configs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/joho/godotenv"
)

const (
	envPrefix = "GATEHOUSE_"
	// configKey is not a setting: it names the profile, as the flag --config or the variable GATEHOUSE_CONFIG.
	configKey = "config"
	dotEnv    = ".env"
)

// Sources says where to look. Later ones win: defaults, preset, profile, .env, environment, flags.
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
	// MemoryLimit is how much memory the process may use, in bytes; 0 means that there is no limit.
	MemoryLimit int64
}

// layer is one source: values by flat key, and where each came from in words.
type layer struct {
	values  map[string]any
	origins map[string]string
	// textual is true where every value is text, so that lists and numbers must be read from it.
	textual bool
	// spell says how a key is written in this source.
	spell func(key string) string
	// onlyFor is the kind of provider that the layer is read for, with the problems that it has then; empty for any.
	onlyFor  string
	problems Problems
	// assumed is true where nobody chose the kind of provider: in a built-in profile, and where it was guessed.
	assumed bool
}

func newLayer(textual bool, spell func(key string) string) layer {
	return layer{values: map[string]any{}, origins: map[string]string{}, textual: textual, spell: spell}
}

func (l layer) set(key string, value any, origin string) {
	l.values[key], l.origins[key] = value, origin
}

// sortedKeys gives reports a stable order.
func (l layer) sortedKeys() []string { return slices.Sorted(maps.Keys(l.values)) }

// read returns all layers but the defaults and the preset, which the others name, and the legacy variables among them. What
// cannot even be read is a problem of its own.
func read(s Sources) ([]layer, map[string]variable, Problems) {
	fromFile, problems := dotEnvVariables(s.Dir)
	fromEnvironment := environVariables(s.Environ)
	problems = append(problems, oldSDK(fromEnvironment)...)
	dot, environment := envLayer(fromFile), envLayer(fromEnvironment)
	flags := newLayer(true, func(key string) string { return "--" + key })
	for name, value := range s.Flags {
		flags.set(name, value, "flag "+flags.spell(name))
	}
	legacy := legacyVariables(fromFile, fromEnvironment)

	path, named := s.Profile, "flag --"+configKey
	for _, l := range []layer{environment, dot} {
		if value, ok := l.values[configKey].(string); ok && path == "" {
			path, named = value, l.origins[configKey]
		}
		delete(l.values, configKey)
	}
	builtIn := defaultProfile
	if _, _, ok := identifiesKind(legacy); ok {
		builtIn = legacyProfile
	}
	profile, more := profileLayer(path, named, builtIn)
	problems = append(problems, more...)
	aliases := legacyLayers(legacy, resourceSaid(legacy, profile, dot, environment, flags), dot, environment)
	return slices.Concat([]layer{impliedKind(legacy), profile, dot}, aliases, []layer{environment, flags}), legacy, problems
}

func environVariables(environ []string) []variable {
	var variables []variable
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		variables = append(variables, variable{name, value, "environment variable " + name})
	}
	return variables
}

func dotEnvVariables(dir string) ([]variable, Problems) {
	if dir == "" {
		return nil, nil
	}
	content, err := os.ReadFile(filepath.Join(dir, dotEnv))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Problems{{Key: dotEnv, Origin: "working directory", Reason: "it cannot be read: " + reasonOf(err),
			Fix: "let the user who runs gatehouse read it, or remove it"}}
	}
	named, err := parseDotEnv(string(content))
	if err != nil {
		return nil, Problems{{Key: dotEnv, Origin: "working directory", Reason: err.Error(), Fix: "write NAME=value, one a line, or remove the file"}}
	}
	var variables []variable
	for _, name := range slices.Sorted(maps.Keys(named)) { // which of two spellings of one name counts must not be left to chance
		variables = append(variables, variable{name, named[name], name + " in " + dotEnv})
	}
	return variables, nil
}

// parseDotEnv reads variables. The parser's own errors quote the rest of the file with all secrets in it, so the error
// names the line only: the first one up to which the file cannot be read.
func parseDotEnv(content string) (map[string]string, error) {
	// A name alone on a last line without an end would be dropped without a word.
	variables, err := godotenv.Unmarshal(content + "\n")
	_, nameless := variables[""]
	if err == nil && !nameless {
		return variables, nil
	}
	good, lines := 0, strings.SplitAfter(content, "\n")
	for n := range lines {
		read, err := godotenv.Unmarshal(strings.Join(lines[good:n+1], "") + "\n")
		if _, nameless := read[""]; err == nil && !nameless {
			good = n + 1 // a value in quotes may take several lines
		}
	}
	return nil, errors.New("line " + strconv.Itoa(good+1) + " cannot be read: there is no NAME= in it, or a quote does not end")
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// Kubernetes puts variables into every pod for each Service of the namespace, and those of Services whose names begin
// with gatehouse look like ours. None has the double underscore of a setting. NAME_PORT is one of them only if it holds
// a URL: somebody who writes GATEHOUSE_PORT=8080 must hear that there is no such setting.
var (
	serviceLink = regexp.MustCompile(`^GATEHOUSE_([A-Z0-9]+_)*(SERVICE_(HOST|PORT(_[A-Z0-9]+)*)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	servicePort = regexp.MustCompile(`^GATEHOUSE_([A-Z0-9]+_)*PORT=(tcp|udp|sctp)://`)
)

// envLayer takes the variables with our prefix. An empty variable counts as unset: compose files pass on variables
// that nobody set as empty ones.
func envLayer(variables []variable) layer {
	l := newLayer(true, func(key string) string {
		return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
	})
	for _, v := range variables {
		short, ours := strings.CutPrefix(v.name, envPrefix)
		if !ours || v.value == "" || serviceLink.MatchString(v.name) || servicePort.MatchString(v.name+"="+v.value) {
			continue
		}
		l.set(strings.ReplaceAll(strings.ToLower(short), "__", "."), v.value, v.origin)
	}
	return l
}

// fileSuffix makes the name of a setting that says which file a secret stands in.
const fileSuffix = "_file"

// readSecrets replaces every *_file entry that belongs to a secret with the content of the file, so that a secret need
// not stand in a profile or in the environment.
func (l layer) readSecrets(keys []Key) Problems {
	var problems Problems
	for _, key := range keys {
		name := key.Name + fileSuffix
		value, ok := l.values[name]
		if !key.IsSecret() || !ok {
			continue
		}
		origin := l.origins[name]
		delete(l.values, name)
		path, isText := value.(string)
		if _, twice := l.values[key.Name]; twice {
			problems = append(problems, Problem{Key: name, Origin: origin, Reason: l.spell(key.Name) + " is set beside it", Fix: "keep one of them"})
			continue
		}
		if !isText {
			problems = append(problems, Problem{Key: name, Origin: origin, Reason: "it is " + inWords(value) + ", not the name of a file", Fix: "name the file with the secret in it, in quotes"})
			continue
		}
		secret, err := ReadSecret(path)
		if err != nil {
			shown := quoteValue(path)
			if !strings.ContainsRune(path, filepath.Separator) {
				shown = redacted // it may well be the secret itself, in the wrong place
			}
			problems = append(problems, Problem{Key: name, Value: shown, Origin: origin, Reason: err.Error(),
				Fix: "name a file that the user who runs gatehouse can read, with the secret in it; the secret itself belongs into " + l.spell(key.Name)})
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
	if strings.TrimSpace(secret) == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}
