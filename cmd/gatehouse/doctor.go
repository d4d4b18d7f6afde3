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
For kind broker, --broker examines the server that "gatehouse broker" runs, which has no MCP endpoint.
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
		alone     = flags.Bool("broker", false, "the server is the authorization server alone, run by gatehouse broker")
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
	case *alone && *tokenFile != "":
		problem = "--token-file is for calls of tools, and with --broker the server has none; remove one of the two"
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
		if len(cfg.Upstreams) > 0 && !*alone && !flags.Changed("timeout") {
			*timeout += upstreamTime
		}
		settings, about.Resource, about.Provider = cfg.Effective, cfg.Resource.String(), cfg.Kind
		examined, err := c.examined(cfg, *alone)
		if err != nil {
			fmt.Fprintf(c.stderr, "gatehouse doctor: %v\n", err)
			return exitConfig
		}
		examined.Token, examined.Timeout = token, *timeout
		results = doctor.Examine(ctx, examined)
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

// examined returns what doctor examines. The error is that of the settings of upstreams, or of a kind that
// `gatehouse broker` does not run.
func (c console) examined(cfg *configs.Config, alone bool) (doctor.Config, error) {
	logger := slog.New(slog.DiscardHandler)
	examined := doctor.Config{Settings: cfg, Alone: alone, KeysPath: app.JWKSPath, LocalHealth: healthURL(cfg),
		Container: c.inContainer()}
	if alone {
		if _, err := brokerSettings(cfg); err != nil {
			return doctor.Config{}, err
		}
		cfg.Upstreams = nil // as gatehouse broker does
		examined.ServerInfo = app.AloneInfo(cfg, logger)
		return examined, nil
	}
	catalog := app.OwnCatalog(cfg, c.catalog(cfg.Tools, mcptools.Stats{}))
	options, err := app.UpstreamOptions(cfg, logger)
	if err != nil {
		return doctor.Config{}, err
	}
	cfg.Notes = append(cfg.Notes, app.Notes(cfg, catalog)...)
	examined.ServerInfo, examined.Upstreams = app.ServerInfo(cfg, catalog, logger), options
	examined.ToolScopes = providers.MergeScopes(catalog.Scopes(), app.UpstreamScopes(cfg))
	// The tools of upstreams are not known here. The number only matters if there is none.
	examined.Tools, examined.OwnTools = len(catalog.Tools)+len(cfg.Upstreams), toolNames(catalog)
	return examined, nil
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
