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

// metadata compares the document that clients get (RFC 9728) with the one that follows from the configuration,
// member by member.
func (s *serverChecks) metadata(ctx context.Context, path string) diagnostics.Outcome {
	r, err := s.get(ctx, path)
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	const forward = "have the proxy in front forward this path unchanged; clients need it to sign in"
	if r.status != http.StatusOK {
		return diagnostics.Failed(path+" gets "+describe(r),
			forward+"; if there is no proxy, the server runs with another resource"+s.orAlone())
	}
	contentType := r.header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/json" {
		return diagnostics.Failed("its Content-Type is "+providers.Quote(contentType)+", not application/json",
			forward)
	}
	var got providers.Metadata
	if json.Unmarshal(r.body, &got) != nil {
		return diagnostics.Failed("it is not resource metadata", forward)
	}
	var expected, found []string
	for _, d := range s.compareMetadata(got) {
		expected, found = append(expected, d.member+" "+d.want), append(found, d.member+" "+d.got)
	}
	if len(found) > 0 {
		o := diagnostics.Failed(strings.Join(found, "; "),
			"restart the server with this configuration, or run this "+
				"command with the server's (--config, flags, environment)")
		if got.Resource != s.Settings.Resource.String() {
			o.Fix = "set resource to the URL that clients use, byte for byte, in the server's configuration and in this " +
				"one: clients reject metadata of another URL"
		}
		o.Expected = strings.Join(expected, "; ")
		return o
	}
	return diagnostics.OK("resource " + got.Resource)
}

type difference struct{ member, want, got string }

// compareMetadata returns the members that differ from those of the configuration. Without metadata of the
// provider, only resource is known.
func (s *serverChecks) compareMetadata(got providers.Metadata) []difference {
	var list []difference
	if want := s.Settings.Resource.String(); want != got.Resource {
		list = append(list, difference{"resource", providers.Quote(want), providers.Quote(got.Resource)})
	}
	if s.openError != nil {
		return list
	}
	want := s.diagnosis.Metadata
	for _, m := range []struct {
		name      string
		want, got []string
	}{
		{"authorization_servers", want.AuthorizationServers, got.AuthorizationServers},
		{"scopes_supported", want.ScopesSupported, got.ScopesSupported},
		{"bearer_methods_supported", want.BearerMethodsSupported, got.BearerMethodsSupported},
	} {
		if !slices.Equal(m.want, m.got) {
			list = append(list, difference{
				m.name, providers.Quote(strings.Join(m.want, " ")), providers.Quote(strings.Join(m.got, " ")),
			})
		}
	}
	return list
}
