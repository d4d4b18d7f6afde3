package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"gatehouse/configs"
)

// newFlags returns a flag set whose help begins with about.
func newFlags(name, about string, c console) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard) // errors are printed once, by parse
	flags.Usage = func() {
		fmt.Fprintf(c.stdout, "%s\n\nUsage:\n  gatehouse %s [flags]\n\nFlags:\n%s", about, name, flags.FlagUsagesWrapped(120))
	}
	return flags
}

// parse reads args. If the command must end now, done is true and code says how.
func parse(flags *pflag.FlagSet, args []string, c console) (code int, done bool) {
	code, done = parseAlone(flags, args, c)
	if !done && flags.NArg() > 0 {
		fmt.Fprintf(c.stderr, "gatehouse %s: %q is not a flag, and the command takes nothing else (values stand behind =, as in --tools.show_all=true)\n", flags.Name(), flags.Arg(0))
		return exitConfig, true
	}
	return code, done
}

// parseAlone is parse for commands that look themselves at what stands beside the flags.
func parseAlone(flags *pflag.FlagSet, args []string, c console) (code int, done bool) {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK, true
	case err != nil:
		fmt.Fprintf(c.stderr, "gatehouse %s: %v%s\n`gatehouse %s --help` lists the flags\n", flags.Name(), err, fix(flags, err), flags.Name())
		return exitConfig, true
	}
	return 0, false
}

// fix is what to write instead of a flag that does not exist.
func fix(flags *pflag.FlagSet, err error) string {
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

// settingsFlags adds --config and a flag for every setting, and returns a function that loads the configuration once the
// flags were parsed.
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
		return configs.Load(configs.Sources{Profile: *profile, Dir: c.dir, Environ: c.environ, Flags: set, MemoryLimit: c.memoryLimit})
	}
}

// configured reads args and loads the configuration. If the command must end now, done is true and code says how.
func configured(flags *pflag.FlagSet, args []string, c console) (cfg *configs.Config, code int, done bool) {
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

const settingsHelp = `Every setting can stand in a profile file, in .env, in the environment (server.listen is
GATEHOUSE_SERVER__LISTEN) or on the command line; the later wins. Secrets can stand in files: GATEHOUSE_..._FILE.`
