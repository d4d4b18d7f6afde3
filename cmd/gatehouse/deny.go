package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/server/denials"
)

const denyArguments = "--file F (--subject S | --client C | --token J)"

const denyHelp = `Deny a person, a client or a token in the file of denials of a server (denials.file). The server
applies it within a second: it refuses new requests, and ends sessions, streams and calls in flight.

  --subject S                       a person: 403 to every request, whatever the token
  --subject S --issued-before now   the tokens of a person so far: a new sign-in helps
  --client C                        a client; one that registers itself comes back under another id
  --token J                         one token, by its id (the claim jti, which gatehouse token inspect shows)

A denial holds until it is removed or --until has come. It does not end the sign-in at the issuer: revoke the
refresh tokens there, too. The file is created if it does not exist, and replaced with mode 0600; its owner
stays the same. Exit code 0 if it is done, 1 if the file is bad or has nothing to remove, 2 if the command line
is wrong.`

// denyFlags are the flags of the command.
type denyFlags struct {
	file, issuedBefore, until string
	remove, list              bool
	entry                     denials.Entry
}

func deny(ctx context.Context, args []string, c console) int {
	flags := newFlags("deny", denyHelp, c, denyArguments)
	f := newDenyFlags(flags)
	if code, done := parse(flags, args, c); done {
		return code
	}
	now := time.Now()
	if err := f.check(flags, now); err != nil {
		fmt.Fprintf(c.stderr, "gatehouse deny: %v\n`gatehouse deny --help` shows how to use it\n", err)
		return exitConfig
	}
	var report string
	mode, err := denialsMode(f.file)
	switch {
	case err != nil:
	case f.list:
		report, err = listDenials(f.file, now)
	case f.remove:
		report, err = f.removeEntries(ctx, flags.Changed("issued-before"))
	default:
		report, err = f.addEntry(ctx, now)
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse deny: %v\n", err)
		return exitFailure
	}
	fmt.Fprint(c.stdout, report)
	if !f.list && mode&0o077 != 0 {
		fmt.Fprintf(c.stdout, "The file had mode %04o and has 0600 now: a server of another user cannot read it.\n", mode)
	}
	return exitOK
}

// denialsMode returns the mode of the file; 0 if there is none, or no such modes on this system.
func denialsMode(file string) (fs.FileMode, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || runtime.GOOS == "windows" {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

func newDenyFlags(flags *pflag.FlagSet) *denyFlags {
	f := &denyFlags{}
	flags.StringVar(&f.file, "file", "", "file of denials: denials.file of the server")
	flags.StringVar(&f.entry.Subject, "subject", "", "subject whose tokens to deny (caller.subject in the log)")
	flags.StringVar(&f.entry.Issuer, "issuer", "",
		"only if that issuer issued them; as in the tokens, with or without a slash at the end")
	flags.StringVar(&f.issuedBefore, "issued-before", "",
		"only if they were issued before this time: now, or such as 2026-11-29T12:00:00Z")
	flags.StringVar(&f.entry.Client, "client", "", "client whose tokens to deny (caller.client in the log)")
	flags.StringVar(&f.entry.Token, "token", "", "id of the token to deny (the claim jti), not the token itself")
	flags.StringVar(&f.entry.Reason, "reason", "", "text for the readers of the file")
	flags.StringVar(&f.until, "until", "", "when the denial ends: a time, a duration such as 24h, or now")
	flags.BoolVar(&f.remove, "remove", false, "remove the denial instead")
	flags.BoolVar(&f.list, "list", false, "list all denials; change nothing")
	return f
}

// check returns what is wrong with the command line, and reads the times.
func (f *denyFlags) check(flags *pflag.FlagSet, now time.Time) error {
	criteria, others := 0, 0
	var empty error
	flags.Visit(func(set *pflag.Flag) {
		if set.Value.String() == "" { // a variable of a script that is not set must not widen a denial
			empty = fmt.Errorf("--%s is empty", set.Name)
		}
		switch set.Name {
		case "subject", "client", "token":
			criteria++
		case "issuer", "issued-before", "reason", "until":
			others++
		}
	})
	switch {
	case empty != nil:
		return empty
	case f.file == "":
		return errors.New("--file is missing: name the file of denials.file")
	case f.list && (f.remove || criteria+others > 0):
		return errors.New("--list takes no other flag than --file")
	case f.list:
		return nil
	case criteria != 1:
		return errors.New("name one of --subject, --client and --token")
	case f.entry.Issuer != "" && f.entry.Token != "":
		return errors.New("--issuer is for --subject and --client")
	case f.issuedBefore != "" && f.entry.Subject == "":
		return errors.New("--issued-before is for --subject")
	case denials.LooksLikeToken(f.entry.Token):
		return errors.New("--token is a whole token, which is a secret: name its id (the claim jti), which " +
			"gatehouse token inspect shows")
	case f.remove && (flags.Changed("reason") || flags.Changed("until")):
		return errors.New("--reason and --until do not go with --remove")
	}
	var err error
	if flags.Changed("issued-before") {
		// The time of issue is in whole seconds: a token of this second must not count as a later one.
		next := now.Truncate(time.Second).Add(time.Second)
		if f.entry.IssuedBefore, err = parseMoment(f.issuedBefore, next); err != nil {
			return fmt.Errorf("--issued-before: %w", err)
		}
	}
	if flags.Changed("until") {
		if duration, wrong := time.ParseDuration(f.until); wrong == nil && duration > 0 {
			f.entry.Until = now.Add(duration).Round(time.Second)
			return nil
		}
		if f.entry.Until, err = parseMoment(f.until, now); err != nil {
			return fmt.Errorf("--until: %w, or a duration such as 24h", err)
		}
	}
	return nil
}

// parseMoment parses a time, or the word now.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, errors.New("use now, or date, time and zone such as 2026-11-29T12:00:00Z")
	}
	return t, nil
}

// addEntry adds the entry in place of one that denies the same.
func (f *denyFlags) addEntry(ctx context.Context, now time.Time) (report string, err error) {
	total := 0
	err = denials.Update(ctx, f.file, true, func(entries []denials.Entry) ([]denials.Entry, error) {
		without := slices.DeleteFunc(entries, f.entry.Matches)
		if f.entry.HasEnded(now) && len(without) == len(entries) {
			return nil, errors.New("the denial would have ended already (--until)")
		}
		all := append(without, f.entry)
		total = len(all)
		return all, nil
	})
	switch {
	case err != nil:
		return "", err
	case f.entry.HasEnded(now):
		return fmt.Sprintf("ended: %s\n", f.entry), nil
	}
	report = fmt.Sprintf("denied: %s\n%s now has %s.\n", f.entry, f.file, countOf(total, "denial"))
	switch {
	case f.entry.Client != "":
		report += "A client that registers itself comes back under another id: deny the subject, too.\n"
	case f.entry.Token == "" && f.entry.IssuedBefore.IsZero():
		report += "The sign-in at the issuer goes on: revoke the refresh tokens there, too.\n"
	}
	return report, nil
}

// removeEntries removes the entries of the same subject, client or token. Without a time, those with any time
// go.
func (f *denyFlags) removeEntries(ctx context.Context, withTime bool) (report string, err error) {
	var removed []denials.Entry
	err = denials.Update(ctx, f.file, false, func(entries []denials.Entry) ([]denials.Entry, error) {
		left := slices.DeleteFunc(slices.Clone(entries), func(e denials.Entry) bool {
			wanted := f.entry
			if !withTime {
				wanted.IssuedBefore = e.IssuedBefore
			}
			if e.Matches(wanted) {
				removed = append(removed, e)
				return true
			}
			return false
		})
		if len(removed) == 0 {
			return nil, errors.New("there is no such denial; --list shows all, and the issuer must be the same")
		}
		return left, nil
	})
	for _, e := range removed {
		report += fmt.Sprintf("removed: %s\n", e)
	}
	return report, err
}

func listDenials(file string, now time.Time) (report string, err error) {
	list, err := denials.Read(file)
	if err != nil {
		return "", err
	}
	for _, e := range list.Entries() {
		ended := ""
		if e.HasEnded(now) {
			ended = " (ended)"
		}
		report += fmt.Sprintf("%s%s\n", e, ended)
	}
	return report + countOf(list.Len(), "denial") + "\n", nil
}

// countOf returns a number of things.
func countOf(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
