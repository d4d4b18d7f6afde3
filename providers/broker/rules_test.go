package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/token"
)

func mustRules(t testing.TB, list ...string) Rules {
	t.Helper()
	rules, errs := ParseScopeRules(list)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return rules
}

func mustRequired(t testing.TB, list ...string) RequiredClaims {
	t.Helper()
	required, errs := ParseRequiredClaims(list)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return required
}

func TestParseScopeRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list []string
		want string // as String writes it
	}{
		"none":                 {nil, ""},
		"empty entries":        {[]string{"", " , * > a,"}, "* > a"},
		"several in one entry": {[]string{"roles=A > a, roles=B > b c"}, "roles=A > a, roles=B > b c"},
		"several entries":      {[]string{"roles=A > a", "* > b"}, "roles=A > a, * > b"},
		"folded text":          {[]string{"roles=A > a,\n\t roles = B >b  b c\n"}, "roles=A > a, roles=B > b c"},
		"JSON string":          {[]string{`groups="CN=MCP,OU=x" > mcp:use, * > a`}, `groups="CN=MCP,OU=x" > mcp:use, * > a`},
		"JSON string with > and quotes": {[]string{`groups="a > \"b\\" > mcp:use`},
			`groups="a > \"b\\" > mcp:use`},
		"blanks and = in a value": {[]string{"groups=CN=MCP Admins > a"}, "groups=CN=MCP Admins > a"},
		"URL as name, and path":   {[]string{"https://x.example/r=x > a, r.s=y > b"}, "https://x.example/r=x > a, r.s=y > b"},
		"quoted although bare":    {[]string{`x="true" > a`}, `x="true" > a`},
		"star as a value":         {[]string{`x="*" > a`}, `x="*" > a`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules, errs := ParseScopeRules(c.list)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := rules.String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseScopeRules_Errors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mcp:use":                "with one > between them",
		"a=b > c > d":            "with one > between them",
		"a > c":                  "is not a claim and its value",
		"=b > c":                 "is not a claim and its value",
		"a= > c":                 "is not a claim and its value",
		"a=* > c":                "is not a pattern",
		"a=b >":                  "names no scope",
		`a=b > c"d"`:             `which is not a scope`,
		"a=b > ü":                `which is not a scope`,
		`a="b > c`:               "without the one that ends the string",
		`a="b\" > c`:             "without the one that ends the string",
		`a="b"c > d`:             "not one JSON string",
		`a="\x" > d`:             "not one JSON string",
		`a="" > d`:               "empty or not Unicode",
		`a="\ud800" > d`:         "empty or not Unicode",
		`a=b"c" > d`:             "must be a JSON string",
		"a=b\x00 > d":            "must be a JSON string",
		"a=\xff > d":             "must be a JSON string",
		"a b=c > d":              "not the name of a claim",
		".a=c > d":               "not the name of a claim",
		`"a"=c > d`:              "not the name of a claim",
		"* x > d":                "is not a claim and its value",
		"groups=CN=MCP,OU=x > d": "with one > between them",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			rules, errs := ParseScopeRules([]string{text, "* > other"})
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
				t.Errorf("got %v, want %q", errs, want)
			}
			for _, err := range errs {
				if syntax, ok := err.(*SyntaxError); !ok || syntax.Fix == "" || strings.Contains(err.Error(), "\n") {
					t.Errorf("%#v has no fix, or several lines", err)
				}
			}
			if text != "groups=CN=MCP,OU=x > d" && rules.String() != "* > other" {
				t.Errorf("other rules: %s", rules)
			}
		})
	}
}

func TestParseRequiredClaims(t *testing.T) {
	t.Parallel()
	required := mustRequired(t, "hd=example.com", `groups="a,b", level=3`)
	if got := fmt.Sprint(required); got != `[hd=example.com groups="a,b" level=3]` {
		t.Error(got)
	}
	for _, text := range []string{"hd", "=x", "hd=", `hd="x`, "hd=*", "hd=a>b"} {
		if _, errs := ParseRequiredClaims([]string{text}); len(errs) != 1 {
			t.Errorf("%s: %v", text, errs)
		}
	}
}

func TestRules_Names(t *testing.T) {
	t.Parallel()
	rules := mustRules(t, "a=1 > x y, b=2 > y z, a=3 > x")
	if diff := cmp.Diff([][]string{{"x", "y", "z"}, {"a", "b"}}, [][]string{rules.Scopes(), rules.Claims()}); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string][2]bool{
		"* > a": {false, false}, "email=a@example.com > a": {true, true}, "a=b > a": {true, false},
		"a=b > a, * > b": {false, false}, "": {false, false},
		"https://example.com/emailaddress=a > a": {true, true}, "email_verified=true > a": {true, false},
	} {
		rules := mustRules(t, text)
		if got := [2]bool{rules.NameClaims(), rules.UseEmail()}; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func claimSet(t testing.TB, text string) token.ClaimSet {
	t.Helper()
	claims, err := token.ParseClaimSet([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestRules_Scopes(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		groups := make([]string, n)
		for i := range groups {
			groups[i] = fmt.Sprint("g", i)
		}
		text, _ := json.Marshal(groups)
		return `{"groups":` + string(text) + `}`
	}
	const group, email = "groups=MCP Users > a", "email=a@x > a"
	for name, c := range map[string]struct {
		rules, claims string
		want          []string
		note          string
	}{
		"everyone":             {"* > a b", `{}`, []string{"a", "b"}, ""},
		"string":               {group, `{"groups":"MCP Users"}`, []string{"a"}, ""},
		"in a list":            {group, `{"groups":["x","MCP Users"]}`, []string{"a"}, ""},
		"union, in order":      {"g=1 > b a, * > c a", `{"g":"1"}`, []string{"b", "a", "c"}, ""},
		"path":                 {"realm.roles=x > a", `{"realm":{"roles":["x"]}}`, []string{"a"}, ""},
		"name with dots":       {"realm.roles=x > a", `{"realm.roles":["x"]}`, []string{"a"}, ""},
		"true":                 {"x=true > a", `{"x":true}`, []string{"a"}, ""},
		"false is not true":    {"x=true > a", `{"x":false}`, nil, ""},
		"true as a string":     {"x=true > a", `{"x":"true"}`, []string{"a"}, ""},
		"string, not boolean":  {`x="true" > a`, `{"x":true}`, nil, ""},
		"number":               {"x=3 > a", `{"x":3}`, []string{"a"}, ""},
		"number, another text": {"x=3 > a", `{"x":3.0}`, nil, ""},
		"absent":               {group, `{}`, nil, ""},
		"null":                 {group, `{"groups":null}`, nil, ""},

		"row 32 two groups in one string": {group, `{"groups":"x MCP Users"}`, nil, ""},
		"row 32 comma":                    {group, `{"groups":"x,MCP Users"}`, nil, ""},
		"row 32 case":                     {group, `{"groups":["mcp users"]}`, nil, ""},
		"row 32 blanks around":            {group, `{"groups":[" MCP Users"]}`, nil, ""},
		"row 32 prefix":                   {group, `{"groups":["MCP Users2"]}`, nil, ""},
		"row 32 JSON in a string":         {group, `{"groups":"[\"MCP Users\"]"}`, nil, ""},
		"row 32 full-width letters":       {group, `{"groups":["ＭCP Users"]}`, nil, ""},
		"row 32 object":                   {group, `{"groups":{"MCP Users":true}}`, nil, "neither a string"},
		"row 32 list of objects":          {group, `{"groups":[{"name":"MCP Users"}]}`, nil, "neither a string"},
		"row 32 mixed list":               {group, `{"groups":["MCP Users",1]}`, nil, "neither a string"},
		"row 32 list of lists":            {group, `{"groups":[["MCP Users"]]}`, nil, "neither a string"},
		"row 32 path through a string":    {"realm.roles=x > a", `{"realm":"roles"}`, nil, "not an object"},
		"row 32 other rules still count":  {group + ", * > b", `{"groups":{}}`, []string{"b"}, "neither a string"},
		"row 32 10,000 groups":            {"groups=g9999 > a", many(10_000), []string{"a"}, ""},
		"row 32 10,001 groups":            {"groups=g1 > a", many(10_001), nil, "more than 10,000"},

		"row 28 verified e-mail":      {email, `{"email":"a@x","email_verified":true}`, []string{"a"}, ""},
		"row 28 verified as a string": {email, `{"email":"a@x","email_verified":"true"}`, []string{"a"}, ""},
		"row 28 not verified":         {email, `{"email":"a@x","email_verified":false}`, nil, "email_verified"},
		"row 28 nothing said":         {email, `{"email":"a@x"}`, nil, "email_verified"},
		"row 28 odd verification":     {email, `{"email":"a@x","email_verified":["true","false"]}`, nil, "email_verified"},
		"row 28 list of addresses":    {"emails=a@x > a", `{"emails":["a@x"]}`, nil, "email_verified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := newClaimValues(claimSet(t, c.claims))
			if diff := cmp.Diff(c.want, mustRules(t, c.rules).scopesFor(values)); diff != "" {
				t.Error(diff)
			}
			notes := strings.Join(values.notes, "; ")
			if c.note == "" && notes != "" || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			if strings.Contains(notes, "MCP Users") || strings.Contains(notes, "@") {
				t.Errorf("a note has a value: %s", notes)
			}
		})
	}
}

func TestRequiredClaims(t *testing.T) {
	t.Parallel()
	required := mustRequired(t, "hd=example.com", "groups=staff", "email=a@example.com")
	for claims, want := range map[string]string{
		`{"hd":"example.com","groups":["staff"],"email":"a@example.com","email_verified":true}`: "",
		`{"groups":["staff"],"email":"a@example.com","email_verified":true}`:                    "hd",
		`{"hd":"example.org","groups":["staff"]}`:                                               "hd",
		`{"hd":"example.com","groups":["x"]}`:                                                   "groups",
		`{"hd":"example.com","groups":["staff"],"email":"a@example.com"}`:                       "email",
	} {
		if got := required.firstUnmet(newClaimValues(claimSet(t, claims))); got != want {
			t.Errorf("%s: %q, want %q", claims, got, want)
		}
	}
}

// FuzzParseScopeRules checks that what is accepted reads back as the same rules, and names scopes only.
func FuzzParseScopeRules(f *testing.F) {
	for _, text := range []string{"", "* > a", "roles=A > a b, * > c", `groups="CN=MCP,OU=x" > mcp:use`, `a="\"\\" > b`,
		`a="\u003e" > b`, "a=b > c > d", `a="b`, "a==b>c", "a=\xff > b", `x="*" > a`, "a=\u2028 > b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, errs := ParseScopeRules([]string{text})
		for _, err := range errs {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("an error has several lines: %q", err)
			}
		}
		written := rules.String()
		again, errs := ParseScopeRules([]string{written})
		if len(errs) > 0 || again.String() != written || len(again.rules) != len(rules.rules) {
			t.Fatalf("%q is written as %q, which reads as %q: %v", text, written, again, errs)
		}
		for i, r := range rules.rules {
			if r.condition != again.rules[i].condition || r.everyone != again.rules[i].everyone || len(r.scopes) == 0 {
				t.Errorf("%q reads back as %q", r, again.rules[i])
			}
		}
		_, _ = ParseRequiredClaims([]string{text})
	})
}
