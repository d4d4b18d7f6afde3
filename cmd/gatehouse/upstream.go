package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
)

func upstreamCommands() []command {
	return []command{
		{name: "list", summary: "list the tools of all upstreams, and which of them are offered", run: upstreamList},
		{name: "pin", summary: "write the definitions of an upstream's tools to a file for review", run: upstreamPin,
			arguments: upstreamPinArguments},
	}
}

const upstreamListHelp = `Connect to each upstream and list its tools: those that are offered, with the scopes that
a call needs, and the others, with the reason. The exit code is 6 if an upstream does not answer.

`

func upstreamList(ctx context.Context, args []string, c console) int {
	flags := newFlags("upstream list", upstreamListHelp+settingsHelp, c)
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	cfg, code, done := c.loadWithoutPins(settings())
	if done {
		return code
	}
	if len(cfg.Upstreams) == 0 {
		fmt.Fprint(c.stdout, "There are no upstreams: set upstreams.NAME.command or upstreams.NAME.url.\n")
	}
	for i, u := range cfg.Upstreams {
		if i > 0 {
			fmt.Fprintln(c.stdout)
		}
		found, err := c.look(ctx, cfg, u)
		if err != nil {
			fmt.Fprintf(c.stdout, "%s  %s\n", u.Name, u.Target())
			fmt.Fprintf(c.stderr, "gatehouse upstream list: %s\n", upstreamError(cfg, err))
			code = exitUpstream
			continue
		}
		c.listUpstream(cfg, u, found)
	}
	return code
}

// listUpstream prints what an upstream has.
func (c console) listUpstream(cfg *configs.Config, u upstream.Settings, found *upstream.Found) {
	offered, refused := found.Offered(u)
	fmt.Fprintf(c.stdout, "%s  %s\n  %s, MCP %s: %s, %d offered\n", u.Name, u.Target(), found.Server, found.Era,
		countOf(len(found.Definitions), "tool"), len(offered))
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	used := map[string]bool{}
	for _, d := range found.Definitions {
		rule, isAskedFor := u.RuleFor(d.Name)
		used[rule.MatchedBy(d.Name)] = true
		text := scopesText(rule.Scopes, cfg.Scopes.Required)
		if i := slices.IndexFunc(refused, func(r upstream.Refusal) bool { return r.Tool == d.Name }); i >= 0 {
			text = "not offered: " + refused[i].Reason
		} else if !isAskedFor {
			text = "not offered: no line of tools names it"
		}
		fmt.Fprintf(t, "    %s\t%s\n", providers.Printable(d.Name, 128), text)
	}
	t.Flush()
	for _, rule := range u.Rules() {
		for _, pattern := range rule.Patterns {
			if !used[pattern] {
				fmt.Fprintf(c.stdout, "    Note: %s in upstreams.%s.tools is the first match of no tool\n",
					providers.Quote(pattern), u.Name)
			}
		}
	}
	if u.Prefix != "" {
		fmt.Fprintf(c.stdout, "    Clients see the names with the prefix %s\n", u.Prefix)
	}
}

const upstreamPinArguments = "NAME"

const upstreamPinHelp = `Connect to the upstream NAME, write the definitions of its offered tools to the file that
upstreams.NAME.pins names, and print what changed. With this file the server starts without the upstream, all replicas
offer the same, and a tool whose definition changes is not called until the file is written again. An edited definition
in the file stays, as long as the upstream does not change that tool.

`

func upstreamPin(ctx context.Context, args []string, c console) int {
	flags := newFlags("upstream pin", upstreamPinHelp+settingsHelp, c, upstreamPinArguments)
	check := flags.Bool("check", false, "write nothing; the exit code is 1 if something changed")
	settings := settingsFlags(flags, c)
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	usage := func(problem string) int {
		fmt.Fprintf(c.stderr, "gatehouse upstream pin: %s\n", problem)
		return exitConfig
	}
	if flags.NArg() != 1 {
		return usage("name one upstream: gatehouse upstream pin " + upstreamPinArguments)
	}
	cfg, code, done := c.loadWithoutPins(settings())
	if done {
		return code
	}
	name := flags.Arg(0)
	i := slices.IndexFunc(cfg.Upstreams, func(u upstream.Settings) bool { return u.Name == name })
	if i < 0 {
		return usage(noUpstream(name, cfg.Upstreams))
	}
	u := cfg.Upstreams[i]
	if u.Pins == "" {
		return usage(fmt.Sprintf("upstreams.%s.pins is not set: set it to the file to write", name))
	}
	failed := func(code int, err error) int {
		fmt.Fprintf(c.stderr, "gatehouse upstream pin: %s\n", upstreamError(cfg, err))
		return code
	}
	before, err := readPins(u.Pins)
	if err != nil {
		return failed(exitFailure, err)
	}
	found, err := c.look(ctx, cfg, u)
	if err != nil {
		return failed(exitUpstream, err)
	}
	now, err := pinsOf(u, found)
	if err != nil {
		return failed(exitFailure, err)
	}
	renewed, changes := before.Renew(now)
	for _, change := range changes {
		fmt.Fprint(c.stdout, change)
	}
	if *check {
		return c.reportCheck(u, changes)
	}
	content, err := renewed.Format()
	if err == nil {
		err = writeWhole(u.Pins, content)
	}
	if err != nil {
		return failed(exitFailure, err)
	}
	fmt.Fprintf(c.stdout, "%s has %s; %d new, gone or changed: review it\n", u.Pins, countOf(len(renewed.Tools), "tool"),
		len(changes))
	return exitOK
}

// pinsOf returns the pins of the tools that u offers.
func pinsOf(u upstream.Settings, found *upstream.Found) (*upstream.Pins, error) {
	offered, _ := found.Offered(u)
	var definitions []json.RawMessage
	for _, d := range offered {
		definitions = append(definitions, d.JSON)
	}
	return upstream.NewPins(found.Server, definitions)
}

func (c console) reportCheck(u upstream.Settings, changes []upstream.Change) int {
	if len(changes) == 0 {
		fmt.Fprintf(c.stdout, "%s is up to date\n", u.Pins)
		return exitOK
	}
	fmt.Fprintf(c.stdout, "%s new, gone or changed in comparison with %s\n", countOf(len(changes), "tool"), u.Pins)
	return exitFailure
}

// readPins returns the pins in a file, or nil if there is no file yet.
func readPins(path string) (*upstream.Pins, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pins, err := upstream.ParsePins(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove the file to pin all tools again", path, err)
	}
	return pins, nil
}

// writeWhole replaces a file in one step: a server that starts meanwhile reads the old content or the new one.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

func noUpstream(name string, all []upstream.Settings) string {
	var names []string
	for _, u := range all {
		names = append(names, u.Name)
	}
	if len(names) == 0 {
		return "there are no upstreams: set upstreams.NAME.command or upstreams.NAME.url"
	}
	text := fmt.Sprintf("there is no upstream %q", name)
	if near := configs.Nearest(name, names); near != "" {
		return text + "; did you mean " + near + "?"
	}
	return text + "; use one of: " + strings.Join(names, ", ")
}

// loadWithoutPins is [load] for commands that write pins, or do not need them.
func (c console) loadWithoutPins(sources configs.Sources) (cfg *configs.Config, code int, done bool) {
	sources.IgnorePins = true
	return load(sources, c)
}

// look connects to an upstream, and ends it again.
func (c console) look(ctx context.Context, cfg *configs.Config, u upstream.Settings) (*upstream.Found, error) {
	logger, _ := c.newLogger(cfg.Log)
	options, err := app.UpstreamOptions(cfg, logger)
	if err != nil {
		return nil, err
	}
	return upstream.Look(ctx, u, options)
}

// upstreamError describes why upstreams cannot be used, with the last lines that their processes wrote, and the fix.
// Other errors are described as they are.
func upstreamError(cfg *configs.Config, err error) string {
	failed := startErrors(err)
	if len(failed) == 0 {
		return err.Error()
	}
	var b strings.Builder
	for i, one := range failed {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "upstreams.%s: %v", one.Name, one.Err)
		if one.Reason != "" {
			fmt.Fprintf(&b, " [%s]", one.Reason)
		}
		for _, line := range one.Output {
			fmt.Fprintf(&b, "\n    its output: %s", line)
		}
		i := slices.IndexFunc(cfg.Upstreams, func(u upstream.Settings) bool { return u.Name == one.Name })
		if fix := one.Fix(cfg.Upstreams[i]); fix != "" {
			fmt.Fprintf(&b, "\n    fix: %s", fix)
		}
	}
	return b.String()
}

// startErrors returns the errors of upstreams in err, which may join several.
func startErrors(err error) []*upstream.StartError {
	switch e := err.(type) {
	case *upstream.StartError:
		return []*upstream.StartError{e}
	case interface{ Unwrap() []error }:
		var all []*upstream.StartError
		for _, inner := range e.Unwrap() {
			all = append(all, startErrors(inner)...)
		}
		return all
	case interface{ Unwrap() error }:
		return startErrors(e.Unwrap())
	}
	return nil
}
