package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"gatehouse/configs"
)

// newFlags returns the flag set of a command. The help text begins with about; arguments are those of
// [command].
func newFlags(name, about string, c console, arguments ...string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard) // parse prints errors
	flags.Usage = func() {
		usage := append([]string{"gatehouse", name}, arguments...)
		usage = append(usage, "[flags]")
		if len(arguments) > 0 && strings.HasPrefix(arguments[0], "--") { // they follow the flags
			usage = append([]string{"gatehouse", name, "[flags]"}, arguments...)
		}
		fmt.Fprintf(c.stdout, "%s\n\nUsage:\n  %s\n", about, strings.Join(usage, " "))
		if name == "serve" {
			printSettings(c.stdout, flags)
			return
		}
		own, settings := splitFlags(flags)
		if own.HasFlags() {
			fmt.Fprintf(c.stdout, "\nFlags:\n%s", own.FlagUsagesWrapped(helpWidth))
		}
		if settings.HasFlags() {
			fmt.Fprint(c.stdout, "\nSettings are flags too, such as --log.level=debug: "+
				"`gatehouse serve --help` lists them.\n")
		}
	}
	return flags
}

const (
	helpWidth = 110
	// isSetting is the annotation of flags that are settings.
	isSetting = "setting"
)

// splitFlags separates the flags of a command from those that are settings.
func splitFlags(flags *pflag.FlagSet) (own, settings *pflag.FlagSet) {
	own = pflag.NewFlagSet("own", pflag.ContinueOnError)
	settings = pflag.NewFlagSet("settings", pflag.ContinueOnError)
	own.SortFlags, settings.SortFlags = false, false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[isSetting] != nil {
			settings.AddFlag(f)
			return
		}
		own.AddFlag(f)
	})
	return own, settings
}

// commonSettings are what most servers set.
func commonSettings() []string {
	return []string{"resource", "server.listen", "provider.kind", "provider.preset", "provider.issuer",
		"scopes.required", "tools.demo", "log.level", "log.format"}
}

// printSettings prints the common flags, and then all settings by section.
func printSettings(w io.Writer, flags *pflag.FlagSet) {
	common, _ := splitFlags(flags)
	for _, name := range commonSettings() {
		common.AddFlag(flags.Lookup(name))
	}
	fmt.Fprintf(w, "\nCommon flags:\n%s", common.FlagUsagesWrapped(helpWidth))
	fmt.Fprint(w, "\nAll settings by section:\n")
	for _, section := range configs.FlagSections() {
		fmt.Fprintf(w, "\n%s\n%s", section.Title, section.Flags.FlagUsagesWrapped(helpWidth))
		for _, variable := range section.Secrets {
			fmt.Fprintf(w, "      a secret has no flag: set %s, or name a file in %s_FILE\n", variable, variable)
		}
	}
}

// parse parses args and refuses arguments that are not flags. If the command must end, done is true and code is its
// exit code.
func parse(flags *pflag.FlagSet, args []string, c console) (code int, done bool) {
	code, done = parseFlags(flags, args, c)
	if !done && flags.NArg() > 0 {
		fmt.Fprintf(c.stderr, "gatehouse %s: %q is not a flag, and the command takes no arguments "+
			"(values follow =, as in --tools.show_all=true)\n", flags.Name(), flags.Arg(0))
		return exitConfig, true
	}
	return code, done
}

// parseFlags is parse for commands that check the remaining arguments themselves.
func parseFlags(flags *pflag.FlagSet, args []string, c console) (code int, done bool) {
	if c.flagsOnly != nil {
		c.flagsOnly(flags)
		return exitOK, true
	}
	addUpstreamFlags(flags, args)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK, true
	case err != nil:
		fmt.Fprintf(c.stderr, "gatehouse %s: %v%s\n`gatehouse %s --help` lists the flags\n",
			flags.Name(), err, suggestion(flags, err), flags.Name())
		return exitConfig, true
	}
	return 0, false
}

// addUpstreamFlags adds the flags of the upstreams that args name, if the settings are flags of the command.
func addUpstreamFlags(flags *pflag.FlagSet, args []string) {
	if _, settings := splitFlags(flags); !settings.HasFlags() {
		return
	}
	found := pflag.NewFlagSet("upstreams", pflag.ContinueOnError)
	configs.AddUpstreamFlags(found, args)
	markSettings(found)
	flags.AddFlagSet(found)
}

func markSettings(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) { f.Annotations = map[string][]string{isSetting: {}} })
}

// suggestion returns what to write instead of an unknown flag, or "".
func suggestion(flags *pflag.FlagSet, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if fix := configs.FlagFix(unknown.GetSpecifiedName(), names); fix != "" {
		return "; " + fix
	}
	return ""
}

// settingsFlags adds --config and a flag for every setting. It returns a function that returns the sources of the
// configuration, to be called after the flags were parsed.
func settingsFlags(flags *pflag.FlagSet, c console) func() configs.Sources {
	profile := flags.String("config", "", "profile file (default: $GATEHOUSE_CONFIG, else the built-in local profile)")
	settings := configs.Flags()
	markSettings(settings)
	flags.AddFlagSet(settings)
	return func() configs.Sources {
		set := map[string]string{}
		flags.Visit(func(f *pflag.Flag) {
			if f.Annotations[isSetting] != nil {
				set[f.Name] = f.Value.String()
			}
		})
		return configs.Sources{
			Profile: *profile, Dir: c.dir, Environ: c.environ, Flags: set, MemoryLimit: c.memoryLimit,
		}
	}
}

// loadConfig parses args and loads the configuration. If the command must end, done is true and code is its exit code.
func loadConfig(flags *pflag.FlagSet, args []string, c console) (cfg *configs.Config, code int, done bool) {
	sources := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return nil, code, true
	}
	return load(sources(), c)
}

// load loads the configuration. If the command must end, done is true and code is its exit code.
func load(s configs.Sources, c console) (cfg *configs.Config, code int, done bool) {
	cfg, err := configs.Load(s)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %v", err)
		return nil, exitConfig, true
	}
	return cfg, exitOK, false
}

const settingsHelp = `Settings come from a profile file, .env, the environment (GATEHOUSE_SERVER__LISTEN for
server.listen) and the command line; later sources override earlier ones. Secrets can be in files:
GATEHOUSE_..._FILE.`
