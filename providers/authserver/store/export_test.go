package store

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Sweep is one sweep of the writer.
func (f *File) Sweep() (removed int, err error) { return f.sweep() }

// Len is how many records are kept, those that have expired included.
func (m *Memory) Len() int { return len(m.records) }

// DB is the file as bbolt has it.
func (f *File) DB() *bbolt.DB { return f.db }

// Check compares the parts of the file with each other, and checks its pages. It returns how many records there are.
func (f *File) Check() (records int, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		var problems []error
		for problem := range tx.Check() {
			problems = append(problems, problem)
		}
		b, owned := bucketsOf(tx), 0
		err := b.records.ForEach(func(key, value []byte) error {
			r, err := decodeRecord(string(key), value)
			if err != nil {
				return err
			}
			records++
			if key, _ := b.expiry.Cursor().Seek(expiryKey(r)); string(key) != string(expiryKey(r)) {
				problems = append(problems, fmt.Errorf("record %s has no expiry", r.ID))
			}
			if r.Owner == "" {
				return nil
			}
			owned++
			if key, _ := b.owners.Cursor().Seek(ownerKey(r.Owner, r.ID)); string(key) != string(ownerKey(r.Owner, r.ID)) {
				problems = append(problems, fmt.Errorf("record %s is not in the list of its owner", r.ID))
			}
			return nil
		})
		if n := b.expiry.Stats().KeyN; n != records {
			problems = append(problems, fmt.Errorf("%d expiry times of %d records", n, records))
		}
		if n := b.owners.Stats().KeyN; n != owned {
			problems = append(problems, fmt.Errorf("%d owners of %d records with an owner", n, owned))
		}
		return errors.Join(append(problems, err)...)
	})
	return records, err
}

// FirstIDs is what a list without an order does to find its page.
func FirstIDs(after string, limit int, ids ...string) []string {
	p := page{after: after, limit: limit}
	for _, id := range ids {
		p.add(id)
	}
	return p.sorted()
}
