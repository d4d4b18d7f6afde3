package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"gatehouse/server/audit"
)

func auditCommands() []command {
	return []command{
		{name: "key", summary: "create a signing key", run: auditKey, arguments: auditKeyArguments},
		{name: "verify", summary: "check that a log is as it was written", run: auditVerify,
			arguments: auditVerifyArguments},
	}
}

const auditKeyArguments = "FILE"

const auditKeyHelp = `Create the key that signs the checkpoints of an audit log (audit.signing_key_file), in
the file FILE with mode 0600, and print its public key, which gatehouse audit verify needs. An existing
file is not changed.`

func auditKey(_ context.Context, args []string, c console) int {
	flags := newFlags("audit key", auditKeyHelp, c, auditKeyArguments)
	name := flags.String("name", "gatehouse", "name of the key; it is part of every checkpoint")
	public := flags.Bool("public", false, "create nothing; print the public key of the key in FILE")
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	usage := func(problem string) int {
		fmt.Fprintf(c.stderr, "gatehouse audit key: %s\n", problem)
		return exitConfig
	}
	switch {
	case flags.NArg() != 1:
		return usage("name one file: gatehouse audit key " + auditKeyArguments)
	case *name == "" || strings.ContainsAny(*name, "+ \t\r\n"):
		return usage("--name must have no spaces and no +")
	}
	path := flags.Arg(0)
	if *public {
		text, err := os.ReadFile(path)
		if err != nil {
			return auditFailed(c, "key", err)
		}
		key, err := audit.PublicKey(string(text))
		if err != nil {
			return auditFailed(c, "key", fmt.Errorf("%s: %w", path, err))
		}
		fmt.Fprintln(c.stdout, key)
		return exitOK
	}
	signing, key, err := audit.NewKey(*name)
	if err != nil {
		return auditFailed(c, "key", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return auditFailed(c, "key", err)
	}
	_, err = f.WriteString(signing + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return auditFailed(c, "key", err)
	}
	fmt.Fprintln(c.stdout, key)
	return exitOK
}

// auditFailed reports an error of a subcommand.
func auditFailed(c console, name string, err error) int {
	fmt.Fprintf(c.stderr, "gatehouse audit %s: %v\n", name, err)
	return exitFailure
}
