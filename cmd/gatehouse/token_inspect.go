package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
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
	sources := settingsFlags(flags, c)
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	if refuseArguments("token inspect", flags.Args(), c) {
		return exitConfig
	}
	cfg, err := configs.Load(sources())
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
	a := newAccess(cfg, app.OwnCatalog(cfg, c.catalog(cfg.Tools, mcptools.Stats{})), explanation)
	printVerdict(c.stdout, cfg.Resource, explanation, a, *offline)
	printFindings(c.stdout, explanation)
	_, unchecked := explanation.Unchecked()
	if !explanation.OK() || unchecked && !*offline || len(a.missing) > 0 {
		return exitFailure
	}
	return exitOK
}

// explain opens the provider as a process separate from the server would see it, and checks the token.
// Without live, it makes no requests.
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

// access is what a token opens on this server.
type access struct {
	// scopes are those of the token by this server's names, broader ones with those that they imply, and origin
	// is where they are from. known is false if the claims of the token are refused.
	scopes []string
	origin string
	known  bool
	// required are the scopes that every call needs, and missing those of them that the token lacks.
	required, missing []string
	// open and closed are the tools that the token may and may not call; the latter with what each lacks.
	open, closed []string
	hints        []token.Hint
}

func newAccess(cfg *configs.Config, catalog mcptools.Catalog, e token.Explanation) access {
	a := access{required: cfg.Scopes.Required}
	held, origin, known := e.Scopes()
	if !known {
		return a
	}
	a.scopes, a.origin, a.known = cfg.Scopes.Implications().Expand(held), origin, true
	a.missing = providers.MissingScopes(a.scopes, a.required)
	for _, tool := range catalog.Tools {
		needed := providers.MergeScopes(a.required, tool.Scopes)
		if missing := providers.MissingScopes(a.scopes, needed); len(missing) > 0 {
			a.closed = append(a.closed, tool.Name+" (needs "+strings.Join(missing, " ")+")")
		} else {
			a.open = append(a.open, tool.Name)
		}
	}
	a.hints = e.ScopeHints(a.missing)
	return a
}

// printVerdict prints one of three verdicts, or that it is undecided, with the likeliest causes and their
// fixes.
func printVerdict(w io.Writer, resource providers.Resource, e token.Explanation, a access, offline bool) {
	hints := e.Hints()
	unchecked, undecided := e.Unchecked()
	switch lacks := strings.Join(a.missing, " "); {
	case !e.OK():
		fmt.Fprintf(w, "This token is refused at %s\n", resource)
	case undecided:
		fmt.Fprintf(w, "Whether this token is accepted at %s is undecided. No check failed, but this was not "+
			"checked:\n\n  * %s\n    %s\n", resource, unchecked.Name, unchecked.Skipped)
		fix := "run `gatehouse doctor` with the same settings: its checks of the provider show why"
		if offline {
			fix = "run the command without --offline"
		}
		fmt.Fprintf(w, "    %s\n", fix)
		if lacks != "" {
			fmt.Fprintf(w, "\nEven if it is accepted, every call is refused (403): it lacks %s\n", lacks)
			hints = a.hints
		}
	case lacks != "":
		fmt.Fprintf(w, "This token is valid at %s, but every call is refused (403): it lacks %s\n", resource, lacks)
		hints = a.hints
	default:
		fmt.Fprintf(w, "This token is accepted at %s\n", resource)
	}
	for _, hint := range hints {
		fmt.Fprintf(w, "\n  * %s\n    %s\n", hint.Cause, hint.Fix)
	}
	fmt.Fprintln(w)
	if a.known {
		a.print(w)
	}
}

// print prints the scopes and the tools.
func (a access) print(w io.Writer) {
	const none = "none"
	fmt.Fprintf(w, "  %-8s %s (%s; after provider.scope_map and scopes.implies)\n", "scopes",
		cmp.Or(strings.Join(a.scopes, " "), none), a.origin)
	required := cmp.Or(strings.Join(a.required, " "), none)
	if len(a.missing) > 0 {
		required += "; missing " + strings.Join(a.missing, " ")
	}
	fmt.Fprintf(w, "  %-8s %s\n", "required", required)
	fmt.Fprintf(w, "  %-8s %s\n", "tools", cmp.Or(strings.Join(a.open, ", "), none))
	if len(a.closed) > 0 {
		fmt.Fprintf(w, "  %-8s %s\n", "not", strings.Join(a.closed, ", "))
	}
	fmt.Fprintln(w)
}

func printFindings(w io.Writer, e token.Explanation) {
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
