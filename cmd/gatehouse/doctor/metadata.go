package doctor

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// metadata compares the document that clients get (RFC 9728) with the one of this configuration, member by member.
func (s *ownServer) metadata(ctx context.Context, path string) diagnostics.Outcome {
	a, err := s.get(ctx, path)
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	const passOn = "have what stands in front pass this path on unchanged; clients read it to find the sign-in"
	if a.status != http.StatusOK {
		return diagnostics.Failed(path+" gave "+inWords(a), passOn+"; if nothing is in front, the server runs with another resource")
	}
	if kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err != nil || kind != "application/json" {
		return diagnostics.Failed("its Content-Type is "+providers.Quote(a.header.Get("Content-Type"))+", not application/json", passOn)
	}
	var got providers.Metadata
	if json.Unmarshal(a.body, &got) != nil {
		return diagnostics.Failed("it is not the metadata of a resource", passOn)
	}
	var expected, found []string
	for _, m := range differences(s.wanted(), got) {
		expected, found = append(expected, m.name+" "+m.want), append(found, m.name+" "+m.got)
	}
	if len(found) > 0 {
		o := diagnostics.Failed(strings.Join(found, "; "), "start the server again with this configuration, or give this command the server's (--config, flags, environment)")
		if got.Resource != s.wanted().Resource {
			o.Fix = "clients refuse metadata of another URL than they dialled: set resource to the URL that clients type, byte for byte, in the server's configuration and in this one"
		}
		o.Expected = strings.Join(expected, "; ")
		return o
	}
	return diagnostics.OK("resource " + got.Resource)
}

// wanted is the document as the configuration has it. Of a kind that does not tell its metadata, only resource is known.
func (s *ownServer) wanted() providers.Metadata {
	if !s.known {
		return providers.Metadata{Resource: s.Config.Resource.String()}
	}
	return s.diagnosis.Metadata
}

type difference struct{ name, want, got string }

func differences(want, got providers.Metadata) []difference {
	var list []difference
	if want.Resource != got.Resource {
		list = append(list, difference{"resource", providers.Quote(want.Resource), providers.Quote(got.Resource)})
	}
	for _, m := range []struct {
		name      string
		want, got []string
	}{
		{"authorization_servers", want.AuthorizationServers, got.AuthorizationServers},
		{"scopes_supported", want.ScopesSupported, got.ScopesSupported},
		{"bearer_methods_supported", want.BearerMethodsSupported, got.BearerMethodsSupported},
	} {
		if want.AuthorizationServers != nil && !slices.Equal(m.want, m.got) {
			list = append(list, difference{m.name, providers.Quote(strings.Join(m.want, " ")), providers.Quote(strings.Join(m.got, " "))})
		}
	}
	return list
}
