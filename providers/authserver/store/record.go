package store

import (
	"fmt"
	"slices"
	"time"
)

// The limits of a [Record].
const (
	maxID     = 128
	maxSealed = 64 << 10
	// The end of the year 9999. A time without a limit would not fit into the formats of the stores.
	maxExpires = 253402300799999
)

// Record is one record. The store knows nothing about its content.
type Record struct {
	// ID identifies the record: a short prefix for its kind and a digest, of letters, digits, "-", "_" and ":", at most
	// 128 bytes.
	ID string
	// Owner groups records, with the characters and the length of an id; empty means that no list of an owner has the
	// record.
	Owner string
	// Version counts the changes of the record, from 1.
	Version uint64
	// Expires is when the record ends, to the millisecond, in the years 1970 to 9999. A record that is stored with a time
	// in the past is never found.
	Expires time.Time
	// Sealed is the content, encrypted by the caller, at most 64 KiB.
	Sealed []byte
}

// check returns the record with the precision of the stores, and a content that the caller cannot change.
func (r Record) check() (Record, error) {
	if err := checkID(r.ID); err != nil {
		return Record{}, err
	}
	if r.Owner != "" && !isID(r.Owner) {
		return Record{}, fmt.Errorf("%w: owner of %d bytes", ErrInvalid, len(r.Owner))
	}
	if len(r.Sealed) > maxSealed {
		return Record{}, fmt.Errorf("%w: content of %d bytes, the limit is %d", ErrInvalid, len(r.Sealed), maxSealed)
	}
	ms := r.Expires.UnixMilli()
	if ms <= 0 || ms > maxExpires {
		return Record{}, fmt.Errorf("%w: it expires in the year %d", ErrInvalid, r.Expires.Year())
	}
	r.Expires, r.Sealed = time.UnixMilli(ms).UTC(), slices.Clone(r.Sealed)
	return r, nil
}

// copy returns the record with a content of its own.
func (r Record) copy() Record {
	r.Sealed = slices.Clone(r.Sealed)
	return r
}

func checkID(id string) error {
	if !isID(id) {
		return fmt.Errorf("%w: id of %d bytes", ErrInvalid, len(id)) // never the id: it may come from a request
	}
	return nil
}

// checkPage checks the arguments of a list.
func checkPage(owner, after string) error {
	if owner != "" && !isID(owner) {
		return fmt.Errorf("%w: owner of %d bytes", ErrInvalid, len(owner))
	}
	if after != "" {
		return checkID(after)
	}
	return nil
}

func isID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == ':':
		default:
			return false
		}
	}
	return true
}
