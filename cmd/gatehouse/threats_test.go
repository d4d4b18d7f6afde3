package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// threat is a row of the threat model of the authorization server in front of a provider. Its subtests have names that
// begin with "row" and its number, in two digits.
type threat struct{ event, answer string }

// threats returns the rows; the first is row 1.
func threats() []threat {
	return []threat{
		{"very many registrations, from many addresses",
			"nothing is stored, so nothing grows and no client is forgotten; one address gets 429"},
		{"a registration that is huge or deeply nested", "400 `invalid_client_metadata`, with small limits for each part"},
		{"a redirect URI that runs code, is plain http, or reads in two ways", "400 `invalid_redirect_uri`"},
		{"a redirect URI with the scheme of an app",
			"left out, unless `redirect_schemes` names the scheme; the others of the registration stay"},
		{"a client id that was forged or edited, or whose secret was removed",
			"a page at `/authorize`, 401 `invalid_client` at `/token`"},
		{"a redirect URI that differs a little from the registered one",
			"a page, never a redirect; on loopback, the port may differ"},
		{"another redirect URI at the exchange than at the start",
			"`invalid_grant`; the right request can still use the code"},
		{"a client document at a private address, also by DNS that changes", "no packet leaves for that address"},
		{"a client document that is slow, large, redirected, deep or not its own",
			"refused in bounded time and memory; other clients are not delayed"},
		{"a client with a misleading name or logo",
			"the hosts stand out, the name is shown as a claim, without control characters; no logo is loaded"},
		{"a client that redirects to this computer", "the page warns that any program may be behind it"},
		{"a document that offers a key and also none", "treated as a public client, never as one that has authenticated"},
		{"a client of an attacker, and a person who is signed in at the provider",
			"consent each time; without a click, nothing is sent to the provider"},
		{"the consent page in a frame", "the browser refuses to show it"},
		{"a consent form from another site or browser, edited, or old", "403; nothing goes to the provider or the client"},
		{"a double click, the back button, two tabs", "each attempt works on its own"},
		{"an attacker approves, and a victim follows the link to the provider",
			"403: the browser that approved must come back, and the code is not exchanged"},
		{"a cookie that an attacker plants", "names with `__Host-`, sealed content, bound to one attempt"},
		{"a response with a state that is missing, foreign, old or used",
			"400; one state makes one sign-in, on all replicas"},
		{"the attacker's code in the victim's browser", "state, PKCE verifier and nonce do not fit"},
		{"a response of another provider", "refused by `iss`, before the code is sent anywhere"},
		{"an error of the provider, with text in it",
			"the client gets an error of a fixed list; the text is in the log alone, escaped"},
		{"a provider that ignores PKCE", "the nonce binds the response; doctor says so"},
		{"an ID token that is wrong in any member, or in its signature", "no sign-in, and the reason in log and audit"},
		{"an ID token without a usable subject", "no sign-in"},
		{"an ID token of another tenant, or signed with its keys", "refused"},
		{"a personal account, or one of another company",
			"such an issuer needs `required_claims` to start; the person gets a page"},
		{"an e-mail address that is not verified, or has a new owner",
			"an address identifies no one; a rule on it demands that it is verified"},
		{"another person in the answer to a refresh", "the sign-in ends"},
		{"one e-mail address, two subjects", "two persons"},
		{"a client that asks for more than its person may have", "it gets what both have; a registration grants nothing"},
		{"groups of a strange form, or too many of them",
			"exact comparison; other forms give no scope, and an overage is named"},
		{"groups that are removed at the provider", "fewer scopes after the next recheck, and never more than was approved"},
		{"a client without PKCE, or with a weak form of it", "400, no code"},
		{"a code in another client, with another redirect URI or resource", "`invalid_grant`"},
		{"a code that is used twice, also at the same time", "one success at most, and the sign-in ends"},
		{"a refresh token or secret of another client", "refused; the sign-in goes on"},
		{"40 refreshes at once, on two replicas", "the same successor for all, and one question to the provider"},
		{"a refresh token that was replaced long ago", "`invalid_grant`; the sign-in ends"},
		{"invented refresh tokens", "`invalid_grant`, without asking the store"},
		{"a token of one kind in the place of another", "refused: each kind has keys of its own"},
		{"a token of the provider at the MCP endpoint", "401"},
		{"a resource that is foreign, doubled, changed or malformed", "`invalid_target`; without one, the only resource"},
		{"a redirect before the client is known", "a page; there is no redirect after a logout"},
		{"very long parameters, line ends in them, cookies of many attempts", "400, or the oldest attempt is dropped"},
		{"a thief who reads the store",
			"nothing in it can be used: ids are hashed, content is sealed, the keys are elsewhere"},
		{"a thief who writes the store",
			"moved or edited content does not open: 503 and an alarm; an old version reopens one refresh token at most"},
		{"the secrets leak", "a new secret replaces the old one: tokens and registrations of the old one end"},
		{"a signing key leaks", "all replicas replace it within a minute, and tokens of the old one are refused"},
		{"clocks that jump, or differ between replicas",
			"no second question to the provider; a clock that was hours ahead puts no question off"},
		{"a replica that dies between the provider's answer and its own write",
			"one person may have to sign in again, others go on"},
		{"a store that loses its last second", "the client's newer token is accepted"},
		{"a Redis that removes records when it is full", "start and doctor say so; the person signs in again"},
		{"the store is down", "the server starts, calls go on, sign-ins and refreshes are 503"},
		{"the provider is down", "the server starts, calls go on, refreshes for `recheck_max_stale`"},
		{"a provider that answers with errors, pages, or not at all",
			"an outage, all of it; only a definite answer ends a sign-in"},
		{"a person who was disabled at the provider", "no new token after the next recheck"},
		{"a provider that replaces its refresh token, with a bad ID token",
			"the new one is saved first, and then the answer judged"},
		{"a revocation with an access token, a foreign token or garbage",
			"the client's own sign-in ends, no other; `invalid_grant` for a token of another client, else 200"},
		{"two authorization servers in one store", "the second one refuses to use it"},
		{"two processes on one file", "the second one does not start"},
		{"secrets and texts of the provider in logs and pages", "none"},
		{"an identity assertion that is wrong in any member, or used twice",
			"`invalid_grant`, on all replicas; no refresh token"},
		{"a forged Host or X-Forwarded-Host", "every URL is from the configuration"},
	}
}

// notTested are rows without a subtest, and why.
func notTested() map[int]string { return map[int]string{} }

var rowName = regexp.MustCompile(`^row (\d\d) `)

// rowTests returns the tests of each row: the test functions, by package, that have a string that begins with its name.
func rowTests(t *testing.T) map[int]map[string][]string {
	t.Helper()
	found := map[int]map[string][]string{}
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") || path == "cmd/gatehouse/threats_test.go" {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "providers/")
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				if match := rowName.FindStringSubmatch(text); match != nil {
					row, _ := strconv.Atoi(match[1])
					if found[row] == nil {
						found[row] = map[string][]string{}
					}
					if name := function.Name.Name; !slices.Contains(found[row][folder], name) {
						found[row][folder] = append(found[row][folder], name)
					}
				}
				return true
			})
		}
	})
	return found
}

func TestThreats_EachRowHasATest(t *testing.T) {
	t.Parallel()
	found := rowTests(t)
	for row := range found {
		if row < 1 || row > len(threats()) {
			t.Errorf("tests are named after row %d, which does not exist", row)
		}
	}
	for i := range threats() {
		switch row := i + 1; {
		case len(found[row]) == 0 && notTested()[row] == "":
			t.Errorf("row %d has no test", row)
		case len(found[row]) > 0 && notTested()[row] != "":
			t.Errorf("row %d has tests, and a reason why not: %v", row, found[row])
		}
	}
}

func threatsTable(t *testing.T) string {
	found := rowTests(t)
	table := row("row", "event or attack", "what happens", "tests") + row("---", "---", "---", "---")
	for i, one := range threats() {
		var tests []string
		for _, folder := range slices.Sorted(maps.Keys(found[i+1])) {
			names := found[i+1][folder]
			slices.Sort(names)
			tests = append(tests, folder+" "+code(strings.Join(names, "`, `")))
		}
		if reason := notTested()[i+1]; reason != "" {
			tests = []string{"none: " + reason}
		}
		table += row(fmt.Sprint(i+1), one.event, one.answer, strings.Join(tests, "; "))
	}
	return table
}
