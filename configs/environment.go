package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"gatehouse/providers"
)

const (
	envPrefix = "GATEHOUSE_"
	dotEnv    = ".env"

	environOrigin = "environment variable " // followed by the name
)

func environVariables(environ []string) []variable {
	var variables []variable
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		variables = append(variables, variable{name, value, environOrigin + name})
	}
	return variables
}

// dotEnvVariables reads .env in dir. A missing file is no problem.
func (l *loader) dotEnvVariables(dir string) ([]variable, Problems) {
	if dir == "" {
		return nil, nil
	}
	content, err := l.readFile(filepath.Join(dir, dotEnv))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	const origin = "working directory"
	if err != nil {
		return nil, Problems{{Key: dotEnv, Origin: origin, Code: providers.CodeUnreadableFile,
			Reason: "it cannot be read: " + reasonOf(err),
			Fix:    "let the user who runs gatehouse read it, or remove it"}}
	}
	text, err := DecodeText(content)
	if err != nil {
		return nil, Problems{{Key: dotEnv, Origin: origin, Code: providers.CodeInvalidSyntax,
			Reason: err.Error(), Fix: "save it as UTF-8, or remove the file"}}
	}
	values, err := parseDotEnv(text)
	if err != nil {
		return nil, Problems{{Key: dotEnv, Origin: origin, Code: providers.CodeInvalidSyntax,
			Reason: err.Error(), Fix: "write NAME=value, one on each line, or remove the file"}}
	}
	var variables []variable
	for _, name := range slices.Sorted(maps.Keys(values)) { // names that differ in case have a fixed order
		variables = append(variables, variable{name, values[name], name + " in " + dotEnv})
	}
	return variables, nil
}

// parseDotEnv parses variables. The errors of the parser quote the rest of the file with all its secrets, so
// the error of parseDotEnv only has a line: the first up to which the file cannot be parsed.
func parseDotEnv(content string) (map[string]string, error) {
	// The parser silently drops a name without a value on a last line without a line end.
	variables, err := godotenv.Unmarshal(content + "\n")
	_, nameless := variables[""]
	if err == nil && !nameless {
		return variables, nil
	}
	good, lines := 0, strings.SplitAfter(content, "\n")
	for n := range lines {
		read, err := godotenv.Unmarshal(strings.Join(lines[good:n+1], "") + "\n")
		if _, nameless := read[""]; err == nil && !nameless {
			good = n + 1 // a value in quotes may have several lines
		}
	}
	return nil, fmt.Errorf("line %d is invalid: it has no NAME=, or a quote is not closed", good+1)
}

// misspelledPrefixes reports variables that are not read although they name a setting: GATEHOSE_LOG__LEVEL.
func (l *loader) misspelledPrefixes(variables []variable) Problems {
	var problems Problems
	for _, v := range variables {
		prefix, rest, _ := strings.Cut(v.name, "_")
		key := strings.ReplaceAll(strings.ToLower(rest), "__", ".")
		isNear := len(prefix) < 2*len(envPrefix) && distance(strings.ToUpper(prefix)+"_", envPrefix) <= 2
		if prefix+"_" == envPrefix || v.value == "" || !isNear || !slices.Contains(l.candidates(key), key) {
			continue
		}
		problems = append(problems, Problem{Key: keyText(v.name), Origin: v.origin, Code: providers.CodeUnknownKey,
			Reason: "it is not read: the names of settings begin with " + envPrefix + ", in capital letters",
			Fix:    "did you mean " + envLayer(nil).spell(key) + "?"})
	}
	return problems
}

// Kubernetes sets variables in every pod for each Service of the namespace, and those of Services whose names
// begin with gatehouse look like ours. None has the double underscore of a setting. NAME_PORT is one of them
// only if its value is a URL: GATEHOUSE_PORT=8080 is a mistake that must be reported.
var (
	serviceLink = regexp.MustCompile(
		`^GATEHOUSE_([A-Z0-9]+_)*(SERVICE_(HOST|PORT(_[A-Z0-9]+)*)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	servicePort = regexp.MustCompile(`^GATEHOUSE_([A-Z0-9]+_)*PORT=(tcp|udp|sctp)://`)
)

// envLayer takes the variables with our prefix. An empty variable counts as unset: compose files pass on
// variables that are not set as empty ones.
func envLayer(variables []variable) layer {
	l := newLayer(true, func(key string) string {
		return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
	})
	for _, v := range variables {
		short, ours := strings.CutPrefix(v.name, envPrefix)
		isService := serviceLink.MatchString(v.name) || servicePort.MatchString(v.name+"="+v.value)
		if !ours || v.value == "" || isService {
			continue
		}
		l.set(strings.ReplaceAll(strings.ToLower(short), "__", "."), v.value, v.origin)
	}
	return l
}
