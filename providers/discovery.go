package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const maxMetadataBytes = 1 << 20

// discovery finds the keys of an issuer in its metadata (RFC 8414; OpenID Connect Discovery 1.0). It is asked again at
// every fetch of the keys, because a provider may move them.
type discovery struct {
	issuer string
	places []string // tried in this order
	client *http.Client
	hosts  httpHosts
}

// keysURL returns the jwks_uri of the first place that has metadata of this very issuer. What a document of another issuer
// says does not count (RFC 8414, section 3.3), and neither does an address that must not be asked: metadata that could
// name any address would make this server send requests into its own network.
func (d discovery) keysURL(ctx context.Context) (string, error) {
	var failures []string
	for _, place := range d.places {
		address, err := d.keysURLAt(ctx, place)
		if err == nil {
			return address, nil
		}
		var busy *busyError
		if errors.As(err, &busy) {
			return "", err // asking at the next place would not make it less busy
		}
		failures = append(failures, fmt.Sprintf("metadata at %s: %v", place, err))
	}
	return "", errors.New(strings.Join(failures, "; "))
}

func (d discovery) keysURLAt(ctx context.Context, place string) (string, error) {
	body, err := getDocument(ctx, d.client, place, maxMetadataBytes)
	if err != nil {
		return "", err
	}
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	switch {
	case json.Unmarshal(body, &metadata) != nil:
		return "", errors.New("it is not JSON with an issuer")
	case metadata.Issuer != d.issuer:
		return "", fmt.Errorf("its issuer is %s, configured is %q", quote(metadata.Issuer), d.issuer)
	case metadata.JWKSURI == "":
		return "", errors.New("it names no keys")
	}
	if reason := d.hosts.refuses(metadata.JWKSURI); reason != "" {
		return "", fmt.Errorf("the address of its keys cannot be used: %s", reason)
	}
	return metadata.JWKSURI, nil
}
