package authserver

import (
	"fmt"
	"strconv"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

// sealRecord returns r with plain as its sealed content, for the version that r gets by the next Create or
// Replace. The seal binds the content to id and version: content that was moved to another record, or is that of
// an earlier version, does not open. Who can write to the store can put a whole record back, with its version, or
// remove one: nothing outside the store knows the current version. The seal does not bind the owner and the end of
// the record, which the store must be able to read; content that depends on them has copies of its own.
func sealRecord(k *seal.Keys, r records.Record, plain []byte) records.Record {
	r.Sealed = k.Seal(seal.Content, recordContext(r.ID, r.Version+1), plain)
	return r
}

// openRecord returns the content of a record that was read from a store. The error wraps [seal.ErrOpen]: the
// record was edited, moved or rolled back, or its secret is not one of k.
func openRecord(k *seal.Keys, r records.Record) ([]byte, error) {
	plain, err := k.Open(seal.Content, recordContext(r.ID, r.Version), r.Sealed)
	if err != nil {
		return nil, fmt.Errorf("record %q, version %d: %w", r.ID, r.Version, err)
	}
	return plain, nil
}

// recordContext is unambiguous because ids have no "|". An id begins with the kind of its record.
func recordContext(id string, version uint64) string {
	return id + "|" + strconv.FormatUint(version, 10)
}
