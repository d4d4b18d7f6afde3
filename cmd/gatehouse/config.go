package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/mcptools"
)

func config(_ context.Context, args []string, c console) int {
	flags := newFlags("config", "Print the effective configuration: every setting, its value, and where it came from. Secrets are redacted.\n\n"+settingsHelp, c)
	cfg, code, done := configured(flags, args, c)
	if done {
		return code
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, v := range cfg.Effective {
		fmt.Fprintf(t, "%s\t%s\t(%s)\n", v.Key, v.Value, v.Origin)
	}
	t.Flush()
	for _, note := range append(cfg.Notes, house.Notes(cfg, house.Tools(cfg.Tools, mcptools.Stats{}))...) {
		fmt.Fprintf(c.stdout, "\nNote: %s\n", note)
	}
	return exitOK
}
