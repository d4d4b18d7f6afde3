package token

import (
	"context"
	"maps"
	"net/http"
	"slices"
)

// PublishedKeys describes the keys in a key set.
type PublishedKeys struct {
	// Usable is the number of keys that can verify a signature.
	Usable int
	// Algorithms are the algorithms of these keys, sorted.
	Algorithms []string
	// Skipped has the reason for each key that cannot, without text from the provider.
	Skipped []string
	// Faulty are those of Skipped that are malformed.
	Faulty []string
}

// ReadKeys fetches a key set and reads it as [KeySet] does. The error contains no text from the provider.
// Skipped keys are returned with an error too.
func ReadKeys(ctx context.Context, client *http.Client, address string) (PublishedKeys, error) {
	body, err := getDocument(ctx, client, address, acceptKeys, maxKeyDocumentBytes)
	if err != nil {
		return PublishedKeys{}, err
	}
	ring, err := parseKeySet(body)
	var keys PublishedKeys
	if ring != nil {
		for _, key := range ring.skipped {
			keys.Skipped = append(keys.Skipped, key.String())
			if key.faulty {
				keys.Faulty = append(keys.Faulty, key.String())
			}
		}
	}
	if err != nil {
		return keys, err
	}
	keys.Usable, keys.Algorithms = ring.usable, slices.Sorted(maps.Keys(ring.keys))
	return keys, nil
}
