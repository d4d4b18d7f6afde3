package token

import (
	"errors"
	"testing"
)

// The log repeats this error at every attempt: the likeliest cause comes first, and a query is not shown.
func TestDiscovery_NamesCauseFirst(t *testing.T) {
	const issuer = "https://login.example.com/main/"
	places := append(MetadataURLs(issuer), "https://login.example.com/meta?key=hunter2")
	d := Discovery{Issuers: []string{issuer}, MetadataURLs: places}
	notFound := errors.New("login.example.com answered 404")
	for name, c := range map[string]struct {
		found map[string]PublishedMetadata
		want  string
	}{
		"nothing is found": {nil, "metadata at " + places[0] + ": " + notFound.Error() +
			"; metadata at " + places[1] + ": " + notFound.Error() +
			"; metadata at " + places[2] + ": " + notFound.Error() +
			"; metadata at https://login.example.com/meta?[redacted]: " + notFound.Error()},
		"another issuer is found": {
			map[string]PublishedMetadata{places[2]: {Issuer: "https://login.example.com/main"}},
			`a slash at the end differs: its issuer is "https://login.example.com/main", ` +
				`configured is "https://login.example.com/main/" ` +
				`(metadata at ` + places[2] + ")"},
		"the keys are not named": {map[string]PublishedMetadata{places[3]: {Issuer: issuer}},
			"it names no keys (metadata at https://login.example.com/meta?[redacted])"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.FindKeysURL(func(place string) (PublishedMetadata, error) {
				if m, ok := c.found[place]; ok {
					return m, nil
				}
				return PublishedMetadata{}, notFound
			})
			if err == nil || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}
