package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/providers/authserver/seal"
)

const secretArguments = "FILE"

const secretHelp = `Create the secrets of the sign-in broker (provider.secrets_file): 32 random bytes, in
the file FILE with mode 0600. An existing file is not changed, unless a flag says how.

The first secret of the file seals and signs; all of them open and verify. To replace a secret, put a new one
first, restart the broker, and remove the old line after provider.session_lifetime. With several replicas, add
the new one at the end and restart all of them before you promote it and restart them again: each replica can
then open what another one seals.

Back the file up, apart from the store: without it, people sign in again and clients register again.`

// secretChange is a change of a file of secrets.
type secretChange func(file, line string) string

// secret creates a file of secrets, or changes one.
func secret(_ context.Context, args []string, c console) int {
	flags := newFlags("secret", secretHelp, c, secretArguments)
	changes := []struct {
		isSet  *bool
		change secretChange
		report string
	}{
		{flags.Bool("prepend", false, "add a new secret as the first one of FILE"), prependSecret,
			"It has a new first secret. Restart the broker"},
		{flags.Bool("append", false, "add a new secret as the last one of FILE"), appendSecret,
			"It has a new last secret. Restart all replicas, then run gatehouse secret --promote"},
		{flags.Bool("promote", false, "move the last secret of FILE to the front"), promoteSecret,
			"Its last secret is the first one now. Restart all replicas"},
	}
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	failed := func(code int, err error) int {
		fmt.Fprintf(c.stderr, "gatehouse secret: %v\n", err)
		return code
	}
	if flags.NArg() != 1 {
		return failed(exitConfig, errors.New("name one file: gatehouse secret "+secretArguments))
	}
	path := flags.Arg(0)
	line := fmt.Sprintf("# created %s\n%s\n", time.Now().UTC().Format(time.DateOnly), seal.NewSecret())
	var wanted []int
	for i, one := range changes {
		if *one.isSet {
			wanted = append(wanted, i)
		}
	}
	switch len(wanted) {
	case 0:
		if err := createSecrets(path, line); err != nil {
			return failed(exitFailure, err)
		}
		return exitOK
	case 1:
		one := changes[wanted[0]]
		if err := changeSecrets(path, func(file string) string { return one.change(file, line) }); err != nil {
			return failed(exitFailure, err)
		}
		fmt.Fprintf(c.stdout, "%s: %s.\n", path, one.report)
		return exitOK
	}
	return failed(exitConfig, errors.New("use one of --prepend, --append and --promote"))
}

const secretsHeader = `# Secrets of the sign-in broker of Gatehouse (provider.secrets_file), written by gatehouse
# secret. The first one seals, all of them open. Each is as secret as all sign-ins together.
`

func createSecrets(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(secretsHeader + line)
	return errors.Join(err, f.Sync(), f.Close())
}

// changeSecrets replaces a file in one step. A file that the broker would refuse, before or after the change,
// is left as it is: with a file that is cut off, all secrets would be lost.
func changeSecrets(path string, change func(file string) string) error {
	// Replacing a symbolic link would leave the file that it points to unchanged.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := seal.Parse(old); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	changed := change(string(old))
	if _, err := seal.Parse([]byte(changed)); err != nil {
		return fmt.Errorf("%s would be refused: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = f.WriteString(changed)
	if err = errors.Join(err, keepOwner(f, info), f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func prependSecret(file, line string) string {
	lines := secretLines(file)
	first := slices.IndexFunc(lines, isSecretLine)
	if first > 0 && strings.HasPrefix(lines[first-1], "# created ") {
		first--
	}
	return strings.Join(slices.Insert(lines, first, line), "")
}

func appendSecret(file, line string) string { return strings.Join(append(secretLines(file), line), "") }

// promoteSecret moves the last secret to the front, with the line that says when it was created.
func promoteSecret(file, _ string) string {
	lines := secretLines(file)
	last := len(lines) - 1
	for !isSecretLine(lines[last]) {
		last--
	}
	begin := last
	if begin > 0 && strings.HasPrefix(lines[begin-1], "# created ") {
		begin--
	}
	moved := strings.Join(lines[begin:last+1], "")
	rest := slices.Delete(lines, begin, last+1)
	if !slices.ContainsFunc(rest, isSecretLine) {
		return file // there is only one
	}
	return prependSecret(strings.Join(rest, ""), moved)
}

// secretLines returns the lines of a file, each with its end.
func secretLines(file string) []string {
	lines := slices.Collect(strings.Lines(file))
	if last := len(lines) - 1; last >= 0 && !strings.HasSuffix(lines[last], "\n") {
		lines[last] += "\n"
	}
	return lines
}

func isSecretLine(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "#")
}
