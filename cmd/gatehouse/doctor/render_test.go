package doctor_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/providers/diagnostics"
)

func someResults() []doctor.Result {
	return []doctor.Result{
		{Name: "config.settings", Verdict: diagnostics.VerdictOK, Expected: "the configuration is valid",
			Found: "12 settings"},
		{Name: "provider.dns", Subject: "id.example.com", Verdict: diagnostics.VerdictOK,
			Expected: "its name resolves", Found: "192.0.2.1"},
		{Name: "provider.issuer", Subject: "https://id.example.com", Verdict: diagnostics.VerdictFailed,
			Expected: "issuer is a", Found: `"b"`, Fix: "write b"},
		{Name: "provider.keys", Verdict: diagnostics.VerdictSkipped, Expected: "keys",
			Reason: "provider.issuer failed"},
		{Name: "server.tcp", Subject: "mcp.example.com", Verdict: diagnostics.VerdictWarning,
			Expected: "something answers", Found: "nothing", Fix: "start it"},
	}
}

func TestWriteTextHasALineForEachCheckAndTheFixBelow(t *testing.T) {
	want := `ok       config.settings  12 settings

ok       provider.dns     id.example.com: 192.0.2.1
failed   provider.issuer  https://id.example.com
           expected  issuer is a
           found     "b"
           fix       write b
skipped  provider.keys    provider.issuer failed

warning  server.tcp       mcp.example.com
           expected  something answers
           found     nothing
           fix       start it

2 ok, 1 warning, 1 failed, 1 skipped
`
	if diff := cmp.Diff(want, text(someResults())); diff != "" {
		t.Error(diff)
	}
}

func TestWriteJSONHasEveryResult(t *testing.T) {
	var b strings.Builder
	about := doctor.About{Version: "v1", Go: "go1.26", Platform: "linux/amd64",
		Resource: "https://mcp.example.com/mcp", Provider: "oidc"}
	if err := doctor.WriteJSON(&b, about, someResults()); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	checks, _ := got["checks"].([]any)
	if len(checks) != 5 {
		t.Fatalf("%s", b.String())
	}
	delete(got, "checks")
	if diff := cmp.Diff(map[string]any{
		"version": "v1", "go": "go1.26", "platform": "linux/amd64", "resource": "https://mcp.example.com/mcp",
		"provider": "oidc",
		"counts":   map[string]any{"ok": 2.0, "warning": 1.0, "failed": 1.0, "skipped": 1.0},
	}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{
		"name": "provider.issuer", "subject": "https://id.example.com", "result": "failed",
		"expected": "issuer is a", "found": `"b"`, "fix": "write b",
	}, checks[2]); diff != "" {
		t.Error(diff)
	}
}

func TestWriteReportRemovesUserNames(t *testing.T) {
	settings := []configs.Value{
		{Key: "resource", Value: "https://mcp.example.com/mcp", Origin: "profile /srv/people/ada/p.yaml:3"},
		{Key: "provider.client_secret", Value: "[redacted]", Origin: "file /home/grace/secret"},
		{Key: "provider.discovery_url", Value: "https://id.example.com/x?code=canary-secret&y=1",
			Origin: `file C:\Users\Alan\p.yaml:4`},
		{Key: "log.level", Value: "info", Origin: "profile /Users/linus/p.yaml:9"},
	}
	results := []doctor.Result{{Name: "provider.keys", Subject: "https://id.example.com/x?code=canary-secret",
		Verdict:  diagnostics.VerdictFailed,
		Expected: "keys", Found: `at "https://id.example.com/x?code=canary-secret": nothing in /srv/people/ada/x`,
		Fix: "fix it"}}
	var b strings.Builder
	if err := doctor.WriteReport(&b, doctor.About{Version: "v1", Go: "go1.26", Platform: "linux/amd64"},
		settings, results, "/srv/people/ada"); err != nil {
		t.Fatal(err)
	}
	want := `gatehouse v1 (go1.26, linux/amd64)

configuration

resource                https://mcp.example.com/mcp  (profile ~/p.yaml:3)
provider.client_secret  [redacted]  (file ~/secret)
provider.discovery_url  https://id.example.com/x?[redacted]  (file C:~\p.yaml:4)
log.level               info  (profile ~/p.yaml:9)

checks

failed   provider.keys  https://id.example.com/x?[redacted]
           expected  keys
           found     at "https://id.example.com/x?[redacted]": nothing in ~/x
           fix       fix it

0 ok, 0 warnings, 1 failed, 0 skipped
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedHasAFailureForEveryProblem(t *testing.T) {
	_, err := configs.Load(configs.Sources{Flags: map[string]string{"log.level": "loud",
		"resource": "mcp.example.com"}})
	problems, ok := err.(configs.Problems)
	if !ok {
		t.Fatal(err)
	}
	results := doctor.Refused(problems)
	if len(results) != len(problems) || len(results) < 2 || !doctor.Failed(results) {
		t.Fatalf("%+v", results)
	}
	for _, r := range results {
		if r.Subject == "log.level" && (!strings.Contains(r.Found,
			`"loud": there is no such level (flag --log.level)`) || r.Fix != "use debug, info, warn, error") {
			t.Errorf("%+v", r)
		}
	}
}
