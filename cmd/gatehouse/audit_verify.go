package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse/server/audit"
)

const auditVerifyArguments = "DIR --key K"

const auditVerifyHelp = `Check that the audit log in the folder DIR is as it was written: the chain of its
records, and the signed checkpoints. It may run while the server writes the log. It exits with 0 if the log
is intact, 1 if it is not, and 2 if it cannot be verified because of the command line.`

func auditVerify(_ context.Context, args []string, c console) int {
	flags := newFlags("audit verify", auditVerifyHelp, c, auditVerifyArguments)
	keys := flags.StringArray("key", nil,
		"public key of gatehouse audit key, or a file with it; repeat it if the key was replaced")
	kept := flags.StringArray("checkpoint", nil,
		"file with checkpoints that was kept elsewhere: a copy of DIR/checkpoints, or a log of the server")
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	usage := func(format string, a ...any) int {
		fmt.Fprintf(c.stderr, "gatehouse audit verify: "+format+"\n", a...)
		return exitConfig
	}
	switch {
	case flags.NArg() != 1:
		return usage("name one folder: gatehouse audit verify %s", auditVerifyArguments)
	case len(*keys) == 0:
		return usage("--key is missing; `gatehouse audit key --public FILE` prints it")
	}
	for i, key := range *keys {
		if text, err := os.ReadFile(key); err == nil {
			(*keys)[i] = strings.TrimSpace(string(text))
		}
	}
	var files []audit.CheckpointFile
	for _, path := range *kept {
		content, err := os.ReadFile(path)
		if err != nil {
			return usage("%v", err)
		}
		files = append(files, audit.CheckpointFile{Name: path, Content: content})
	}
	report, err := audit.Verify(flags.Arg(0), *keys, files...)
	if err != nil {
		return usage("%v", err)
	}
	printAuditReport(c.stdout, report, len(files) > 0)
	if !report.Intact() {
		return exitFailure
	}
	return exitOK
}

// printAuditReport writes what was verified, what is wrong, and what cannot be seen.
func printAuditReport(w io.Writer, r audit.Report, hasKept bool) {
	fmt.Fprintf(w, "segments %d  records %s  first %s  last %s\n",
		r.Segments, grouped(r.Records), auditTime(r.FirstTime), auditTime(r.LastTime))
	if r.First > 1 {
		fmt.Fprintf(w, "%-15s the log begins with record %s: older segments were deleted or moved\n",
			"deleted", grouped(r.First))
	}
	chain := "ok"
	if !r.Intact() {
		chain = "BROKEN, see below"
	}
	fmt.Fprintf(w, "%-15s %s\n", "log", chain)
	newer := "every record is covered"
	if n := r.Uncovered(); n > 0 {
		newer = fmt.Sprintf("the last %s records are covered by none", grouped(n))
	}
	covers := "no record is covered"
	if r.Covered > 0 {
		covers = "the last one covers record " + grouped(r.Covered) + ": " + newer
	}
	fmt.Fprintf(w, "%-15s %d ok (key %s), %s\n", "checkpoints", r.Checkpoints, strings.Join(r.Keys, ", "), covers)
	if r.Unchecked > 0 {
		fmt.Fprintf(w, "%-15s %d checkpoints cover records in deleted segments\n", "", r.Unchecked)
	}
	if r.TornCheckpoint {
		fmt.Fprintf(w, "%-15s the last checkpoint is incomplete (a crash, or it is being written)\n", "")
	}
	printKept(w, r, hasKept)
	for _, torn := range r.Torn {
		fmt.Fprintf(w, "%-15s segment %d, %d bytes after record %s (a crash, or it is being written)\n",
			"torn record", torn.Segment, torn.Bytes, grouped(torn.After))
	}
	if r.Gaps > 0 {
		fmt.Fprintf(w, "%-15s %d times the log could not be written, and %s records were lost\n",
			"gaps", r.Gaps, grouped(r.Lost))
	}
	for _, p := range r.Findings {
		fmt.Fprintf(w, "%-15s %s\n", "PROBLEM", p)
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "%-15s %d more\n", "PROBLEM", r.Omitted)
	}
}

func printKept(w io.Writer, r audit.Report, hasKept bool) {
	if !hasKept {
		fmt.Fprintf(w, "%-15s none given (--checkpoint): records that were cut off, and a folder that was restored "+
			"from an older copy, cannot be seen\n", "kept elsewhere")
		return
	}
	valid, unchecked, last := 0, 0, uint64(0)
	for _, k := range r.Kept {
		switch {
		case k.Err != nil:
		case k.Unchecked:
			unchecked++
		default:
			valid++
			last = max(last, k.Seq)
		}
	}
	fmt.Fprintf(w, "%-15s %d ok", "kept elsewhere", valid)
	if valid > 0 {
		fmt.Fprintf(w, ", the last one covers record %s", grouped(last))
	}
	if unchecked > 0 {
		fmt.Fprintf(w, "; %d cover records in deleted segments", unchecked)
	}
	fmt.Fprintln(w)
}

func auditTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// grouped writes n with commas between thousands.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
