package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"gatehouse/configs"
)

// newFlags returns a flag set whose help text begins with about.
func newFlags(name, about string, c console) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard) // parse prints errors
	flags.Usage = func() {
		fmt.Fprintf(c.stdout, "%s\n\nUsage:\n  gatehouse %s [flags]\n\nFlags:\n%s",
			about, name, flags.FlagUsagesWrapped(120))
	}
	return flags
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

// settingsFlags adds --config and a flag for every setting. It returns a function that loads the configuration, to be
// called after the flags were parsed.
func settingsFlags(flags *pflag.FlagSet, c console) func() (*configs.Config, error) {
	profile := flags.String("config", "", "profile file (default: $GATEHOUSE_CONFIG, else the built-in local profile)")
	settings := configs.Flags()
	flags.AddFlagSet(settings)
	return func() (*configs.Config, error) {
		set := map[string]string{}
		flags.Visit(func(f *pflag.Flag) {
			if settings.Lookup(f.Name) != nil {
				set[f.Name] = f.Value.String()
			}
		})
		return configs.Load(configs.Sources{
			Profile: *profile, Dir: c.dir, Environ: c.environ, Flags: set, MemoryLimit: c.memoryLimit,
		})
	}
}

// loadConfig parses args and loads the configuration. If the command must end, done is true and code is its exit code.
func loadConfig(flags *pflag.FlagSet, args []string, c console) (cfg *configs.Config, code int, done bool) {
	load := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return nil, code, true
	}
	cfg, err := load()
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %v", err)
		return nil, exitConfig, true
	}
	return cfg, exitOK, false
}

const settingsHelp = `Settings come from a profile file, .env, the environment (GATEHOUSE_SERVER__LISTEN for
server.listen) and the command line; later sources override earlier ones. Secrets can be in files:
GATEHOUSE_..._FILE.`
