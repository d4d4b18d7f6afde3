// Package upstream offers the tools of other MCP servers, which it runs as processes or calls by HTTP.
package upstream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// Settings are a section "upstreams.NAME" of the configuration: one upstream.
type Settings struct {
	// Name is the name of the section. It is no setting.
	Name string

	Command Command `koanf:"command" reload:"restart" help:"program and arguments of a server on stdio: a list; a JSON array in the environment and in flags"`
	URL     string  `koanf:"url" reload:"restart" help:"URL of a server on HTTP: https, or http where the host is on loopback or a private network"`

	Env Environment `koanf:"env" reload:"restart" help:"variables of the process, NAME=VALUE, in addition to PATH, HOME, LANG and TMPDIR"`
	// EnvFile is the content of the file that the setting names.
	EnvFile providers.Secret `koanf:"env_file" file:"only" reload:"restart" help:"file with more variables, NAME=VALUE on each line: for secrets"`

	Tools  []string `koanf:"tools" reload:"restart" help:"tools to offer and scopes of each, such as read_* list_* > files:read; first match counts"`
	Prefix string   `koanf:"prefix" reload:"restart" help:"prefix of the names of the tools"`

	Processes    string        `koanf:"processes" reload:"restart" values:"shared,per_user" help:"shared: one process; per_user: one for each caller"`
	MaxProcesses int           `koanf:"max_processes" reload:"restart" help:"processes in total with per_user; at the limit an idle one is ended"`
	Idle         time.Duration `koanf:"idle" reload:"restart" help:"idle time after which a process ends, with per_user"`

	CallTimeout     time.Duration `koanf:"call_timeout" reload:"restart" help:"time limit of a call; 0s: mcp.call_timeout"`
	MaxMessageBytes int           `koanf:"max_message_bytes" reload:"restart" help:"size limit of a message from the upstream, in bytes"`

	Identity      string           `koanf:"identity" reload:"restart" values:"none,headers,jwt,meta" help:"how the upstream learns who calls: none; headers or jwt with url; meta (a member of _meta) with command"`
	Authorization providers.Secret `koanf:"authorization" reload:"restart" help:"header Authorization for every request to url; a value of one word is a bearer token"`

	Pins string `koanf:"pins" reload:"restart" help:"file with reviewed definitions of the tools, from gatehouse upstream pin"`
	// Pinned is the content of the file that Pins names; nil without pins.
	Pinned *Pins
}

// The values of upstreams.NAME.processes.
const (
	ProcessesShared  = "shared"
	ProcessesPerUser = "per_user"
)

// The values of upstreams.NAME.identity.
const (
	IdentityNone    = "none"
	IdentityHeaders = "headers"
	IdentityJWT     = "jwt"
	// IdentityMeta puts the claims into _meta: a process is reached by its pipe only.
	IdentityMeta = "meta"
)

// UserPlaceholder in an argument or variable is replaced by the key of the process's user, with [ProcessesPerUser].
const UserPlaceholder = "{user}"

// Limits of settings.
const (
	minMessageBytes = 4 << 10
	maxMessageBytes = 64 << 20
	maxProcesses    = 1000
	maxPrefix       = 32
)

// DefaultSettings returns the default values of the section of the upstream called name.
func DefaultSettings(name string) Settings {
	return Settings{
		Name: name, Command: Command{}, Env: Environment{}, Tools: []string{}, Prefix: name + "_",
		Processes: ProcessesShared, MaxProcesses: 50, Idle: 10 * time.Minute,
		MaxMessageBytes: 4 << 20, Identity: IdentityNone,
	}
}

// namePattern keeps names unambiguous in variables, where __ separates sections, and in prefixes, which end with _.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

// IsName reports whether name can be the name of an upstream.
func IsName(name string) bool { return namePattern.MatchString(name) }

// Environ returns the variables of the process, NAME=VALUE: those of Env, then those of EnvFile, which win.
func (s Settings) Environ() []string {
	variables, _ := parseEnvFile(s.EnvFile.Reveal()) // Validate reports the error
	return slices.Concat([]string(s.Env), variables)
}

// AuthorizationHeader returns the value of the header; empty if there is none.
func (s Settings) AuthorizationHeader() string {
	value := s.Authorization.Reveal()
	if value == "" || strings.Contains(value, " ") {
		return value
	}
	return "Bearer " + value
}

// Target is the command or the URL, without secrets.
func (s Settings) Target() string {
	if s.URL != "" {
		return providers.RedactURL(s.URL)
	}
	return s.Command.String()
}

// Validate reports every invalid setting that can be recognized by this section alone. The key is relative to the
// section.
func (s Settings) Validate(report func(providers.Problem)) {
	add := func(key string, code providers.Code, reason, fix string) {
		report(providers.Problem{Key: key, Code: code, Reason: reason, Fix: fix})
	}
	isProcess := len(s.Command) > 0
	switch {
	case isProcess && s.URL != "":
		add("url", providers.CodeConflict, "command is also set", "keep one of the two")
	case isProcess:
		s.validateProcess(add)
	case s.URL != "":
		s.validateRemote(add)
	default:
		add("command", providers.CodeMissing, "neither command nor url is set",
			`set command to the program and its arguments, such as [npx, some-server], or url`)
	}
	s.validateTools(add)
	s.validateLimits(add)
	if !slices.Contains([]string{ProcessesShared, ProcessesPerUser}, s.Processes) {
		add("processes", providers.CodeUnknownValue, "it is neither shared nor per_user", "use shared or per_user")
	}
	if !slices.Contains([]string{IdentityNone, IdentityHeaders, IdentityJWT, IdentityMeta}, s.Identity) {
		add("identity", providers.CodeUnknownValue, "it is not none, headers, jwt or meta",
			"use none, headers, jwt or meta")
	}
}

// addFunc reports a problem.
type addFunc func(key string, code providers.Code, reason, fix string)

// validateProcess reports settings that do not fit a command.
func (s Settings) validateProcess(add addFunc) {
	if s.Command[0] == "" {
		add("command", providers.CodeInvalidValue, "its first entry, the program, is empty",
			"write the name of a program in PATH, or its path")
	}
	for i, arg := range s.Command {
		if strings.ContainsRune(arg, 0) {
			add("command", providers.CodeInvalidValue, fmt.Sprintf("entry %d contains a NUL byte", i+1), "remove it")
		}
	}
	if strings.Contains(s.Command[0], UserPlaceholder) {
		add("command", providers.CodeNotAllowed, UserPlaceholder+" is part of the program, not of an argument",
			"name the program itself")
	}
	usesUser := func(text string) bool { return strings.Contains(text, UserPlaceholder) }
	if s.Processes == ProcessesShared &&
		(slices.ContainsFunc(s.Command[1:], usesUser) || slices.ContainsFunc(s.Env, usesUser)) {
		add("processes", providers.CodeConflict, UserPlaceholder+" is used, but one process serves all callers",
			"use per_user, or remove "+UserPlaceholder)
	}
	s.validateEnv(add)
	if s.Authorization != "" {
		add("authorization", providers.CodeNoEffect, "a command has no header",
			"give the process its secret as a variable, in env_file")
	}
	if s.Identity == IdentityHeaders || s.Identity == IdentityJWT {
		add("identity", providers.CodeConflict, "a command has no header", "use meta, or none")
	}
	if s.Processes == ProcessesShared && s.MaxProcesses != DefaultSettings(s.Name).MaxProcesses {
		add("max_processes", providers.CodeNoEffect, "there is only one process: processes is shared",
			"remove it, or set processes to per_user")
	}
	if s.Processes == ProcessesShared && s.Idle != DefaultSettings(s.Name).Idle {
		add("idle", providers.CodeNoEffect, "a shared process does not end when it is idle",
			"remove it, or set processes to per_user")
	}
}

func (s Settings) validateEnv(add addFunc) {
	seen := map[string]string{}
	check := func(key string, variables []string) {
		for i, variable := range variables {
			name, value, hasValue := strings.Cut(variable, "=")
			switch {
			case !hasValue || !isVariable(name):
				add(key, providers.CodeInvalidValue, fmt.Sprintf("entry %d is not NAME=VALUE", i+1),
					"write the name of the variable, =, and the value: LOG_LEVEL=warn")
			case strings.ContainsRune(value, 0):
				add(key, providers.CodeInvalidValue, name+" contains a NUL byte", "remove it")
			case seen[name] != "":
				add(key, providers.CodeConflict, name+" is already set in "+seen[name], "keep one of the two")
			default:
				seen[name] = key
			}
		}
	}
	check("env", s.Env)
	variables, err := parseEnvFile(s.EnvFile.Reveal())
	if err != nil {
		add("env_file", providers.CodeInvalidSyntax, err.Error(), "write NAME=VALUE on each line, without quotes around "+
			"the value")
		return
	}
	check("env_file", variables)
}

// validateRemote reports settings that do not fit a URL.
func (s Settings) validateRemote(add addFunc) {
	checkURL(s.URL, add)
	if len(s.Env) > 0 {
		add("env", providers.CodeNoEffect, "with url there is no process", "remove it")
	}
	if s.EnvFile != "" {
		add("env_file", providers.CodeNoEffect, "with url there is no process", "remove it")
	}
	if s.Processes == ProcessesPerUser {
		add("processes", providers.CodeNoEffect, "with url there is no process", "remove it")
	}
	if s.Identity == IdentityMeta {
		add("identity", providers.CodeConflict, "the claims in _meta are not signed: only a process can rely on them",
			"use jwt, or headers in a private network")
	}
}

var prefixPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]*$`)

func (s Settings) validateTools(add addFunc) {
	if len(s.Tools) == 0 {
		add("tools", providers.CodeMissing, "no tool would be offered: each needs a line that names it",
			`name tools and scopes: ["read_* list_* > files:read"]; ["*"] offers all under scopes.required`)
	}
	for i, line := range s.Tools {
		if _, err := ParseToolRule(line); err != nil {
			add("tools", providers.CodeInvalidValue, fmt.Sprintf("line %d: %v", i+1, err),
				"write names of tools, and after > the scopes that a call needs: read_* list_* > files:read")
		}
	}
	if !prefixPattern.MatchString(s.Prefix) || len(s.Prefix) > maxPrefix {
		add("prefix", providers.CodeInvalidValue,
			fmt.Sprintf("it is not at most %d letters, digits, _ and -", maxPrefix), "use a prefix such as "+s.Name+"_")
	}
}

func (s Settings) validateLimits(add addFunc) {
	if s.MaxProcesses < 1 || s.MaxProcesses > maxProcesses {
		add("max_processes", providers.CodeOutOfRange, fmt.Sprintf("it is not between 1 and %d", maxProcesses),
			"use a number such as 50")
	}
	if s.Idle < time.Second || s.Idle > 24*time.Hour {
		add("idle", providers.CodeOutOfRange, "it is not between 1s and 24h", "use a duration such as 10m")
	}
	if s.CallTimeout != 0 && s.CallTimeout < time.Second {
		add("call_timeout", providers.CodeOutOfRange, "it is neither 0s nor at least a second",
			"use a duration such as 30s")
	}
	if s.MaxMessageBytes < minMessageBytes || s.MaxMessageBytes > maxMessageBytes {
		add("max_message_bytes", providers.CodeOutOfRange,
			fmt.Sprintf("it is not between %d and %d", minMessageBytes, maxMessageBytes), "leave it out for the default")
	}
}
