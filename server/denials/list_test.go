package denials

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/providers"
)

func TestList_Check(t *testing.T) {
	const denied, revoked, passes = ReasonCallerDenied, ReasonTokenRevoked, providers.Reason("")
	otherIssuer := func(id *providers.Identity) { id.Issuer = "https://b.example" }
	issued := func(at time.Time) func(*providers.Identity) {
		return func(id *providers.Identity) { id.IssuedAt = at }
	}
	for name, c := range map[string]struct {
		entries string
		caller  func(*providers.Identity)
		want    providers.Reason
	}{
		"an empty list":                {"[]", nil, passes},
		"the subject":                  {"- subject: alice", nil, denied},
		"another subject":              {"- subject: alic", nil, passes},
		"the subject in another case":  {"- subject: Alice", nil, passes},
		"the subject, of every issuer": {"- subject: alice", otherIssuer, denied},
		"the subject of the issuer":    {"- {issuer: https://a.example, subject: alice}", nil, denied},
		"the subject of another issuer": {
			"- {issuer: https://a.example, subject: alice}", otherIssuer, passes,
		},
		"an issuer with a slash": {
			"- {issuer: https://a.example/, subject: alice}", nil, denied,
		},
		"the client":                      {"- client: web", nil, denied},
		"the client of another issuer":    {"- {issuer: https://b.example, client: web}", nil, passes},
		"a client named like the subject": {"- client: alice", nil, passes},
		"a token without a client": {
			"- client: web", func(id *providers.Identity) { id.Client = "" }, passes,
		},
		"the token":     {"- token: t-1", nil, revoked},
		"another token": {"- token: t-2", nil, passes},
		"a token without an id": {
			"- token: t-1", func(id *providers.Identity) { id.TokenID = "" }, passes,
		},
		"a token issued before":         {issuedBefore("12:00:01"), nil, revoked},
		"a token issued at that time":   {issuedBefore("12:00:00"), nil, passes},
		"a token issued in that second": {issuedBefore("12:00:00.5"), nil, revoked},
		"a token issued after": {
			issuedBefore("12:00:00"), issued(noon.Add(time.Second)), passes,
		},
		"a token that does not say when": {issuedBefore("12:00:00"), issued(time.Time{}), revoked},
		"that of another subject": {
			strings.Replace(issuedBefore("12:00:01"), "alice", "bob", 1), nil, passes,
		},
		"the subject, and its token": {"- token: t-1\n- subject: alice", nil, denied},
		"the client, and its token":  {issuedBefore("12:00:01") + "\n- client: web", nil, denied},
		"one of two times": {
			issuedBefore("11:00:00") + "\n" + issuedBefore("12:00:01"), nil, revoked,
		},
		"an entry that ends later": {
			"- {subject: alice, until: 2999-01-01T00:00:00Z}", nil, denied,
		},
		"an entry that has ended": {
			"- {subject: alice, until: 2026-11-29T12:00:00Z}", nil, passes,
		},
		"a client whose entry has ended": {"- {client: web, until: 2026-11-29T12:00:00Z}", nil, passes},
		"a token whose entry has ended":  {"- {token: t-1, until: 2026-11-29T12:00:00Z}", nil, passes},
		"tokens whose entry has ended": {
			issuedBefore("12:00:01") + "\n  until: 2026-11-29T12:00:00Z", nil, passes,
		},
		"an entry that has ended, and another": {
			"- subject: alice\n- {subject: alice, until: 2026-11-29T12:00:00Z}", nil, denied,
		},
		"an earlier time without end, and more": {
			issuedBefore("12:00:01") + "\n" + issuedBefore("13:00:00") + "\n  until: 2026-11-29T12:00:00Z", nil, revoked,
		},
	} {
		id := alice()
		if c.caller != nil {
			c.caller(id)
		}
		got, isDenied := listOf(t, c.entries).Check(id)
		if got != c.want || isDenied != (c.want != passes) {
			t.Errorf("%s: %q %v, want %q", name, got, isDenied, c.want)
		}
	}
}

// issuedBefore denies the tokens of alice that were issued before a time of the day.
func issuedBefore(clock string) string {
	return "- subject: alice\n  issued_before: 2026-11-29T" + clock + "Z"
}

func TestList_AnEntryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		list := listOf(t, "- {subject: alice, until: "+end.UTC().Format(time.RFC3339)+"}")
		time.Sleep(time.Hour - time.Nanosecond)
		if _, denied := list.Check(alice()); !denied {
			t.Error("the entry has ended too early")
		}
		time.Sleep(time.Nanosecond)
		if _, denied := list.Check(alice()); denied {
			t.Error("the entry has not ended")
		}
	})
}

// longList has n entries, of all kinds, none of which denies alice.
func longList(n int) string {
	var b strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "- {issuer: \"https://a.example\", subject: \"s-%d\", reason: \"left the company\"}\n", i)
		case 1:
			fmt.Fprintf(&b, "- {subject: alice, issued_before: 2026-11-28T00:00:00Z, until: 2999-01-01T00:00:00.%09dZ}\n", i)
		case 2:
			fmt.Fprintf(&b, "- {client: \"c-%d\"}\n", i)
		default:
			fmt.Fprintf(&b, "- {token: \"j-%d\"}\n", i)
		}
	}
	return b.String()
}

// A check of a long list costs as much as one of a short list, and allocates nothing.
func TestList_CheckCostsLookUpsOnly(t *testing.T) {
	list := listOf(t, longList(maxEntries))
	if list.Len() != maxEntries {
		t.Fatalf("%d entries", list.Len())
	}
	if n := len(list.subjects[key{"", "alice"}].older); n != 1 {
		t.Errorf("%d revocations of one subject are searched", n)
	}
	denied := alice()
	denied.Subject = "s-8"
	for _, id := range []*providers.Identity{alice(), denied} {
		if n := testing.AllocsPerRun(100, func() { list.Check(id) }); n > 0 {
			t.Errorf("%s: %.0f allocations", id.Subject, n)
		}
	}
	if _, isDenied := list.Check(denied); !isDenied {
		t.Error("an entry of a long list has no effect")
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10, maxEntries} {
		list, id := listOf(b, longList(n)), alice()
		b.Run(fmt.Sprintf("%d entries", n), func(b *testing.B) {
			for b.Loop() {
				list.Check(id)
			}
		})
	}
}

func TestList_Adds(t *testing.T) {
	before := "- subject: alice\n- {client: web, until: 2026-11-30T00:00:00Z}\n"
	for name, c := range map[string]struct {
		now  string
		want bool
	}{
		"the same": {before, false},
		"in another order": {
			"- {until: 2026-11-30T01:00:00+01:00, client: web}\n- {subject: alice, reason: x}", false,
		},
		"without an entry":         {"- subject: alice", false},
		"with another subject":     {before + "- subject: bob", true},
		"with another end":         {strings.Replace(before, "11-30", "12-30", 1), true},
		"of one issuer in place":   {"- {subject: alice, issuer: https://a.example}", true},
		"with a time for a client": {before + issuedBefore("12:00:00"), true},
	} {
		if got := listOf(t, c.now).Adds(listOf(t, before)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestReasons_AreDocumented(t *testing.T) {
	for _, reason := range []providers.Reason{ReasonCallerDenied, ReasonTokenRevoked} {
		isDocumented := func(d providers.ReasonDoc) bool { return d.Code == reason && d.Meaning != "" }
		if !slices.ContainsFunc(Reasons(), isDocumented) {
			t.Errorf("%s is not documented", reason)
		}
	}
}
