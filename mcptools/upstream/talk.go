package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// The protocol versions of both eras: from modernVersion on, each request stands alone, and before, a handshake opens
// a session.
const (
	modernVersion = "2026-07-28"
	legacyVersion = "2025-11-25"
)

// probeTimeout is how long an upstream has to answer server/discover, until it is taken for one that ignores unknown
// methods. It includes the start of the process.
const probeTimeout = 10 * time.Second

// session is a link after the handshake.
type session struct {
	link
	version string // of the protocol
	server  string // name and version of the upstream
	// digests are those of the definitions that the upstream listed at the start of the session, by name.
	digests map[string]string
	// failures is how many attempts had failed before the session.
	failures int
}

func (s *session) isModern() bool { return s.version >= modernVersion }

// client is this server, as upstreams see it.
type client struct {
	probeTimeout time.Duration
	userAgent    string
	info         string // the encoded member clientInfo
}

func newClient(version string) client {
	info, _ := json.Marshal(mcp.Implementation{Name: "gatehouse", Version: version})
	return client{probeTimeout: probeTimeout, userAgent: "gatehouse/" + version, info: string(info)}
}

// modernMeta returns the members that every request of MCP 2026-07-28 has in _meta, without braces. capabilities are
// those of the caller that can be used through this server.
func (c client) modernMeta(capabilities string) string {
	return `"` + mcp.MetaKeyProtocolVersion + `":"` + modernVersion + `","` + mcp.MetaKeyClientInfo + `":` + c.info +
		`,"` + mcp.MetaKeyClientCapabilities + `":` + capabilities
}

// connect agrees on a protocol version and lists the tools.
func (c client) connect(ctx context.Context, l link) (*session, []Definition, error) {
	s, err := c.handshake(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	l.agreed(s.version)
	definitions, err := c.listTools(ctx, s)
	if err != nil {
		return nil, nil, fmt.Errorf("tools/list: %w", err)
	}
	s.digests = map[string]string{}
	for _, d := range definitions {
		s.digests[d.Name] = d.SHA256
	}
	return s, definitions, nil
}

// handshake finds out the era of the upstream: it answers server/discover if it is modern; after any other answer, or
// none, it gets an initialize (MCP 2026-07-28, Versioning, Backward Compatibility).
func (c client) handshake(ctx context.Context, l link) (*session, error) {
	probe, cancel := context.WithTimeout(ctx, c.probeTimeout)
	defer cancel()
	s, err := c.discover(probe, l)
	if s != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return s, err
	}
	wasSilent := err != nil && ctx.Err() == nil
	s, err = c.initialize(ctx, l)
	if s == nil && wasSilent && ctx.Err() == nil {
		if late, _ := c.discover(ctx, l); late != nil {
			return late, nil // it was only slow to start
		}
	}
	return s, err
}

// discover returns the session with a modern upstream. Without a session and an error, the upstream is of the other
// era.
func (c client) discover(ctx context.Context, l link) (*session, error) {
	answer, err := c.ask(ctx, l, "server/discover", `{"_meta":{`+c.modernMeta("{}")+`}}`)
	switch {
	case err != nil && isClosed(l.lost()):
		return nil, err // whatever was asked
	case err != nil && !isForeignAnswer(err):
		return nil, fmt.Errorf("server/discover: %w", err)
	case err != nil:
		return nil, nil
	case answer.fault == nil:
		return discovered(l, answer.result), nil
	case answer.fault.Code == mcp.CodeUnsupportedProtocolVersion && !offersLegacy(answer.fault.Data):
		return nil, errors.New("it supports no protocol version that this server does")
	}
	return nil, nil
}

// isForeignAnswer reports whether err means that the upstream answered a modern request in a way that a modern
// upstream would not.
func isForeignAnswer(err error) bool {
	if status, ok := errors.AsType[statusError](err); ok {
		return status.isForeign()
	}
	reason := reasonOf(err)
	return reason == ReasonMalformed || reason == ReasonLost
}

// discovered returns the session with a modern upstream, or nil if it is not one.
func discovered(l link, result json.RawMessage) *session {
	var d struct {
		Versions []string `json:"supportedVersions"`
		Meta     struct {
			Server serverInfo `json:"io.modelcontextprotocol/serverInfo"`
		} `json:"_meta"`
	}
	if json.Unmarshal(result, &d) != nil || !slices.Contains(d.Versions, modernVersion) {
		return nil
	}
	return &session{link: l, version: modernVersion, server: d.Meta.Server.String()}
}

// serverInfo is how an upstream introduces itself.
type serverInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// maxServerInfo bounds the name and the version of an upstream, in bytes.
const maxServerInfo = 100

// String implements fmt.Stringer. It is safe to show.
func (i serverInfo) String() string {
	return providers.Printable(strings.TrimSpace(i.Name+" "+i.Version), maxServerInfo)
}

// offersLegacy reports whether the data of an error about the version names one before modernVersion.
func offersLegacy(data json.RawMessage) bool {
	var d struct {
		Supported []string `json:"supported"`
	}
	return json.Unmarshal(data, &d) == nil &&
		slices.ContainsFunc(d.Supported, func(version string) bool { return version < modernVersion })
}

// initialize opens a session with an upstream of MCP 2025-11-25 or older. No capability is declared,
// because nothing could answer what the upstream asks.
func (c client) initialize(ctx context.Context, l link) (*session, error) {
	params := `{"protocolVersion":"` + legacyVersion + `","capabilities":{},"clientInfo":` + c.info + `}`
	answer, err := c.ask(ctx, l, "initialize", params)
	if err != nil {
		return nil, fmt.Errorf("initialize: %w", err)
	}
	if answer.fault != nil {
		return nil, fmt.Errorf("it answered server/discover and initialize with errors, the second with code %d",
			answer.fault.Code)
	}
	var r struct {
		Version string     `json:"protocolVersion"`
		Server  serverInfo `json:"serverInfo"`
	}
	if json.Unmarshal(answer.result, &r) != nil {
		return nil, errMalformed(errors.New("the result of initialize has another form"))
	}
	if r.Version >= modernVersion || !slices.Contains(mcp.SupportedProtocolVersions(), r.Version) {
		return nil, fmt.Errorf("it speaks the protocol version %s, which this server does not support",
			providers.Quote(r.Version))
	}
	l.agreed(r.Version)
	if err := l.notify(ctx, "notifications/initialized"); err != nil {
		return nil, fmt.Errorf("notifications/initialized: %w", err)
	}
	return &session{link: l, version: r.Version, server: r.Server.String()}, nil
}

// ask sends a request other than a tools/call.
func (c client) ask(ctx context.Context, l link, method, params string) (reply, error) {
	r := request{id: newRequestID(), method: method}
	r.body = appendRequest(nil, r.id, method, []byte(params))
	return l.roundTrip(ctx, r, nil)
}

// Limits of a list of tools.
const (
	maxPages     = 100
	maxTools     = 1000
	maxListBytes = 16 << 20 // of all pages
)

// listTools returns the definitions of all tools, sorted by name.
func (c client) listTools(ctx context.Context, s *session) ([]Definition, error) {
	var all []Definition
	cursor, size := "", 0
	for range maxPages {
		page, err := c.listPage(ctx, s, cursor)
		if err != nil {
			return nil, err
		}
		for _, raw := range page.tools {
			if size += len(raw); len(all) == maxTools || size > maxListBytes {
				return nil, fmt.Errorf("it has more than %d tools or %d bytes of definitions", maxTools, maxListBytes)
			}
			all = append(all, readDefinition(raw))
		}
		if cursor = page.next; cursor == "" {
			slices.SortStableFunc(all, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
			return withoutDoubles(all), nil
		}
	}
	return nil, fmt.Errorf("its list of tools has more than %d pages", maxPages)
}

// withoutDoubles makes one definition, which cannot be offered, of those with the same name.
func withoutDoubles(all []Definition) []Definition {
	var out []Definition
	for _, d := range all {
		if last := len(out) - 1; last >= 0 && out[last].Name == d.Name {
			out[last] = Definition{Name: d.Name, problem: errors.New("the upstream lists two tools of this name")}
			continue
		}
		out = append(out, d)
	}
	return out
}

type page struct {
	tools []json.RawMessage
	next  string
}

func (c client) listPage(ctx context.Context, s *session, cursor string) (page, error) {
	params := map[string]json.RawMessage{}
	if cursor != "" {
		params["cursor"], _ = json.Marshal(cursor)
	}
	if s.isModern() {
		params["_meta"] = json.RawMessage(`{` + c.modernMeta("{}") + `}`)
	}
	text, _ := json.Marshal(params)
	answer, err := c.ask(ctx, s.link, "tools/list", string(text))
	switch {
	case err != nil:
		return page{}, err
	case answer.fault != nil && answer.fault.Code == codeMethodNotFound && cursor == "":
		return page{}, nil // it has no tools
	case answer.fault != nil:
		return page{}, fmt.Errorf("the answer is an error with code %d", answer.fault.Code)
	}
	var members [2]json.RawMessage
	var p page
	if rawjson.Members(answer.result, members[:], "tools", "nextCursor") != nil {
		return page{}, errMalformed(errors.New("the result is not an object with distinct members"))
	}
	var ok bool
	if p.tools, ok = readTools(members[0]); !ok {
		return page{}, errMalformed(errors.New("the result has no list of tools"))
	}
	if members[1] != nil && string(members[1]) != "null" {
		if p.next, ok = rawjson.Text(members[1]); !ok {
			return page{}, errMalformed(errors.New("the cursor is not a string"))
		}
	}
	return p, nil
}

// readTools returns the elements of a list, and not many more than maxTools of them: a list of a few bytes for each
// would become many times as large. ok is false for any other value.
func readTools(list json.RawMessage) (tools []json.RawMessage, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(list))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('[') {
		return nil, false
	}
	for decoder.More() && len(tools) <= maxTools {
		var raw json.RawMessage
		if decoder.Decode(&raw) != nil {
			return nil, false
		}
		tools = append(tools, raw)
	}
	return tools, true
}

const codeMethodNotFound = -32601

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
