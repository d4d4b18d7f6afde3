package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/token"
)

const tokenInspectHelp = `Explain what a token contains, and why the server of this configuration accepts or refuses it.
The token is read from standard input or a file, never from the command line. Neither the token nor its
signature is printed.

`

func tokenInspect(ctx context.Context, args []string, c console) int {
	flags := newFlags("token inspect", tokenInspectHelp+settingsHelp, c)
	file := flags.String("token-file", "", "file with the token; without it, standard input")
	offline := flags.Bool("offline", false,
		"make no requests: the signature is not checked, and exit code 0 means only that no other check failed")
	load := settingsFlags(flags, c)
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	if refuseArguments("token inspect", flags.Args(), c) {
		return exitConfig
	}
	cfg, err := load()
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %v", err)
		return exitConfig
	}
	text, err := readToken(*file, c.stdin)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse token inspect: %v\n", err)
		return exitConfig
	}
	explanation, err := explain(ctx, cfg, text, !*offline)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse token inspect: %v\n", err)
		return exitProvider
	}
	printExplanation(c.stdout, cfg, explanation)
	if _, unchecked := explanation.Unchecked(); !explanation.OK() || unchecked && !*offline {
		return exitFailure
	}
	return exitOK
}

// explain opens the provider as a process separate from the server would see it, and checks the token. Without live, it
// makes no requests.
func explain(ctx context.Context, cfg *configs.Config, text string, live bool) (token.Explanation, error) {
	settings := cfg.Provider
	if embedded, ok := settings.(providers.Embedded); ok {
		settings = embedded.Remote(cfg.Resource)
	}
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	if !live {
		cancel() // the provider then starts no requests of its own
	}
	provider, err := settings.Open(background, providers.ServerInfo{
		Resource: cfg.Resource, InitialScopes: cfg.Scopes.Initial, UserAgent: app.UserAgent(),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return token.Explanation{}, err
	}
	explainer, ok := provider.(token.Explainer)
	if !ok {
		return token.Explanation{}, errors.New("this kind of provider cannot explain its decisions")
	}
	return explainer.Explain(ctx, text, live), nil
}

func printExplanation(w io.Writer, cfg *configs.Config, e token.Explanation) {
	unchecked, undecided := e.Unchecked()
	switch {
	case !e.OK():
		fmt.Fprintf(w, "This token is refused at %s\n", cfg.Resource)
	case undecided:
		fmt.Fprintf(w, "Whether this token is accepted at %s is undecided. No check failed, but this was not checked:\n\n"+
			"  * %s\n    %s\n", cfg.Resource, unchecked.Name, unchecked.Skipped)
	default:
		fmt.Fprintf(w, "This token is accepted at %s\n", cfg.Resource)
	}
	for _, hint := range e.Hints() {
		fmt.Fprintf(w, "\n  * %s\n    %s\n", hint.Cause, hint.Fix)
	}
	fmt.Fprintln(w)
	for _, f := range e.Findings {
		mark := "ok"
		switch {
		case f.Reason != "":
			mark = "REFUSED"
		case f.Skipped != "":
			mark = "skipped"
		}
		fmt.Fprintf(w, "  %-8s %-16s %s\n", mark, f.Name, cmp.Or(f.Got, "absent"))
		fmt.Fprintf(w, "  %-8s %-16s want %s\n", "", "", f.Want)
		switch {
		case f.Reason != "":
			fmt.Fprintf(w, "  %-8s %-16s %s: %s\n", "", "", f.Reason, f.Detail)
		case f.Skipped != "":
			fmt.Fprintf(w, "  %-8s %-16s %s\n", "", "", f.Skipped)
		}
	}
	for _, f := range e.Others {
		fmt.Fprintf(w, "  %-8s %-16s %s\n", "-", f.Name, f.Got)
	}
	if len(e.Others) > 0 {
		fmt.Fprint(w, "\n- is not checked\n")
	}
}
