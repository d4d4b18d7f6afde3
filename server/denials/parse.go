package denials

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gatehouse/providers"
)

// Limits of a file.
const (
	maxEntries   = 10_000
	maxFileBytes = 4 << 20
	// maxParts bounds the line breaks and commas, and with them the memory that the YAML parser needs: 200 bytes
	// and more for each value, however short it is.
	maxParts = 200_000
	maxValue = 4 << 10 // of a member, in bytes
	// maxFindings is how many problems are reported.
	maxFindings = 20
)

// The members of an entry.
const (
	memberIssuer       = "issuer"
	memberSubject      = "subject"
	memberIssuedBefore = "issued_before"
	memberClient       = "client"
	memberToken        = "token"
	memberReason       = "reason"
	memberUntil        = "until"
)

// Read reads the list in a file. The error is a [FileError].
func Read(file string) (*List, error) {
	content, err := readFile(file, openFile)
	if err != nil {
		return nil, unreadable(file, err)
	}
	list, problems := parse(content)
	if len(problems) > 0 {
		return nil, &FileError{File: file, Findings: problems}
	}
	return list, nil
}

// openFunc opens a file for reading.
type openFunc func(file string) (*os.File, error)

// readFile reads at most one byte more than a list may have.
func readFile(file string, open openFunc) ([]byte, error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// readTimeout limits reading a file that has nothing to read at the moment, as some files of the kernel have.
const readTimeout = time.Second

// errNotRegular is the error for a file without a content of its own, such as a pipe or a device.
var errNotRegular = errors.New("it is not a regular file")

// openFile opens a regular file. Without O_NONBLOCK, opening a pipe waits for its writer, and reading some files
// of the kernel waits for what they report: a watcher that waits would keep an old list without a word.
func openFile(file string) (*os.File, error) {
	// Before it is opened, because opening a device can have effects; and after that, because another file may
	// have taken the name in between.
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	_ = f.SetReadDeadline(time.Now().Add(readTimeout)) // files on disks have none, and need none
	return f, nil
}

// parse returns the list in a file, or what is wrong with it.
func parse(content []byte) (*List, []Finding) {
	p := &parser{}
	switch {
	case len(content) > maxFileBytes || countParts(content) > maxParts:
		p.report(0, providers.CodeOutOfRange, fmt.Sprintf("it has more than %d MiB, or more than %d lines and commas",
			maxFileBytes>>20, maxParts), "remove entries")
		return nil, p.problems
	case !utf8.Valid(content): // the parser reads UTF-16, too, whose line breaks are not counted
		p.report(0, providers.CodeInvalidSyntax, "it is not valid YAML: its encoding is not UTF-8", "save it as UTF-8")
		return nil, p.problems
	}
	entries := p.document(content)
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return newList(entries, sha256.Sum256(content)), nil
}

// countParts counts the commas, and everything that the YAML parser takes for a line break (YAML 1.1, section 5.4).
func countParts(content []byte) (n int) {
	for _, part := range []string{",", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		n += bytes.Count(content, []byte(part))
	}
	return n
}

// parser walks the nodes of a document. It does not decode into structs: errors of that quote values, and a
// member that occurs twice would be hard to find.
type parser struct{ problems []Finding }

func (p *parser) report(line int, code providers.Code, reason, fix string) {
	if len(p.problems) < maxFindings {
		p.problems = append(p.problems, Finding{Line: line, Code: code, Reason: reason, Fix: fix})
	}
}

const exampleFix = "write entries such as `- subject: \"alice\"`, each with its own dash"

func (p *parser) document(content []byte) []Entry {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	// A file that was cut to nothing must not end all denials.
	isEmpty := errors.Is(err, io.EOF) ||
		err == nil && (len(document.Content) == 0 || document.Content[0].ShortTag() == "!!null")
	switch {
	case isEmpty:
		p.report(0, providers.CodeMissing, "it is empty", "write [] for an empty list")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		p.report(second.Line, providers.CodeInvalidSyntax, "there is more than one YAML document",
			"remove the line --- and what follows it")
		return nil
	}
	top := document.Content[0]
	switch {
	case top.Kind != yaml.SequenceNode:
		p.report(top.Line, providers.CodeInvalidType, "it is not a list", exampleFix)
		return nil
	case len(top.Content) > maxEntries:
		p.report(0, providers.CodeOutOfRange, fmt.Sprintf("it has more than %d entries", maxEntries), "remove entries")
		return nil
	}
	entries := make([]Entry, 0, len(top.Content))
	for _, item := range top.Content {
		entries = append(entries, p.entry(item))
	}
	return entries
}

// lineNumber is how the YAML parser names a line.
var lineNumber = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax reports an error of the YAML parser. Only the errors about anchors quote the file.
func (p *parser) syntax(err error) {
	reason, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if found := lineNumber.FindStringSubmatch(err.Error()); found != nil {
		line, _ = strconv.Atoi(found[1])
		reason = err.Error()[len(found[0]):]
	}
	if strings.Contains(reason, "anchor") {
		reason = "a value that begins with * is an alias, and there is no such anchor"
	}
	p.report(line, providers.CodeInvalidSyntax, "it is not valid YAML: "+strings.Join(strings.Fields(reason), " "),
		"fix the syntax; write text in quotes")
}

// entry reads one item of the list.
func (p *parser) entry(item *yaml.Node) Entry {
	if item.Kind != yaml.MappingNode {
		p.report(item.Line, providers.CodeInvalidType, "an entry of the list is not a set of members", exampleFix)
		return Entry{}
	}
	before := len(p.problems)
	var e Entry
	seen := map[string]int{} // the line of each member
	for i := 0; i+1 < len(item.Content); i += 2 {
		name, value := item.Content[i], item.Content[i+1]
		if line, isDuplicate := seen[name.Value]; isDuplicate {
			p.report(name.Line, providers.CodeConflict,
				fmt.Sprintf("the member is already set in line %d", line), "begin another entry with a dash")
			continue
		}
		seen[name.Value] = name.Line
		p.member(&e, name, value)
	}
	if len(p.problems) == before {
		p.checkCriterion(item.Line, e)
	}
	return e
}

// member sets one member of e.
func (p *parser) member(e *Entry, name, value *yaml.Node) {
	targets := map[string]any{
		memberIssuer: &e.Issuer, memberSubject: &e.Subject, memberIssuedBefore: &e.IssuedBefore,
		memberClient: &e.Client, memberToken: &e.Token, memberReason: &e.Reason, memberUntil: &e.Until,
	}
	target := targets[name.Value]
	if name.Kind != yaml.ScalarNode || target == nil {
		// The name is not repeated: it may be anything that was pasted into the file.
		p.report(name.Line, providers.CodeUnknownKey, "there is no such member", "the members are issuer, subject, "+
			"issued_before, client, token, reason and until")
		return
	}
	switch target := target.(type) {
	case *string:
		*target = p.text(name.Value, value)
	case *time.Time:
		*target = p.time(name.Value, value)
	}
}

// text reads a member that is text.
func (p *parser) text(name string, value *yaml.Node) string {
	switch {
	case value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" && value.ShortTag() != "!!null":
		p.report(value.Line, providers.CodeInvalidType, name+" is not text", "write it in quotes")
	case value.ShortTag() == "!!null" || strings.TrimSpace(value.Value) == "":
		p.report(value.Line, providers.CodeMissing, name+" is empty", "give it a value, or remove the line")
	case len(value.Value) > maxValue:
		p.report(value.Line, providers.CodeOutOfRange, fmt.Sprintf("%s has more than %d bytes", name, maxValue),
			"shorten it, or deny the subject")
	case value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.report(value.Line, providers.CodeInvalidValue, name+" is a block of text, which ends with a line break: it "+
			"would be the name of no one", "write it on one line, in quotes")
	case name == memberToken && LooksLikeToken(value.Value):
		p.report(value.Line, providers.CodeInvalidValue, "token is a whole token, which is a secret",
			"write its id instead (the claim jti), and revoke the token at the issuer")
	default:
		return value.Value
	}
	return ""
}

// time reads a member that is a time.
func (p *parser) time(name string, value *yaml.Node) time.Time {
	if value.Kind == yaml.ScalarNode && (value.ShortTag() == "!!str" || value.ShortTag() == "!!timestamp") {
		if t, err := time.Parse(time.RFC3339, value.Value); err == nil && t.After(time.Unix(0, 0)) {
			return t
		}
	}
	p.report(value.Line, providers.CodeInvalidValue, name+" is not a time",
		"write date, time and zone (RFC 3339), such as 2026-11-29T12:00:00Z")
	return time.Time{}
}

// checkCriterion reports an entry that does not deny exactly one thing.
func (p *parser) checkCriterion(line int, e Entry) {
	conflict := func(reason, fix string) { p.report(line, providers.CodeConflict, reason, fix) }
	criteria := 0
	for _, one := range []string{e.Subject, e.Client, e.Token} {
		if one != "" {
			criteria++
		}
	}
	switch {
	case criteria == 0:
		p.report(line, providers.CodeMissing, "the entry denies nothing: it has no subject, client or token",
			"add one of them, or remove the entry")
	case criteria > 1:
		conflict("the entry has more than one of subject, client and token", "write an entry for each")
	case e.Token != "" && e.Issuer != "":
		conflict("a token id is denied for every issuer, and the entry has an issuer", "remove the issuer")
	case e.Subject == "" && !e.IssuedBefore.IsZero():
		conflict("issued_before is for a subject, and the entry has none", "remove issued_before, or deny the subject")
	}
}

// LooksLikeToken reports whether text is a signed token (a JWS, RFC 7515) and not the id of one.
func LooksLikeToken(text string) bool {
	return strings.HasPrefix(text, "ey") && strings.Count(text, ".") == 2
}
