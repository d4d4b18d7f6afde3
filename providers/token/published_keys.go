package token

import (
	"context"
	"maps"
	"net/http"
	"slices"
)

// PublishedKeys says what a key set is good for.
type PublishedKeys struct {
	// Usable is how many keys can verify a signature.
	Usable int
	// Algorithms are those that they can verify, sorted.
	Algorithms []string
	// Skipped says of each other key why it cannot, in our own words.
	Skipped []string
	// Faulty are those of Skipped that the provider published in a form that cannot be used.
	Faulty []string
}

// ReadKeys fetches a key set and reads it as [KeySet] does. The error is in our own words; what was skipped is
// returned with it too.
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
