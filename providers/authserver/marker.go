package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

// ErrForeignStore means that a store belongs to another authorization server: with another issuer, or with
// other secrets. Nothing is issued then, because the two would end each other's sign-ins.
var ErrForeignStore = errors.New("the store belongs to another authorization server")

const markerID = "marker"

// withoutEnd is the lifetime of records that do not expire.
const withoutEnd = 100 * 365 * 24 * time.Hour

// marker is the content of the record that says whose the store is.
type marker struct {
	Format int    `json:"format"`
	Issuer string `json:"issuer"`
}

// CheckStore reports whether a store belongs to the authorization server issuer with these keys. It changes
// nothing. The error wraps [ErrForeignStore] if the store belongs to another one; isUsed is false if it belongs
// to none yet.
func CheckStore(ctx context.Context, s records.Store, k *seal.Keys, issuer string) (isUsed bool, err error) {
	return markStore(ctx, storedConfig{store: s, seals: k, issuer: issuer, now: time.Now}, false, false)
}

// markStore checks the marker of the store, and creates it if there is none and mayCreate is set. It seals
// the marker again if reseal is set and an older secret has sealed it. isMarked is false if there is no
// marker.
func markStore(ctx context.Context, c storedConfig, mayCreate, reseal bool) (isMarked bool, err error) {
	r, err := c.store.Get(ctx, markerID)
	if errors.Is(err, records.ErrNotFound) {
		if !mayCreate {
			return false, nil
		}
		r = records.Record{ID: markerID, Expires: c.now().Add(withoutEnd)}
		plain, err := json.Marshal(marker{Format: 1, Issuer: c.issuer})
		if err != nil {
			return false, err
		}
		err = c.store.Create(ctx, sealRecord(c.seals, r, plain))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, records.ErrExists) {
			return false, storeUnreachable(err)
		}
		r, err = c.store.Get(ctx, markerID) // another process was faster
		if err != nil {
			return false, storeUnreachable(err)
		}
	} else if err != nil {
		return false, storeUnreachable(err)
	}
	plain, err := checkMarker(r, c)
	if err != nil {
		return false, err
	}
	if reseal && !c.seals.IsCurrent(seal.Content, recordContext(r.ID, r.Version), r.Sealed) {
		_, err = c.store.Replace(ctx, sealRecord(c.seals, r, plain))
		if err != nil && !errors.Is(err, records.ErrChanged) {
			return true, storeUnreachable(err)
		}
	}
	return true, nil
}

// checkMarker returns the content of the marker of this issuer. Another one is [ErrForeignStore].
func checkMarker(r records.Record, c storedConfig) ([]byte, error) {
	plain, err := openRecord(c.seals, r)
	if err != nil {
		return nil, &storeError{ReasonStoreForeign, fmt.Errorf("%w: its marker was sealed with other secrets",
			ErrForeignStore), "use a store, or a database of it, for this authorization server alone; after a " +
			"replacement of secrets, put the previous one back as the last line of provider.secrets_file; if it is " +
			"lost, empty the store: people sign in again"}
	}
	var m marker
	if err := json.Unmarshal(plain, &m); err != nil {
		return nil, recordUnreadable(errors.New("the marker cannot be parsed"))
	}
	if m.Issuer != c.issuer {
		return nil, &storeError{ReasonStoreForeign, fmt.Errorf("%w: its issuer is %q, and this one is %q",
			ErrForeignStore, m.Issuer, c.issuer), "use a store, or a database of it, for this authorization server " +
			"alone; if its address has changed, empty the store: people sign in again"}
	}
	return plain, nil
}
