package denials

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/providers"
)

func TestParse_ReadsEveryMember(t *testing.T) {
	got := listOf(t, `# a comment
- issuer: https://a.example   # and another
  subject: "alice"
  issued_before: 2026-11-29T13:00:00+01:00
  reason: 'laptop stolen'
  until: "2026-12-01T00:00:00Z"
- client: https://client.example/app.json
  issuer: https://a.example
- {token: "6f1c1f0e"}
- subject: !!str 12
`).Entries()
	want := []Entry{
		{Issuer: "https://a.example", Subject: "alice", IssuedBefore: noon, Reason: "laptop stolen",
			Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)},
		{Issuer: "https://a.example", Client: "https://client.example/app.json"},
		{Token: "6f1c1f0e"},
		{Subject: "12"},
	}
	if !slices.EqualFunc(got, want, Entry.equals) {
		t.Errorf("%+v", got)
	}
}

// Each mistake makes the whole file bad, and is reported with its line, without anything that is in the file.
func TestParse_RefusesABadFile(t *testing.T) {
	const jws = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary"
	const (
		missing, conflict  = providers.CodeMissing, providers.CodeConflict
		syntax, unknown    = providers.CodeInvalidSyntax, providers.CodeUnknownKey
		wrongType, invalid = providers.CodeInvalidType, providers.CodeInvalidValue
		outOfRange         = providers.CodeOutOfRange
	)
	for name, c := range map[string]struct {
		content string
		line    int
		code    providers.Code
		reason  string
	}{
		"nothing":                    {"", 0, missing, "it is empty"},
		"comments only":              {"# []\n", 0, missing, "it is empty"},
		"null":                       {"~\n", 0, missing, "it is empty"},
		"a document without a value": {"---\n", 0, missing, "it is empty"},
		"no YAML": {
			"- subject: \"canary\n", 2, syntax, "not valid YAML: found unexpected end of stream",
		},
		"a tab": {
			"- subject: canary\n\tclient: x\n", 2, syntax, "not valid YAML",
		},
		"an anchor that does not exist": {
			"- subject: *canary\n", 0, syntax, "there is no such anchor",
		},
		"deep nesting": {
			strings.Repeat("[", 20_000), 0, syntax, "not valid YAML: exceeded max depth",
		},
		"bytes that are no text": {"- subject: \"\xff\xfe\"\n", 0, syntax, "not valid YAML"},
		"UTF-16":                 {"\xff\xfe[\x00]\x00", 0, syntax, "its encoding is not UTF-8"},
		"two documents": {
			"- subject: canary\n---\n[]\n", 2, syntax, "more than one YAML document",
		},
		"a mapping": {"subject: canary\n", 1, wrongType, "it is not a list"},
		"text":      {"canary\n", 1, wrongType, "it is not a list"},
		"an entry that is text": {
			"- subject: alice\n- canary\n", 2, wrongType, "an entry of the list is not a set of members",
		},
		"an entry that is an alias": {
			"- &a {subject: canary}\n- *a\n", 2, wrongType, "an entry of the list",
		},
		"an empty entry": {"- {}\n", 1, missing, "the entry denies nothing"},
		"an entry without a criterion": {
			"- subject: alice\n- reason: canary\n", 2, missing, "the entry denies nothing",
		},
		"only an issuer": {
			"- issuer: https://canary.example\n", 1, missing, "the entry denies nothing",
		},
		"only a time": {
			"- issued_before: 2026-11-29T12:00:00Z\n", 1, missing, "the entry denies nothing",
		},
		"a subject and a client": {
			"- subject: canary\n  client: canary\n", 1, conflict, "more than one of subject, client and token",
		},
		"a client and a token": {
			"- {client: canary, token: canary}\n", 1, conflict, "more than one of",
		},
		"a token of an issuer": {
			"- {token: canary, issuer: canary}\n", 1, conflict, "has an issuer",
		},
		"a client and a time": {
			"- {client: canary, issued_before: 2026-11-29T12:00:00Z}\n", 1, conflict, "issued_before is for a subject",
		},
		"a token and a time": {
			"- {token: canary, issued_before: 2026-11-29T12:00:00Z}\n", 1, conflict, "issued_before is for a subject",
		},
		"an unknown member": {
			"- subject: alice\n  canary: x\n", 2, unknown, "there is no such member",
		},
		"a member in another case": {
			"- Subject: canary\n", 1, unknown, "there is no such member",
		},
		"a merged entry": {
			"- &a {subject: canary}\n- <<: *a\n", 2, unknown, "there is no such member",
		},
		"a name that is a list": {"- [canary]: x\n", 1, unknown, "there is no such member"},
		"a member twice": {
			"- subject: canary\n  reason: x\n  subject: canary\n", 3, conflict, "already set in line 1",
		},
		"a number": {
			"- subject: 12345\n", 1, wrongType, "subject is not text",
		},
		"a switch": {
			"- subject: canary\n  reason: true\n", 2, wrongType, "reason is not text",
		},
		"a date": {
			"- client: 2026-11-29\n", 1, wrongType, "client is not text",
		},
		"a list of subjects": {
			"- subject: [canary, canary]\n", 1, wrongType, "subject is not text",
		},
		"an alias as a value": {
			"- subject: &a canary\n- client: *a\n", 2, wrongType, "client is not text",
		},
		"a tag": {
			"- subject: !canary x\n", 1, wrongType, "subject is not text",
		},
		"no value":       {"- subject:\n", 1, missing, "subject is empty"},
		"an empty value": {"- client: \" \"\n", 1, missing, "client is empty"},
		"a long value": {
			"- token: " + strings.Repeat("canary", 700) + "\n", 1, outOfRange, "token has more than 4096 bytes",
		},
		"a whole token": {
			"- token: " + jws + "\n", 1, invalid, "which is a secret",
		},
		"a time without a zone": {
			"- {subject: canary, issued_before: 2026-11-29T12:00:00}\n", 1, invalid, "issued_before is not a time",
		},
		"a day": {
			"- {subject: canary, until: 2026-11-29}\n", 1, invalid, "until is not a time",
		},
		"a duration": {
			"- {subject: canary, until: 24h}\n", 1, invalid, "until is not a time",
		},
		"seconds": {
			"- {subject: canary, until: 1796040000}\n", 1, invalid, "until is not a time",
		},
		"a time before 1970": {
			"- {subject: canary, issued_before: 0001-01-01T00:00:00Z}\n", 1, invalid, "issued_before is not a time",
		},
		"no time": {
			"- {subject: canary, until: ~}\n", 1, invalid, "until is not a time",
		},
		"too many entries": {
			strings.Repeat("- subject: canary\n", maxEntries+1), 0, outOfRange, "more than 10000 entries",
		},
		"too many bytes": {
			"- subject: canary\n#" + strings.Repeat("x", maxFileBytes), 0, outOfRange, "more than 4 MiB",
		},
		"too many values": {
			"- [" + strings.Repeat("a,", maxParts+1) + "a]", 0, outOfRange, "200000 lines and commas",
		},
		"too many lines of a Mac":      {strings.Repeat("-\r", maxParts+1), 0, outOfRange, "200000 lines and commas"},
		"too many lines by U+0085":     {strings.Repeat("-\u0085", maxParts+1), 0, outOfRange, "200000 lines and commas"},
		"too many lines by U+2028":     {strings.Repeat("-\u2028", maxParts+1), 0, outOfRange, "200000 lines and commas"},
		"too many lines by U+2029":     {strings.Repeat("-\u2029", maxParts+1), 0, outOfRange, "200000 lines and commas"},
		"a block, with its line break": {"- subject: |\n    canary\n", 1, invalid, "subject is a block of text"},
		"a folded block":               {"- client: >-\n    canary\n", 1, invalid, "client is a block of text"},
	} {
		list, problems := parse([]byte(c.content))
		if list != nil || len(problems) != 1 {
			t.Errorf("%s: a list %v, problems %+v", name, list != nil, problems)
			continue
		}
		p := problems[0]
		if p.Line != c.line || p.Code != c.code || !strings.Contains(p.Reason, c.reason) || p.Fix == "" {
			t.Errorf("%s: %+v", name, p)
		}
		text := (&FileError{File: "denied.yaml", Findings: problems}).Error()
		if strings.Contains(text, "canary") || strings.Contains(text, "\n") || !strings.HasPrefix(text, "denied.yaml:") {
			t.Errorf("%s: the text is %q", name, text)
		}
	}
}

func TestParse_ReportsAllProblemsUpToALimit(t *testing.T) {
	_, problems := parse([]byte("- subject: 1\n- client: 2\n- reason: x\n"))
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if !slices.Equal(lines, []int{1, 2, 3}) {
		t.Errorf("problems in lines %v", lines)
	}
	if _, problems := parse([]byte(strings.Repeat("- x\n", 100))); len(problems) != maxFindings {
		t.Errorf("%d problems", len(problems))
	}
}

func TestRead_OfSomethingElseThanAFile(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "there is no such file", dir: "it is not a regular file",
		os.DevNull: "it is not a regular file",
	} {
		_, err := Read(name)
		if err == nil || !strings.HasPrefix(err.Error(), name+": "+want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// text draws text as it can be in a token, printable or not.
func text(t *rapid.T, label string) string {
	return rapid.StringN(1, 40, -1).Filter(func(s string) bool {
		return strings.TrimSpace(s) != "" && !LooksLikeToken(s)
	}).Draw(t, label)
}

// A file that is written is read as it was meant.
func TestFormat_IsReadAsItWasMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry {
			var e Entry
			moment := func(label string) time.Time {
				return time.Unix(rapid.Int64Range(1, 1<<35).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
			}
			switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); kind {
			case 0:
				e.Token = text(t, "token")
			case 1:
				e.Client = text(t, "client")
			default:
				e.Subject = text(t, "subject")
				if rapid.Bool().Draw(t, "before") {
					e.IssuedBefore = moment("issued before")
				}
			}
			if e.Token == "" && rapid.Bool().Draw(t, "of an issuer") {
				e.Issuer = text(t, "issuer")
			}
			if rapid.Bool().Draw(t, "explained") {
				e.Reason = text(t, "reason")
			}
			if rapid.Bool().Draw(t, "ends") {
				e.Until = moment("until")
			}
			return e
		}), 0, 5).Draw(t, "entries")
		content := format(entries)
		list, problems := parse(content)
		if len(problems) > 0 || !slices.EqualFunc(list.Entries(), entries, Entry.equals) {
			t.Fatalf("%+v\nbecame %s\n%+v", entries, content, problems)
		}
	})
}

// No file makes the parser panic, quote the file, or accept an entry that denies nothing or everything.
func FuzzParse(f *testing.F) {
	f.Add([]byte("- {issuer: https://a.example, subject: alice, issued_before: 2026-11-29T12:00:00Z}\n- token: x\n"))
	f.Add([]byte("- client: \"web\"\n  reason: 'x'\n  until: 2026-11-29T12:00:00.5+01:00\n---\n"))
	f.Add([]byte("- &a {<<: *a, ? [b] : !!str c}\n"))
	f.Add([]byte("\xff\xfe-\x00 \x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, problems := parse(content)
		if (list == nil) != (len(problems) > 0) {
			t.Fatalf("list %v, problems %+v", list, problems)
		}
		if list == nil {
			for _, p := range problems {
				if p.Reason == "" || p.Fix == "" || p.Code == "" || strings.ContainsAny(p.Reason+p.Fix, "\n\r") {
					t.Fatalf("%+v", p)
				}
			}
			return
		}
		for _, e := range list.Entries() {
			criteria := 0
			for _, one := range []string{e.Subject, e.Client, e.Token} {
				if strings.TrimSpace(one) != "" {
					criteria++
				}
			}
			if criteria != 1 {
				t.Fatalf("%+v", e)
			}
		}
		stranger := &providers.Identity{Issuer: "https://a.example", Subject: fmt.Sprint("s", len(content))}
		if _, denied := list.Check(stranger); denied && !strings.Contains(string(content), stranger.Subject) {
			t.Fatalf("%q denies a caller that it does not name", content)
		}
		again, problems := parse(format(list.Entries()))
		if len(problems) > 0 || !slices.EqualFunc(again.Entries(), list.Entries(), Entry.equals) {
			t.Fatalf("%q is not read as it is written: %+v", content, problems)
		}
	})
}
