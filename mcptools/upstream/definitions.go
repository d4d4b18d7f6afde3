package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers/rawjson"
)

// Definition is a tool as its upstream describes it.
type Definition struct {
	// Name is the name that the upstream uses. It may contain anything.
	Name string
	// JSON has the members that clients get. It is nil if the definition cannot be read.
	JSON json.RawMessage
	// SHA256 is the [Digest] of JSON.
	SHA256 string

	// problem says why the tool cannot be offered.
	problem error
}

// Problem returns why the tool cannot be offered, whatever its name becomes; nil if it can.
func (d Definition) Problem() error { return d.problem }

// Limits of a definition, in bytes. Real ones have less than half.
const (
	maxRemoteName  = 1 << 10
	maxTitle       = 256
	maxDescription = 8 << 10
	maxSchema      = 64 << 10
	maxAnnotations = 4 << 10
	maxIcons       = 16 << 10
)

// offeredMembers are the members of a definition that clients get. Others have no meaning here: execution is about
// tasks, which are not relayed, and _meta is for parties that know both ends.
var offeredMembers = []string{
	"name", "title", "description", "inputSchema", "outputSchema", "annotations", "icons",
}

// readDefinition reads an entry of a list of tools.
func readDefinition(raw json.RawMessage) Definition {
	values := make([]json.RawMessage, len(offeredMembers)+1)
	if rawjson.Members(raw, values, append(slices.Clone(offeredMembers), "execution")...) != nil {
		return Definition{problem: errors.New("its definition is not an object with distinct members")}
	}
	execution := values[len(offeredMembers)]
	var out bytes.Buffer
	for i, name := range offeredMembers {
		if isAbsent(values[i]) {
			continue // many Python servers write null
		}
		separator := byte(',')
		if out.Len() == 0 {
			separator = '{'
		}
		out.WriteByte(separator)
		fmt.Fprintf(&out, "%q:", name)
		out.Write(values[i])
	}
	out.WriteByte('}')
	name, isText := rawjson.Text(values[0])
	d := Definition{Name: name, JSON: out.Bytes()}
	if !isText {
		return Definition{problem: errors.New("its name is missing, or not a string")}
	}
	// Decoded, a long definition would take up many times its size.
	if d.problem = checkSizes(values[:len(offeredMembers)]); d.problem == nil {
		d.SHA256, d.problem = Digest(d.JSON)
	}
	if d.problem == nil {
		_, d.problem = d.tool()
	}
	var task struct {
		Support string `json:"taskSupport"`
	}
	if d.problem == nil && execution != nil && json.Unmarshal(execution, &task) == nil && task.Support == "required" {
		d.problem = errors.New("it can only be called as a task (execution.taskSupport), which is not relayed")
	}
	return d
}

// isAbsent reports whether an optional member is missing or null.
func isAbsent(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// tool returns the definition in the SDK's form, with its own name. The error says why it cannot be offered.
func (d Definition) tool() (*mcp.Tool, error) {
	values := make([]json.RawMessage, len(offeredMembers))
	if err := rawjson.Members(d.JSON, values, offeredMembers...); err != nil {
		return nil, errors.New("its definition is not an object with distinct members")
	}
	t := &mcp.Tool{Name: d.Name}
	var err error
	if t.Title, err = readText(values[1], "title", maxTitle); err != nil {
		return nil, err
	}
	if t.Description, err = readText(values[2], "description", maxDescription); err != nil {
		return nil, err
	}
	if t.InputSchema, err = readSchema(values[3], "inputSchema"); err != nil {
		return nil, err
	}
	if values[4] != nil {
		if t.OutputSchema, err = readSchema(values[4], "outputSchema"); err != nil {
			return nil, err
		}
	}
	if values[5] != nil && json.Unmarshal(values[5], &t.Annotations) != nil {
		return nil, errors.New("its annotations have another form")
	}
	if values[6] != nil && json.Unmarshal(values[6], &t.Icons) != nil {
		return nil, errors.New("its icons have another form")
	}
	return t, tryRegister(*t)
}

// checkSizes checks the encoded values of offeredMembers. Escaped, a character has up to six bytes.
func checkSizes(values []json.RawMessage) error {
	limits := []int{maxRemoteName, 6 * maxTitle, 6 * maxDescription, maxSchema, maxSchema, maxAnnotations, maxIcons}
	for i, limit := range limits {
		if len(values[i]) > limit {
			return fmt.Errorf("its %s is too long", offeredMembers[i])
		}
	}
	return nil
}

func readText(raw json.RawMessage, member string, limit int) (string, error) {
	if raw == nil {
		return "", nil
	}
	text, ok := rawjson.Text(raw)
	switch {
	case !ok:
		return "", fmt.Errorf("its %s is not a string", member)
	case len(text) > limit:
		return "", fmt.Errorf("its %s has more than %d bytes", member, limit)
	}
	return text, nil
}

// readSchema checks that a schema has the form that clients and the SDK rely on. It is not used to validate.
func readSchema(raw json.RawMessage, member string) (json.RawMessage, error) {
	var kind [1]json.RawMessage
	switch {
	case raw == nil:
		return nil, fmt.Errorf("its %s is missing", member)
	case rawjson.Members(raw, kind[:], "type") != nil:
		return nil, fmt.Errorf("its %s is not an object with distinct members", member)
	case member == "inputSchema" && string(kind[0]) != `"object"`:
		return nil, fmt.Errorf(`the type of its %s is not "object"`, member)
	}
	if err := json.Unmarshal(raw, new(jsonschema.Schema)); err != nil {
		return nil, fmt.Errorf("its %s is no JSON Schema", member)
	}
	return raw, nil
}

// tryRegister registers a tool at an SDK server of its own. The SDK panics at definitions that it does not accept.
func tryRegister(t mcp.Tool) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the MCP SDK does not accept its definition, such as its x-mcp-header")
		}
	}()
	mcp.NewServer(&mcp.Implementation{Name: "trial"}, nil).AddTool(&t, nil)
	return nil
}

// maxToolName bounds names with their prefix. Some clients accept no more, and no other characters.
const maxToolName = 64

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// offer is a tool of the catalog.
type offer struct {
	name   string // with the prefix
	tool   *mcp.Tool
	scopes []string
	remote string // the name at the upstream
	// sha256 is the digest that the upstream's definition must have.
	sha256 string
}

// Refusal is a tool that a line of upstreams.NAME.tools asks for, and that is not offered.
type Refusal struct {
	// Tool is the name at the upstream. It may contain anything.
	Tool   string
	Reason string
}

// offers selects the tools that the settings ask for. sha256 returns the digest that an upstream must have for a
// definition.
func (s Settings) offers(definitions []Definition) (offers []offer, refused []Refusal) {
	for _, d := range definitions {
		rule, isAskedFor := s.RuleFor(d.Name)
		if !isAskedFor {
			continue // whatever it looks like
		}
		o, err := s.offer(d, rule)
		if err != nil {
			refused = append(refused, Refusal{Tool: d.Name, Reason: err.Error()})
			continue
		}
		offers = append(offers, o)
	}
	return offers, refused
}

func (s Settings) offer(d Definition, rule ToolRule) (offer, error) {
	if d.problem != nil {
		return offer{}, d.problem
	}
	name, err := s.ToolName(d.Name)
	if err != nil {
		return offer{}, err
	}
	tool, err := d.tool()
	if err != nil {
		return offer{}, err
	}
	if s.URL != "" && mcptools.Relay(tool, nil, nil).HasHeaderParameters() {
		return offer{}, errors.New("it wants a parameter in a header (x-mcp-header), which is not relayed by HTTP")
	}
	tool.Name = name
	return offer{name: name, tool: tool, scopes: rule.Scopes, remote: d.Name, sha256: d.SHA256}, nil
}

// ToolName returns the name that callers use for the tool that the upstream calls name. The error says why it cannot
// have one.
func (s Settings) ToolName(name string) (string, error) {
	name = s.Prefix + name
	switch {
	case len(name) > maxToolName:
		return "", fmt.Errorf("its name with the prefix has more than %d characters", maxToolName)
	case !toolName.MatchString(name):
		return "", errors.New("its name has other characters than letters, digits, _ and -")
	}
	return name, nil
}

// Definitions returns the definitions of pins, with the digests of what the upstream said.
func (p *Pins) Definitions() []Definition {
	var all []Definition
	for _, pin := range p.Tools {
		d := readDefinition(pin.Definition)
		d.SHA256 = pin.SHA256
		all = append(all, d)
	}
	return all
}
