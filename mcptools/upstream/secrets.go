package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gatehouse/providers"
)

const redacted = "[redacted]"

// Command is a program and its arguments. It is formatted without arguments that look like secrets.
type Command []string

// ParseText parses the command as it is written in the environment and in flags: a JSON array.
func (Command) ParseText(text string) ([]string, error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "[") {
		return nil, errors.New("it is not a JSON array")
	}
	return parseArray(text)
}

// Redacted returns the entries as they may be shown.
func (c Command) Redacted() []string {
	shown := make([]string, len(c))
	hidden := false // the entry before says that this one is a secret
	for i, arg := range c {
		switch {
		case hidden && !strings.HasPrefix(arg, "-"):
			shown[i], hidden = redacted, false
		default:
			shown[i], hidden = redactArgument(arg), i > 0 && announcesSecret(arg)
		}
	}
	return shown
}

// Text returns the entries as a JSON array, without secrets.
func (c Command) Text() string {
	if len(c) == 0 {
		return ""
	}
	return arrayText(c.Redacted())
}

// Example is a command in the form of [Command.ParseText].
func (Command) Example() string { return `["npx", "-y", "some-server"]` }

// String implements fmt.Stringer.
func (c Command) String() string {
	shown := c.Redacted()
	for i, arg := range shown {
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool { return !isPlain(r) }) {
			shown[i] = strconv.QuoteToASCII(arg)
		}
	}
	return strings.Join(shown, " ")
}

// Format implements fmt.Formatter, so that no verb shows more than String.
func (c Command) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

func isPlain(r rune) bool { return r > ' ' && r <= '~' && r != '"' && r != '\'' && r != '\\' }

// Environment are variables of a process, NAME=VALUE. It is formatted without the values.
type Environment []string

// ParseText parses the variables as they are written in the environment and in flags: with commas between them, or as
// a JSON array if a value has a comma.
func (Environment) ParseText(text string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		return parseArray(text)
	}
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

// Redacted returns the variables as they may be shown: an operator may have written a secret here.
func (e Environment) Redacted() []string {
	shown := make([]string, len(e))
	for i, variable := range e {
		name, _, hasValue := strings.Cut(variable, "=")
		if shown[i] = redacted; hasValue && isVariable(name) {
			shown[i] = name + "=" + redacted
		}
	}
	return shown
}

// Text returns the names of the variables.
func (e Environment) Text() string { return strings.Join(e.Redacted(), ",") }

// Example is a list of variables in the form of [Environment.ParseText].
func (Environment) Example() string { return `["LOG_LEVEL=warn"]` }

// String implements fmt.Stringer.
func (e Environment) String() string { return e.Text() }

// Format implements fmt.Formatter, so that no verb shows more than String.
func (e Environment) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// arrayText returns a JSON array.
func arrayText(list []string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(list) // text cannot fail
	return strings.TrimSpace(b.String())
}

// parseArray parses a JSON array of strings. The error does not quote it.
func parseArray(text string) ([]string, error) {
	var list []*string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, errors.New("it is not a JSON array of strings")
	}
	entries := make([]string, len(list))
	for i, entry := range list {
		if entry == nil {
			return nil, fmt.Errorf("entry %d of the array is null", i+1)
		}
		entries[i] = *entry
	}
	return entries, nil
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

func isVariable(name string) bool { return variablePattern.MatchString(name) }

// IsSecretName reports whether the name of a variable or argument says that its value is a secret.
func IsSecretName(name string) bool { return secretName.MatchString(name) }

var (
	secretName = regexp.MustCompile(`(?i)secret|token|passw|passphrase|pwd|credential|bearer|cookie|auth|` +
		`(^|[-_.])(api|access|private|signing|encryption)?[-_]?key$|apikey|(^|[-_])dsn$|` +
		`(database|connection)[-_]?(url|string)`)
	headerFlag = regexp.MustCompile(`^(-H|--?headers?)$`)
	// secretShape matches values that providers give out as secrets: GitHub, GitLab, Slack, AWS, OpenAI and Anthropic,
	// Google, Stripe, npm, JWTs.
	secretShape = regexp.MustCompile(`(gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|AKIA|sk-|AIza|[rs]k_live_|npm_|eyJ)` +
		`[A-Za-z0-9_.-]{12,}`)
	schemeShape = regexp.MustCompile(`(?i)\b(bearer|basic|token)\s+\S+`)
	headerShape = regexp.MustCompile(`^([A-Za-z0-9-]+):\s*\S`)
)

// announcesSecret reports whether the argument after arg is a secret: --api-key VALUE.
func announcesSecret(arg string) bool {
	return strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") &&
		(IsSecretName(strings.TrimLeft(arg, "-")) || headerFlag.MatchString(arg))
}

// redactArgument returns an argument without what looks like a secret.
func redactArgument(arg string) string {
	name, value, isAssignment := strings.Cut(arg, "=")
	switch {
	case isAssignment && value != "" && !strings.Contains(name, "://") &&
		(IsSecretName(strings.TrimLeft(name, "-")) || headerFlag.MatchString(name)):
		return name + "=" + redacted
	case !strings.Contains(arg, "://") && headerShape.MatchString(arg) && IsSecretName(arg[:strings.IndexByte(arg, ':')]):
		return arg[:strings.IndexByte(arg, ':')] + ": " + redacted
	}
	if strings.Contains(arg, "://") {
		arg = providers.RedactURL(arg)
	}
	arg = schemeShape.ReplaceAllString(arg, redacted)
	return secretShape.ReplaceAllString(arg, redacted)
}

// parseEnvFile parses the content of upstreams.NAME.env_file: NAME=VALUE on each line, as docker run --env-file reads
// it. Values are taken as they are. Empty lines and those that begin with # are skipped. The error quotes nothing.
func parseEnvFile(content string) ([]string, error) {
	var variables []string
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, hasValue := strings.Cut(line, "=")
		switch {
		case !hasValue || !isVariable(name):
			return nil, fmt.Errorf("line %d is not NAME=VALUE", number)
		case len(value) > 1 && value[0] == value[len(value)-1] && strings.IndexByte(`"'`, value[0]) >= 0:
			return nil, fmt.Errorf("line %d has quotes around the value, which belong to it", number)
		}
		variables = append(variables, name+"="+value)
	}
	return variables, nil
}
