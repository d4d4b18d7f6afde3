package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers/signins"
)

const (
	adminScope = "gatehouse:admin"

	listSignIns = "list_sign_ins"
	endSignIns  = "end_sign_ins"

	defaultSignInPage = 50
	maxSignInPage     = 200
	// maxFilter is longer than every client id.
	maxFilter = 2 << 10
)

// OwnCatalog returns catalog with the tools that operators get if the provider of cfg keeps sign-ins. They do not work:
// [New] adds those that do.
func OwnCatalog(cfg *configs.Config, catalog mcptools.Catalog) mcptools.Catalog {
	return signInTools{logger: slog.New(slog.DiscardHandler)}.addTo(cfg, catalog)
}

// KeepsSignIns reports whether the provider of cfg has an authorization server that keeps sign-ins in a store.
func KeepsSignIns(cfg *configs.Config) bool {
	keeper, ok := cfg.Provider.(signins.Keeper)
	return ok && keeper.KeepsSignIns()
}

// signInTools are the tools by which operators list and end sign-ins.
type signInTools struct {
	// manager returns the provider in force, or nil.
	manager func() signins.Manager
	logger  *slog.Logger
}

func (a *App) signInTools() signInTools {
	return signInTools{logger: a.logger, manager: func() signins.Manager {
		manager, _ := a.Provider().(signins.Manager)
		return manager
	}}
}

func (t signInTools) addTo(cfg *configs.Config, catalog mcptools.Catalog) mcptools.Catalog {
	if KeepsSignIns(cfg) {
		// The list is copied: the function that made the catalog may keep its own.
		catalog.Tools = slices.Concat(catalog.Tools, []mcptools.Tool{t.list(), t.end()})
	}
	return catalog
}

// offersTools reports whether a catalog has tools for others than operators.
func offersTools(catalog mcptools.Catalog) bool {
	return slices.ContainsFunc(catalog.Tools, func(tool mcptools.Tool) bool {
		return tool.Name != listSignIns && tool.Name != endSignIns
	})
}

func limitFilter(s *jsonschema.Schema) {
	for _, name := range []string{"subject", "client", "sign_in", "after"} {
		if property := s.Properties[name]; property != nil {
			property.MaxLength = jsonschema.Ptr(maxFilter)
		}
	}
}

type listSignInsInput struct {
	Subject string `json:"subject,omitempty" jsonschema:"the sub of the person's tokens, as in the audit log"`
	Client  string `json:"client,omitempty" jsonschema:"the id of the client, as in the list"`
	SignIn  string `json:"sign_in,omitempty" jsonschema:"the id of one sign-in, as in the audit log"`
	After   string `json:"after,omitempty" jsonschema:"next of the page before"`
	Limit   int    `json:"limit,omitempty" jsonschema:"how many at most; 50 if left out"`
}

type listSignInsOutput struct {
	SignIns []signInEntry `json:"sign_ins"`
	Next    string        `json:"next,omitempty" jsonschema:"after of the next page; missing on the last one"`
}

// signInEntry has no name of a person and none of a client, which the client chooses.
type signInEntry struct {
	SignIn     string   `json:"sign_in"`
	Subject    string   `json:"subject,omitempty"`
	Client     string   `json:"client,omitempty"`
	Resource   string   `json:"resource,omitempty"`
	Scopes     []string `json:"scopes"`
	SignedIn   string   `json:"signed_in,omitempty"`
	Refreshed  string   `json:"refreshed,omitempty" jsonschema:"when the client last got tokens"`
	Confirmed  string   `json:"confirmed,omitempty" jsonschema:"when the provider last said that the person may sign in"`
	Expires    string   `json:"expires,omitempty" jsonschema:"when the sign-in ends by itself"`
	Unreadable bool     `json:"unreadable,omitempty" jsonschema:"its record does not open with the keys of this server"`
}

func newSignInEntry(s signins.SignIn) signInEntry {
	text := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	return signInEntry{
		SignIn: s.ID, Subject: s.Subject, Client: s.ClientID, Resource: s.Resource, Scopes: s.Scopes,
		SignedIn: text(s.SignedIn), Refreshed: text(s.Refreshed), Confirmed: text(s.Confirmed), Expires: text(s.Expires),
		Unreadable: s.Unreadable,
	}
}

func (t signInTools) list() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: listSignIns, Title: "List sign-ins",
		Description: "Lists who is signed in to which client, in pages: the sign-ins that the authorization server of this " +
			"server keeps. All of them, or those of one subject, of one client, or one by its id.",
		Scopes: []string{adminScope}, ReadOnly: true,
		Input: func(s *jsonschema.Schema) {
			limitFilter(s)
			s.Properties["limit"].Minimum = jsonschema.Ptr(1.0)
			s.Properties["limit"].Maximum = jsonschema.Ptr(float64(maxSignInPage))
		},
	}, func(ctx context.Context, _ *mcp.CallToolRequest, in listSignInsInput) (
		*mcp.CallToolResult, listSignInsOutput, error,
	) {
		manager, err := t.open()
		if err != nil {
			return nil, listSignInsOutput{}, err
		}
		if in.Limit == 0 {
			in.Limit = defaultSignInPage
		}
		list, next, err := manager.SignIns(ctx,
			signins.Filter{ID: in.SignIn, Subject: in.Subject, ClientID: in.Client}, in.After, in.Limit)
		if err != nil {
			t.logger.WarnContext(ctx, "the sign-ins cannot be listed", "error", err)
			return nil, listSignInsOutput{}, errors.New("the sign-ins cannot be read at the moment; the log of the server " +
				"says why")
		}
		out := listSignInsOutput{SignIns: []signInEntry{}, Next: next}
		for _, s := range list {
			out.SignIns = append(out.SignIns, newSignInEntry(s))
		}
		return nil, out, nil
	})
}

type endSignInsInput struct {
	Subject string `json:"subject,omitempty" jsonschema:"the sub of the person's tokens, as in the list"`
	Client  string `json:"client,omitempty" jsonschema:"the id of the client, as in the list"`
	SignIn  string `json:"sign_in,omitempty" jsonschema:"the id of one sign-in, as in the list"`
}

type endSignInsOutput struct {
	Ended int `json:"ended" jsonschema:"how many sign-ins have ended"`
}

func (t signInTools) end() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: endSignIns, Title: "End sign-ins",
		Description: "Ends the sign-ins of one subject, of one client, or one by its id: the client gets no more tokens " +
			"until the person signs in again. If several are given, all must match. Access tokens that are out stay valid " +
			"until they expire; a denial stops them at once.",
		Scopes: []string{adminScope}, Destructive: true,
		Input: limitFilter,
	}, func(ctx context.Context, req *mcp.CallToolRequest, in endSignInsInput) (
		*mcp.CallToolResult, endSignInsOutput, error,
	) {
		filter := signins.Filter{ID: in.SignIn, Subject: in.Subject, ClientID: in.Client}
		if filter == (signins.Filter{}) {
			return nil, endSignInsOutput{}, errors.New("name a subject, a client or a sign_in: all sign-ins are ended by the " +
				"setting provider.revoke_before only")
		}
		manager, err := t.open()
		if err != nil {
			return nil, endSignInsOutput{}, err
		}
		n, err := manager.EndSignIns(ctx, filter)
		t.logger.WarnContext(ctx, "sign-ins ended by an operator", "ended", n, "operator", subjectOf(req))
		if err != nil {
			t.logger.ErrorContext(ctx, "the sign-ins could not be ended", "error", err)
			return nil, endSignInsOutput{}, fmt.Errorf("%d sign-ins have ended, and then the sign-ins could not be read or "+
				"written; the log of the server says why; call the tool again", n)
		}
		return nil, endSignInsOutput{Ended: n}, nil
	})
}

func (t signInTools) open() (signins.Manager, error) {
	if t.manager != nil {
		if manager := t.manager(); manager != nil {
			return manager, nil
		}
	}
	return nil, errors.New("the provider of this server keeps no sign-ins")
}

func subjectOf(req *mcp.CallToolRequest) string {
	if id := mcptools.Caller(req); id != nil {
		return id.Subject
	}
	return ""
}
