package upstream

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// withList returns a fixture that lists these tools.
func withList(t testing.TB, tools ...string) Settings {
	s := fixture(t, "plain")
	s.Env = append(s.Env, `TEST_LIST={"tools":[`+strings.Join(tools, ",")+`]}`)
	return s
}

const goodTool = `{"name":"good","inputSchema":{"type":"object"}}`

// What an upstream says of its tools never reaches the SDK unchecked, which panics at some of it. A bad tool is left
// out and named; the others are offered.
func TestDefinitions_Bad(t *testing.T) {
	t.Parallel()
	const (
		bad        = `"name":"bad"`
		object     = `"inputSchema":{"type":"object"}`
		characters = "its name has other characters than letters, digits, _ and -"
		sdk        = "the MCP SDK does not accept its definition, such as its x-mcp-header"
		noSchema   = "its inputSchema is no JSON Schema"
	)
	noObject := func(what string) string { return "its " + what + " is not an object with distinct members" }
	x := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct{ tool, reason string }{
		"no schema":   {`{"name":"bad"}`, "its inputSchema is missing"},
		"schema null": {`{` + bad + `,"inputSchema":null}`, "its inputSchema is missing"},
		"schema true": {`{` + bad + `,"inputSchema":true}`, noObject("inputSchema")},
		"schema of a string": {
			`{` + bad + `,"inputSchema":{"type":"string"}}`,
			`the type of its inputSchema is not "object"`,
		},
		"schema without a type": {`{` + bad + `,"inputSchema":{}}`, `the type of its inputSchema is not "object"`},
		"schema with two types": {
			`{` + bad + `,"inputSchema":{"type":"object","type":"array"}}`,
			noObject("inputSchema"),
		},
		"type in another case":  {`{` + bad + `,"inputSchema":{"Type":"object"}}`, noObject("inputSchema")},
		"properties as a list":  {`{` + bad + `,"inputSchema":{"type":"object","properties":[]}}`, noSchema},
		"required as a text":    {`{` + bad + `,"inputSchema":{"type":"object","required":"a"}}`, noSchema},
		"schema of output true": {`{` + bad + `,` + object + `,"outputSchema":true}`, noObject("outputSchema")},
		"too long description": {
			`{` + bad + `,"description":"` + x(8193) + `",` + object + `}`,
			"its description has more than 8192 bytes",
		},
		"description as a number": {`{` + bad + `,"description":7,` + object + `}`, "its description is not a string"},
		"too long title": {
			`{` + bad + `,"title":"` + x(257) + `",` + object + `}`,
			"its title has more than 256 bytes",
		},
		"too long schema": {
			`{` + bad + `,"inputSchema":{"type":"object","description":"` + x(64<<10) + `"}}`,
			"its inputSchema is too long",
		},
		"too deep schema": {
			`{` + bad + `,"inputSchema":{"type":"object","not":` +
				strings.Repeat(`{"not":`, 80) + `{}` + strings.Repeat(`}`, 80) + `}}`,
			noObject("definition"),
		},
		"annotations as a list": {`{` + bad + `,` + object + `,"annotations":[]}`, "its annotations have another form"},
		"hint as a text": {
			`{` + bad + `,` + object + `,"annotations":{"readOnlyHint":"yes"}}`,
			"its annotations have another form",
		},
		"icons as an object": {`{` + bad + `,` + object + `,"icons":{}}`, "its icons have another form"},
		"only as a task": {
			`{` + bad + `,` + object + `,"execution":{"taskSupport":"required"}}`,
			"it can only be called as a task (execution.taskSupport), which is not relayed",
		},
		"bad x-mcp-header": {
			`{` + bad + `,"inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}`,
			sdk,
		},
		"escaped x-mcp-header": {
			`{` + bad + `,"inputSchema":{"type":"object","properties":{"a":{"type":"object","x-mcp\u002dheader":"A"}}}}`,
			sdk,
		},
		"name with a space":   {`{"name":"bad one",` + object + `}`, characters},
		"name with a quote":   {`{"name":"bad\"",` + object + `}`, characters},
		"name with an escape": {`{"name":"bad\u001b[2J",` + object + `}`, characters},
		"name beyond ASCII":   {`{"name":"b\u0430d",` + object + `}`, characters},
		"too long name": {
			`{"name":"` + x(65) + `",` + object + `}`,
			"its name with the prefix has more than 64 characters",
		},
		"no name":              {`{` + object + `}`, "its name is missing, or not a string"},
		"name as a number":     {`{"name":7,` + object + `}`, "its name is missing, or not a string"},
		"empty name":           {`{"name":"",` + object + `}`, characters},
		"name twice":           {`{` + bad + `,"name":"good",` + object + `}`, noObject("definition")},
		"name in another case": {`{"Name":"bad",` + object + `}`, noObject("definition")},
		"null":                 {`null`, noObject("definition")},
		"a list":               {`["bad"]`, noObject("definition")},
		"the same name twice": {
			`{` + bad + `,` + object + `},{"name":"bad",` + object + `}`,
			"the upstream lists two tools of this name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := DefaultSettings("far")
			s.Prefix, s.Tools = "", []string{"*"}
			offers, refused := s.offers(listOf(t, `[`+c.tool+`,`+goodTool+`]`))
			if len(offers) != 1 || offers[0].name != "good" || len(refused) != 1 || refused[0].Reason != c.reason {
				t.Errorf("offered %v, refused %+v", offers, refused)
			}
			s.Tools = []string{"good"}
			if offers, refused = s.offers(listOf(t, `[`+c.tool+`,`+goodTool+`]`)); len(offers) != 1 || len(refused) != 0 {
				t.Errorf("it is looked at, although nothing asks for it: %+v", refused)
			}
		})
	}
}

// listOf reads a list as listTools does.
func listOf(t *testing.T, list string) []Definition {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(list), &raw); err != nil {
		t.Fatal(err)
	}
	var all []Definition
	for _, one := range raw {
		all = append(all, readDefinition(one))
	}
	slices.SortStableFunc(all, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
	return withoutDoubles(all)
}

// Clients get the members that have a meaning here, and the schemas as they are.
func TestDefinitions_Offered(t *testing.T) {
	t.Parallel()
	const schema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object",` +
		`"properties":{"b":{"minimum":1.0},"a":{"x-unknown":"<&>"}},` +
		`"definitions":{"d":{"$ref":"#/definitions/e"}},"additionalProperties":false}`
	s := DefaultSettings("far")
	s.Tools = []string{"read_secret", "read_* > a:read b:read", "*"}
	offers, refused := s.offers(listOf(t, `[{"name":"read_it","title":"T",
		"description":"`+strings.Repeat("\\u00e9", 4096)+`",
		"inputSchema":`+schema+`,"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"x":1},
		"icons":[{"src":"https://example.com/i.png"}],"_meta":{"x":1},"execution":{"taskSupport":"optional"},"unknown":1},
		{"name":"read_secret","title":null,"description":null,"inputSchema":{"type":"object"},
		"outputSchema":null,"annotations":null},
		{"name":"headed","inputSchema":{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]`))
	if len(offers) != 3 || len(refused) != 0 {
		t.Fatalf("offered %v, refused %+v", offers, refused)
	}
	var got []string
	for _, o := range offers {
		got = append(got, fmt.Sprint(o.name, o.scopes))
	}
	if want := "far_headed[] far_read_it[a:read b:read] far_read_secret[]"; strings.Join(got, " ") != want {
		t.Errorf("offered are %v", got)
	}
	tool := offers[1].tool
	if string(tool.InputSchema.(json.RawMessage)) != schema || tool.Title != "T" || len(tool.Description) != 8192 ||
		!tool.Annotations.ReadOnlyHint || len(tool.Icons) != 1 || tool.Meta != nil {
		t.Errorf("the tool is %+v", tool)
	}
	s.URL = "http://127.0.0.1/"
	_, refused = s.offers(listOf(t, `[{"name":"headed","inputSchema":{"type":"object","properties":{"a":`+
		`{"type":"string","x-mcp\u002dheader":"A"}}}}]`))
	if len(refused) != 1 || !strings.Contains(refused[0].Reason, "x-mcp-header") {
		t.Errorf("by HTTP, refused are %+v", refused)
	}
}

// Tools that cannot be offered are named at start.
func TestOpen_NamesRefusedTools(t *testing.T) {
	t.Parallel()
	var log logBuffer
	set := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		withList(t, goodTool, `{"name":"bad"}`, `{"name":"b\u001b[2Jx"}`))
	if s := set.Status()[0]; s.Tools != 3 || s.Offered != 1 || s.Skipped != 2 {
		t.Errorf("the status is %+v", s)
	}
	for _, want := range []string{`tool=bad error="its inputSchema is missing"`, `tool=b\x1b[2Jx `} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, &log)
		}
	}
	if refused := set.Refused("far"); len(refused) != 2 || len(set.Refused("near")) != 0 {
		t.Errorf("refused are %+v", refused)
	}
	if tools := set.Tools(); len(tools) != 1 || tools[0].Name != "good" {
		t.Errorf("the tools are %+v", tools)
	}
}

// Tools of two upstreams never have one name.
func TestOpen_RefusesCollisions(t *testing.T) {
	t.Parallel()
	first, second := withList(t, goodTool), withList(t, goodTool)
	first.Name, second.Name = "first", "second"
	_, err := tryOpen(t, Options{}, first, second)
	if err == nil || !strings.Contains(err.Error(),
		"upstream second: its tool good has the name of a tool of upstream first: set another prefix") {
		t.Errorf("the error is %v", err)
	}
	second.Prefix = "second_"
	set := open(t, Options{}, first, second)
	if tools := set.Tools(); len(tools) != 2 || tools[1].Name != "second_good" {
		t.Errorf("the tools are %+v", tools)
	}
}

// A list that is no list, or too long, is not waited for.
func TestOpen_RefusesLists(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		`{}`:                                "the result has no list of tools",
		`{"tools":null}`:                    "the result has no list of tools",
		`{"tools":{}}`:                      "the result has no list of tools",
		`{"tools":[],"nextCursor":7}`:       "the cursor is not a string",
		`{"tools":[],"nextCursor":"again"}`: "more than 100 pages",
		`{"tools":[` + strings.Repeat("null,", 1000) + `null]}`:          "more than 1000 tools",
		`{"tools":[{"name":"good"}],"Tools":[` + goodTool + `]}`:         "not an object with distinct members",
		`{"tools":[` + goodTool + `],"tools":[],"nextCursor":"forever"}`: "not an object with distinct members",
	} {
		s := fixture(t, "plain")
		s.Env = append(s.Env, "TEST_LIST="+list)
		if _, err := tryOpen(t, Options{}, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v", list, err)
		}
	}
}

// A tool whose definition changed while the server runs cannot be called; the others can.
func TestUpstream_ChangedDefinition(t *testing.T) {
	t.Parallel()
	var log logBuffer
	s := fixture(t, "plain")
	set := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, s)
	const changed = "upstream_changed: this tool was withdrawn by the operator until reviewed"
	u := set.upstreams[0]
	restart := func(change string) {
		before := set.Status()[0].Restarts
		next := s
		next.Env = append(slices.Clone(s.Env), "TEST_CHANGED="+change)
		shared := u.source.(*supervisor)
		shared.mu.Lock() // no start is in progress, because the session is not lost yet
		shared.open = func(user string) (link, error) { return openStdio(next, user, stopGrace, &u.counters, u.logger) }
		shared.mu.Unlock()
		do(t, set, "die", `{}`)
		eventually(t, "it restarts", func() bool { return set.Status()[0].Restarts > before })
	}
	restart("pid")
	if got := do(t, set, "pid", `{}`); got != changed {
		t.Errorf("the changed tool: %s", got)
	}
	if got := do(t, set, "sleep", `{"text":"good"}`); got != text("good") {
		t.Errorf("another tool: %s", got)
	}
	if s := set.Status()[0]; len(s.Changed) != 1 || s.Changed[0] != "pid" || s.State != StateReady {
		t.Errorf("the status is %+v", s)
	}
	isLogged := strings.Contains(log.String(), "reason=upstream_changed tools=[pid]")
	if !isLogged || strings.Contains(log.String(), "secrets away") {
		t.Errorf("the log is %s", &log)
	}
	restart("")
	if got := do(t, set, "pid", `{}`); !strings.HasPrefix(got, "{") {
		t.Errorf("the tool, changed back: %s", got)
	}
}

func definitionsOf(all []Definition) (definitions []json.RawMessage) {
	for _, d := range all {
		definitions = append(definitions, d.JSON)
	}
	return definitions
}

// With pins, the tools are those of the file: without the upstream, and whatever it says.
func TestUpstream_Pinned(t *testing.T) {
	t.Parallel()
	s := fixture(t, "plain")
	found, err := Look(t.Context(), s, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Tools = []string{"pid > a", "sleep", "absent"}
	offered, refused := found.Offered(s)
	if found.Era != "2025-11-25" || found.Server != "raw 1" || len(found.Definitions) != len(rawTools) ||
		len(offered) != 2 || len(refused) != 0 {
		t.Fatalf("found %+v, offered %v, refused %v", found, offered, refused)
	}
	definitions := definitionsOf(offered)
	if s.Pinned, err = NewPins(found.Server, definitions); err != nil {
		t.Fatal(err)
	}
	s.Pinned.Tools[0].Definition = json.RawMessage(strings.Replace(string(definitions[0]), "Does pid.", "Reviewed.", 1))

	running := open(t, Options{}, s)
	eventually(t, "it answers", answers(t, running))
	down := s
	down.Command = Command{"gatehouse-no-such-program"}
	absent := open(t, Options{}, down)
	drifted := s
	drifted.Env = append(slices.Clone(s.Env), "TEST_CHANGED=sleep")
	changed := open(t, Options{}, drifted)
	eventually(t, "it answers", answers(t, changed))
	for name, set := range map[string]*Set{"running": running, "absent": absent, "changed": changed} {
		tools := set.Tools()
		if len(tools) != 2 || tools[0].Description != "Reviewed." || tools[0].Scopes[0] != "a" ||
			tools[1].Description != "Does sleep." {
			t.Errorf("%s: the tools are %+v", name, tools)
		}
	}
	if got := do(t, absent, "pid", `{}`); got != unavailableText {
		t.Errorf("absent: %s", got)
	}
	eventually(t, "the failure shows", func() bool {
		s := absent.Status()[0]
		return s.State == StateDown && s.Reason == ReasonUnavailable && s.Pinned && s.Offered == 2
	})
	if got := do(t, changed, "sleep", `{}`); !strings.HasPrefix(got, "upstream_changed") {
		t.Errorf("changed: %s", got)
	}
}

// The trial does not accept what the SDK would panic at, and the panic does not escape.
func TestTryRegister(t *testing.T) {
	t.Parallel()
	if err := tryRegister(mcp.Tool{Name: "x"}); err == nil {
		t.Error("a tool without a schema is accepted")
	}
}
