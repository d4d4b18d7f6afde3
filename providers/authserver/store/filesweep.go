package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"
)

const (
	sweepInterval = time.Minute
	sweepPause    = 10 * time.Millisecond // between transactions, so that operations do not wait for all of them
	maxSweep      = 1000                  // records in one transaction
)

// sweep removes up to maxSweep records that have expired, and returns how many.
func (f *File) sweep() (removed int, err error) {
	err = f.update(func(b buckets) error {
		end := binary.BigEndian.AppendUint64(nil, uint64(f.now().UnixMilli())+1)
		var expired [][]byte // a cursor must not see a change
		cursor := b.expiry.Cursor()
		for key, _ := cursor.First(); key != nil && len(expired) < maxSweep; key, _ = cursor.Next() {
			if bytes.Compare(key, end) >= 0 {
				break
			}
			expired = append(expired, bytes.Clone(key))
		}
		for _, key := range expired {
			r, err := b.get(string(key[8:]))
			if err == nil && bytes.Equal(expiryKey(r), key) {
				err = b.remove(r)
			} else if err == nil || errors.Is(err, ErrNotFound) {
				err = b.expiry.Delete(key) // never a record that lives on, whatever the file has
			}
			if err != nil {
				return err
			}
		}
		removed = len(expired)
		return nil
	})
	return removed, err
}
