package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/store"
	brokers "gatehouse/providers/broker"
)

const signInsHelp = `The store is that of provider.store. While a server runs, a store in Redis can be read and changed
by this command; a file cannot be opened by a second process: use the tools list_sign_ins and end_sign_ins of the server
(scope gatehouse:admin), or stop it first.

`

const signInsListHelp = `List the sign-ins in the store: who has signed in with which client, until when, and when the
provider has last confirmed it.

` + signInsHelp

const signInsEndHelp = `End sign-ins: those of one person (--subject), one client (--client) or one sign-in (--id), or
those that match all that is named. The client gets no new token; access tokens that it has are valid until they expire,
at most 10 minutes, and "gatehouse deny" refuses them at once.

` + signInsHelp

// signInFilterFlags adds the flags that select sign-ins.
func signInFilterFlags(flags *pflag.FlagSet) func() authserver.SignInFilter {
	subject := flags.String("subject", "", "sub of the person")
	client := flags.String("client", "", "client_id")
	id := flags.String("id", "", "id of the sign-in, as in the list and in audit records")
	return func() authserver.SignInFilter {
		return authserver.SignInFilter{ID: *id, Subject: *subject, ClientID: *client}
	}
}

// openSignIns opens the store of a configuration. It is nil if that failed, which is reported.
func (c console) openSignIns(ctx context.Context, sources configs.Sources, access brokers.Access) (
	*brokers.SignIns, int,
) {
	cfg, code, done := load(sources, c)
	if done {
		return nil, code
	}
	s, err := brokerSettings(cfg)
	if err != nil {
		return nil, c.signInsFailed(err)
	}
	sealed, err := s.OpenSignIns(ctx, cfg.Resource, access)
	if err != nil {
		return nil, c.signInsFailed(err)
	}
	return sealed, exitOK
}

func signInsList(ctx context.Context, args []string, c console) int {
	flags := newFlags("broker sign-ins list", signInsListHelp+settingsHelp, c)
	filter := signInFilterFlags(flags)
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	sealed, code := c.openSignIns(ctx, settings(), brokers.ReadOnly)
	if sealed == nil {
		return code
	}
	defer sealed.Close()
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	const page = 200
	for after := ""; ; {
		list, next, err := sealed.List(ctx, filter(), after, page)
		if err != nil {
			t.Flush()
			return c.signInsFailed(err)
		}
		if after == "" {
			fmt.Fprintln(t, "ID\tSUBJECT\tCLIENT\tSIGNED IN\tCONFIRMED\tEXPIRES\tSCOPES")
		}
		for _, one := range list {
			printSignIn(t, one)
		}
		if after = next; after == "" {
			break
		}
	}
	t.Flush()
	return exitOK
}

// printSignIn prints one line. What clients and providers have chosen cannot break it.
func printSignIn(t *tabwriter.Writer, s authserver.SignIn) {
	at := func(when time.Time) string {
		if when.IsZero() {
			return "-"
		}
		return when.UTC().Format(time.RFC3339)
	}
	if s.Unreadable {
		fmt.Fprintf(t, "%s\tsealed with another secret\t-\t-\t-\t%s\t-\n", s.ID, at(s.Expires))
		return
	}
	client := s.ClientName
	if client == "" {
		client = s.ClientID
	}
	fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, providers.Printable(s.Subject, 80),
		providers.Printable(client, 60), at(s.SignedIn), at(s.Confirmed), at(s.Expires), strings.Join(s.Scopes, " "))
}

func signInsEnd(ctx context.Context, args []string, c console) int {
	flags := newFlags("broker sign-ins end", signInsEndHelp+settingsHelp, c)
	filter := signInFilterFlags(flags)
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	if filter() == (authserver.SignInFilter{}) {
		fmt.Fprint(c.stderr, "gatehouse broker sign-ins end: name whose: --subject, --client or --id\n")
		return exitConfig
	}
	sealed, code := c.openSignIns(ctx, settings(), brokers.ReadWrite)
	if sealed == nil {
		return code
	}
	defer sealed.Close()
	ended, err := sealed.End(ctx, filter())
	if ended == 1 {
		fmt.Fprint(c.stdout, "1 sign-in ended\n")
	} else {
		fmt.Fprintf(c.stdout, "%d sign-ins ended\n", ended)
	}
	if err != nil {
		return c.signInsFailed(err)
	}
	return exitOK
}

func (c console) signInsFailed(err error) int {
	fmt.Fprintf(c.stderr, "gatehouse broker: %v\n", err)
	if errors.Is(err, store.ErrInUse) || errors.Is(err, brokers.ErrMemory) || errors.Is(err, errNoBroker) {
		return exitConfig
	}
	return exitFailure
}
