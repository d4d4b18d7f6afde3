package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/providers/authserver/seal"
)

// documents returns all Markdown files, by their path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	walk(t, func(path string) {
		if strings.HasSuffix(path, ".md") {
			found[path] = read(t, path)
		}
	})
	if len(found) < 10 {
		t.Fatalf("only %d documents were found", len(found))
	}
	return found
}

// walk calls visit with the path from the root of every file outside folders of git, npm and testdata.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "testdata"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestDocuments_READMEIsShort(t *testing.T) {
	t.Parallel()
	const limit = 190
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > limit {
		t.Errorf("README.md has %d lines, the limit is %d: details belong in the README of their folder", lines, limit)
	}
}

var commandLine = regexp.MustCompile(`(?m)^    (\S.*)$`)

// commandsOf returns the commands of a document: the indented lines, continued ones joined.
func commandsOf(text string) []string {
	var commands []string
	quoted := false // in an argument of several lines
	for _, match := range commandLine.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", " "), -1) {
		if !quoted {
			commands = append(commands, match[1])
		}
		if strings.Count(match[1], "'")%2 == 1 {
			quoted = !quoted
		}
	}
	return commands
}

// The commands in documents exist and have a valid configuration, as far as that can be checked without a network.
// cmd/smoke runs those for Docker.
func TestDocuments_CommandsAreValid(t *testing.T) {
	t.Parallel()
	// The programs that documents may run, each with a check of its arguments.
	known := map[string]func(t *testing.T, args []string){
		"go":                     goCommandIsValid,
		"docker":                 composeCommandIsValid,
		"kubectl":                kubectlCommandIsValid,
		"mkdir":                  func(*testing.T, []string) {},
		"openssl":                func(*testing.T, []string) {},
		"chmod":                  func(*testing.T, []string) {},
		"curl":                   func(*testing.T, []string) {},
		".ci/run":                func(t *testing.T, _ []string) { exists(t, ".ci/run") },
		"cmd/conformance/run.sh": func(t *testing.T, _ []string) { exists(t, "cmd/conformance/run.sh") },
		"cmd/conformance/agents.sh": func(t *testing.T, _ []string) {
			exists(t, "cmd/conformance/agents.sh")
		},
		"cmd/conformance/broker.sh": func(t *testing.T, _ []string) {
			exists(t, "cmd/conformance/broker.sh")
		},
		"cmd/conformance/provider.sh": func(t *testing.T, _ []string) {
			exists(t, "cmd/conformance/provider.sh")
		},
		"cmd/conformance/upstreams.sh": func(t *testing.T, _ []string) {
			exists(t, "cmd/conformance/upstreams.sh")
		},
		"cmd/conformance/prometheus.sh": func(t *testing.T, _ []string) {
			exists(t, "cmd/conformance/prometheus.sh")
		},
		"cmd/conformance/pages/run.sh": func(t *testing.T, _ []string) { exists(t, "cmd/conformance/pages/run.sh") },
	}
	seen := 0
	for document, text := range documents(t) {
		for _, command := range commandsOf(withoutFences(text)) {
			if isLogLine.MatchString(command) {
				continue
			}
			for _, part := range strings.Split(command, " && ") {
				seen++
				t.Run(document+" "+part, func(t *testing.T) {
					environ, args := split(part)
					check, ok := known[args[0]]
					if !ok {
						t.Fatalf("no check for the program %q", args[0])
					}
					if args[0] == "go" && len(args) > 2 && args[1] == "run" && args[2] == "./cmd/gatehouse" {
						gatehouseCommandIsValid(t, environ, args[3:])
						return
					}
					check(t, args[1:])
				})
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d commands were found", seen)
	}
}

var (
	isLogLine = regexp.MustCompile(`^(level=|mcp\.method=)`)
	fence     = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

func withoutFences(text string) string { return fence.ReplaceAllString(text, "") }

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// split returns the variables in front of a command and its words, without pipes and redirections.
func split(command string) (environ, args []string) {
	args = strings.Fields(command)
	for len(args) > 0 && assignment.MatchString(args[0]) {
		environ, args = append(environ, args[0]), args[1:]
	}
	if i := slices.IndexFunc(args, func(s string) bool { return s == ">" || s == "|" }); i >= 0 {
		args = args[:i]
	}
	for i := range args {
		args[i] = strings.Trim(args[i], "'")
	}
	return environ, args
}

func exists(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		t.Error(err)
	}
}

// kubectlCommandIsValid checks that what is applied is there. Secrets are files of the user.
func kubectlCommandIsValid(t *testing.T, args []string) {
	t.Helper()
	if args[0] == "apply" {
		exists(t, args[len(args)-1])
	}
}

// goCommandIsValid checks that the packages exist and that test names match a test.
func goCommandIsValid(t *testing.T, args []string) {
	t.Helper()
	for i, arg := range args {
		switch folder, isFolder := strings.CutPrefix(arg, "./"); {
		case isFolder && folder != "...":
			exists(t, folder)
		case i > 0 && args[i-1] == "-run" && strings.HasPrefix(arg, "Test"):
			if !testNames(t)[arg] {
				t.Errorf("there is no %s", arg)
			}
		}
	}
}

// gatehouseCommandIsValid loads the configuration of a command.
func gatehouseCommandIsValid(t *testing.T, environ, args []string) {
	t.Helper()
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	var flags *pflag.FlagSet
	var upstream *configs.Run
	switch name {
	case "serve", "config", "doctor":
		flags = configs.Flags()
	case "run":
		flags, upstream = configs.Flags(), &configs.Run{}
		flags.StringVar(&upstream.URL, "url", "", "")
	case "upstream":
		if len(args) == 0 || args[0] != "list" && args[0] != "pin" {
			t.Fatalf("there is no command upstream %v", args)
		}
		flags, args = configs.Flags(), args[1:]
	case "token":
		if len(args) == 0 || args[0] != "get" && args[0] != "inspect" {
			t.Fatalf("there is no command token %v", args)
		}
		flags, args = configs.Flags(), args[1:]
	case "deny":
		flags := pflag.NewFlagSet("deny", pflag.ContinueOnError)
		f := newDenyFlags(flags)
		if err := errors.Join(flags.Parse(args), f.check(flags, time.Now())); err != nil {
			t.Error(err)
		}
		return
	case "secret":
		if len(args) != 1 || strings.HasPrefix(args[0], "-") {
			t.Errorf("secret %v does not create a file", args)
		}
		return
	case "issuer": // Its own flags; cmd/gatehouse/testdata runs it.
		return
	default:
		t.Fatalf("there is no command %s", name)
	}
	profile := flags.String("config", "", "")
	flags.String("token-file", "", "")
	configs.AddUpstreamFlags(flags, args)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	sources := configs.Sources{Environ: environ, Flags: map[string]string{}, Run: upstream, IgnorePins: true,
		ReadFile: func(name string) ([]byte, error) {
			if strings.HasPrefix(name, "secrets/") { // the document has the commands that create them
				return []byte(seal.NewSecret()), nil
			}
			return os.ReadFile(name)
		}}
	if upstream != nil {
		upstream.Command = flags.Args()
	}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "token-file" && f.Name != "url" {
			sources.Flags[f.Name] = strings.Trim(f.Value.String(), "[]")
		}
	})
	if *profile != "" {
		sources.Profile = filepath.Join(root, *profile)
	}
	if _, err := configs.Load(sources); err != nil {
		t.Error(err)
	}
}

// The profiles in documents that have upstreams are valid, apart from the files that they name.
func TestDocuments_UpstreamsAreValid(t *testing.T) {
	t.Parallel()
	found := 0
	for document, text := range documents(t) {
		for _, match := range yamlBlock.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(match[1], "upstreams:") {
				continue
			}
			found++
			_, err := configs.Load(configs.Sources{Profile: document, ReadFile: func(name string) ([]byte, error) {
				if name == document {
					return []byte("provider.kind: local\n" + match[1]), nil
				}
				return []byte("NAME=value"), nil
			}, IgnorePins: true})
			if err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d profiles were found", found)
	}
}

// The whole profiles in documents are valid, apart from the files that they name.
func TestDocuments_ProfilesAreValid(t *testing.T) {
	t.Parallel()
	found := 0
	for document, text := range documents(t) {
		for _, match := range yamlBlock.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(match[1], "resource:") {
				continue
			}
			found++
			_, err := configs.Load(configs.Sources{Profile: document, ReadFile: func(name string) ([]byte, error) {
				if name == document {
					return []byte(match[1]), nil
				}
				return []byte(seal.NewSecret()), nil
			}})
			if err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	if found == 0 {
		t.Error("no profile was found")
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// composeCommandIsValid checks that services and profiles are in docker-compose.yml.
func composeCommandIsValid(t *testing.T, args []string) {
	t.Helper()
	if args[0] != "compose" {
		return // docker build; cmd/smoke builds the image
	}
	stack := read(t, "docker-compose.yml")
	for i, arg := range args {
		switch {
		case args[i-min(i, 1)] == "--profile" && arg != "--profile" && arg != "*":
			if !regexp.MustCompile(`(?m)^    profiles: \[.*\b` + arg + `\b.*\]`).MatchString(stack) {
				t.Errorf("docker-compose.yml has no profile %s", arg)
			}
		case strings.HasPrefix(arg, "smoke"), strings.HasPrefix(arg, "edge:"):
			service, _, _ := strings.Cut(arg, ":")
			if !strings.Contains(stack, "\n  "+service+":\n") {
				t.Errorf("docker-compose.yml has no service %s", service)
			}
		}
	}
}

// Users paste the JSON of README.md into the configuration of their client.
func TestDocuments_JSONNamesDefaultURL(t *testing.T) {
	t.Parallel()
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`(\\{.*\\})`").FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(found) != 3 {
		t.Errorf("README.md has %d pieces of JSON, want 3: for Claude Desktop, Cursor and VS Code", len(found))
	}
	for _, match := range found {
		var pasted map[string]map[string]any
		if err := json.Unmarshal([]byte(match[1]), &pasted); err != nil || len(pasted) != 1 {
			t.Errorf("%s: %v", match[1], err)
		}
		if !strings.Contains(match[1], `"`+cfg.Resource.String()+`"`) {
			t.Errorf("%s does not name %s", match[1], cfg.Resource)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	anchor  = regexp.MustCompile(`<a id="([^"]+)"></a>`)
)

// anchorsOf returns the anchors of a document, those that GitHub derives from headings included.
func anchorsOf(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(withoutFences(text), -1) {
		id := strings.ReplaceAll(strings.ToLower(match[1]), " ", "-")
		anchors[regexp.MustCompile(`[^\pL\pN_-]`).ReplaceAllString(id, "")] = true
	}
	for _, match := range anchor.FindAllStringSubmatch(text, -1) {
		anchors[match[1]] = true
	}
	return anchors
}

func TestDocuments_LinksResolve(t *testing.T) {
	t.Parallel()
	all := documents(t)
	for document, text := range all {
		for _, match := range link.FindAllStringSubmatch(withoutFences(text), -1) {
			target, err := url.Parse(match[1])
			if err != nil || target.IsAbs() {
				continue
			}
			path := document
			if target.Path != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(document), target.Path))
			}
			info, err := os.Stat(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%s links to %s: %v", document, match[1], err)
				continue
			}
			if info.IsDir() {
				path += "/README.md"
			}
			if target.Fragment != "" && !anchorsOf(all[path])[target.Fragment] {
				t.Errorf("%s links to %s, but %s has no such anchor", document, match[1], path)
			}
		}
	}
}

// The program and its comments name documents by their path.
func TestDocuments_NamedByCodeExist(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`[\w./-]*(?:README|CONTRIBUTING|RULES|SECURITY|BENCHMARKS)\.md`)
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".yml") || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, name := range named.FindAllString(read(t, path), -1) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s names %s: %v", path, name, err)
			}
		}
	})
}

var declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)

// testNames returns the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, match := range declared.FindAllStringSubmatch(read(t, path), -1) {
			names[match[1]] = true
		}
	})
	return names
}

func TestDocuments_NamedTestsExist(t *testing.T) {
	t.Parallel()
	names := testNames(t)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)`")
	for document, text := range documents(t) {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			if !names[match[1]] {
				t.Errorf("%s names %s, which does not exist", document, match[1])
			}
		}
	}
}
