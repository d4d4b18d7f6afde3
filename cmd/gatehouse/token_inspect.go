package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/token"
)

// maxInspectedBytes bounds what is read. It is far above every token, so that one that is too long is explained as such.
const maxInspectedBytes = 1 << 20

func tokenInspect(ctx context.Context, args []string, c console) int {
	flags := newFlags("token inspect", `Say what a token is, and why the server of this configuration accepts or refuses it. The token comes on standard
input or from a file, never from the command line. It is not printed, and neither is its signature.

`+settingsHelp, c)
	file := flags.String("token-file", "", "file with the token; without it, standard input")
	offline := flags.Bool("offline", false, "ask nobody: the signature is not checked, and exit code 0 says only that nothing else speaks against the token")
	load := settingsFlags(flags, c)
	if code, done := parseAlone(flags, args, c); done {
		return code
	}
	if !tokenArguments("token inspect", flags.Args(), c) {
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

func readToken(file string, stdin io.Reader) (string, error) {
	var (
		content []byte
		err     error
	)
	if file == "" {
		content, err = io.ReadAll(io.LimitReader(stdin, maxInspectedBytes))
	} else {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return "", fmt.Errorf("the token cannot be read: %w", err)
	}
	if text := bare(string(content)); text != "" {
		return text, nil
	}
	return "", errors.New("there is no token: hand it in on standard input or with --token-file")
}

// explain opens the provider of the configuration as a process beside the server would see it.
func explain(ctx context.Context, cfg *configs.Config, text string, live bool) (token.Explanation, error) {
	settings := cfg.Provider
	if embedded, ok := settings.(providers.Embedded); ok {
		settings = embedded.Remote(cfg.Resource)
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	if !live {
		cancel() // so that nothing begins in the background
	}
	provider, err := settings.Open(life, providers.ServerInfo{
		Resource: cfg.Resource, InitialScopes: cfg.Scopes.Initial, UserAgent: house.UserAgent(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return token.Explanation{}, err
	}
	explainer, ok := provider.(token.Explainer)
	if !ok {
		return token.Explanation{}, errors.New("this kind of provider cannot explain its verdicts")
	}
	return explainer.Explain(ctx, text, live), nil
}

func printExplanation(w io.Writer, cfg *configs.Config, e token.Explanation) {
	unchecked, open := e.Unchecked()
	switch {
	case !e.OK():
		fmt.Fprintf(w, "This token is refused at %s\n", cfg.Resource)
	case open:
		fmt.Fprintf(w, "Whether this token is accepted at %s is open. Nothing speaks against it, but this was not checked:\n\n  * %s\n    %s\n",
			cfg.Resource, unchecked.Name, unchecked.Skipped)
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
		fmt.Fprint(w, "\n- is not looked at\n")
	}
}
