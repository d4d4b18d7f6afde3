package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

const doctorHelp = `Diagnose a setup that does not work: check the configuration, the provider and, from outside, the
server if it is running. Each check reports what was expected, what was found, and the fix. Nothing is changed, but
upstreams are started for a moment.
Exit code 0 if nothing failed, 1 if a check failed, 2 if the configuration or the command line is invalid.

`

// upstreamTime is how much longer all checks may take by default if there are upstreams: npx asks the registry.
const upstreamTime = 20 * time.Second

func doctorCommand(ctx context.Context, args []string, c console) int {
	flags := newFlags("doctor", doctorHelp+settingsHelp, c)
	var (
		asJSON    = flags.Bool("json", false, "write the results as JSON")
		asReport  = flags.Bool("report", false, "write a text for bug reports: versions, settings and results, no secrets")
		timeout   = flags.Duration("timeout", doctor.DefaultTimeout, "time limit for all checks; 20s more with upstreams")
		tokenFile = flags.String("token-file", "", "file with an access token, to call the server with")
	)
	sources := settingsFlags(flags, c)
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	if refuseArguments("doctor", flags.Args(), c) {
		return exitConfig
	}
	token, problem := doctorToken(*tokenFile)
	switch {
	case *asJSON && *asReport:
		problem = "--json and --report are alternatives; choose one"
	case *timeout < time.Second || *timeout > 5*time.Minute:
		problem = "--timeout is not between 1s and 5m"
	}
	if problem != "" {
		fmt.Fprintf(c.stderr, "gatehouse doctor: %s\n", problem)
		return exitConfig
	}

	about := doctor.About{Version: app.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	var (
		settings []configs.Value
		results  []doctor.Result
		problems configs.Problems
		code     = exitOK
	)
	switch cfg, err := configs.Load(sources()); {
	case errors.As(err, &problems):
		results, code = doctor.Refused(problems), exitConfig
	case err != nil:
		fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
		return exitConfig
	default:
		if len(cfg.Upstreams) > 0 && !flags.Changed("timeout") {
			*timeout += upstreamTime
		}
		settings, about.Resource, about.Provider = cfg.Effective, cfg.Resource.String(), cfg.Kind
		catalog := app.OwnCatalog(cfg, c.catalog(cfg.Tools, mcptools.Stats{}))
		options, err := app.UpstreamOptions(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
			return exitConfig
		}
		cfg.Notes = append(cfg.Notes, app.Notes(cfg, catalog)...)
		results = doctor.Examine(ctx, doctor.Config{
			Settings: cfg, ServerInfo: app.ServerInfo(cfg, catalog, slog.New(slog.DiscardHandler)),
			ToolScopes: providers.MergeScopes(catalog.Scopes(), app.UpstreamScopes(cfg)),
			// The tools of upstreams are not known here. The number only matters if there is none.
			Tools: len(catalog.Tools) + len(cfg.Upstreams), OwnTools: toolNames(catalog),
			Upstreams: options, KeysPath: app.JWKSPath,
			Token: token, LocalHealth: healthURL(cfg), Container: c.inContainer(), Timeout: *timeout,
		})
		if doctor.Failed(results) {
			code = exitFailure
		}
	}
	var err error
	switch {
	case *asJSON:
		err = doctor.WriteJSON(c.stdout, about, results)
	case *asReport:
		err = doctor.WriteReport(c.stdout, about, settings, results, c.home())
	default:
		err = doctor.WriteText(c.stdout, results)
	}
	if err != nil {
		return exitFailure // standard output is closed
	}
	return code
}

func toolNames(catalog mcptools.Catalog) (names []string) {
	for _, tool := range catalog.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// doctorToken reads the token from file, if there is one.
func doctorToken(file string) (token, problem string) {
	if file == "" {
		return "", ""
	}
	token, err := readToken(file, nil)
	if err != nil {
		return "", file + ": " + err.Error()
	}
	return token, ""
}

// inContainer reports whether this program runs in a container: Docker and Podman make a file, and Kubernetes sets a
// variable.
func (c console) inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return slices.ContainsFunc(c.environ, func(variable string) bool {
		return strings.HasPrefix(variable, "KUBERNETES_SERVICE_HOST=")
	})
}

// home returns the user's home directory, or "".
func (c console) home() string {
	for _, name := range []string{"HOME=", "USERPROFILE="} {
		for _, variable := range c.environ {
			if path, ok := strings.CutPrefix(variable, name); ok {
				return path
			}
		}
	}
	return ""
}
