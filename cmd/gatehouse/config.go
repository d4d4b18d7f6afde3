package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/server/denials"
)

const configHelp = `Print the effective configuration: every setting, its value, and its origin. Secrets are redacted.

`

func config(_ context.Context, args []string, c console) int {
	flags := newFlags("config", configHelp+settingsHelp, c)
	cfg, code, done := loadConfig(flags, args, c)
	if done {
		return code
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, v := range cfg.Effective {
		fmt.Fprintf(t, "%s\t%s\t(%s)\n", v.Key, v.Text(), v.Origin)
	}
	t.Flush()
	if code, done := c.checkDenials(cfg); done {
		return code
	}
	catalog := app.OwnCatalog(cfg, c.catalog(cfg.Tools, mcptools.Stats{}))
	for _, note := range append(cfg.Notes, app.Notes(cfg, catalog)...) {
		fmt.Fprintf(c.stdout, "\nNote: %s\n", note)
	}
	return exitOK
}

// checkDenials reports what is wrong with the file of denials, if there is one. If the command must end, done is true
// and code is its exit code.
func (c console) checkDenials(cfg *configs.Config) (code int, done bool) {
	if cfg.Denials.File == "" {
		return exitOK, false
	}
	_, err := denials.Read(cfg.Denials.File)
	if bad, ok := errors.AsType[*denials.FileError](err); ok {
		fmt.Fprintf(c.stderr, "gatehouse: %v", cfg.DenialsProblems(bad))
		return exitConfig, true
	}
	return exitOK, false
}
