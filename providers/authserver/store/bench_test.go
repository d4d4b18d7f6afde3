package store_test

import (
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

// BenchmarkStores measures the operations on records of 700 bytes, one after the other. Redis and the file have each
// change on the disk before they answer.
func BenchmarkStores(b *testing.B) {
	stores := []struct {
		name string
		open func(b *testing.B) store.Store
	}{
		{"memory", func(*testing.B) store.Store { return store.NewMemory(100_000, time.Now) }},
		{"file", func(b *testing.B) store.Store { return openFile(b, newPath(b), store.FileOptions{}) }},
		{"redis", func(b *testing.B) store.Store { return openRedis(b, storetest.StartRedis(b).URL(b), "") }},
	}
	operations := []struct {
		name string
		run  func(b *testing.B, s store.Store, i int) error
	}{
		{"create", func(b *testing.B, s store.Store, i int) error { return s.Create(b.Context(), sizedRecord(-i)) }},
		{"replace", func(b *testing.B, s store.Store, i int) error {
			r, err := s.Get(b.Context(), digest("grant", i%benchmarkRecords))
			if err != nil {
				return err
			}
			if _, err := s.Replace(b.Context(), r); store.Unavailable(err) { // another may have changed it
				return err
			}
			return nil
		}},
		{"get", func(b *testing.B, s store.Store, i int) error {
			_, err := s.Get(b.Context(), digest("grant", i%benchmarkRecords))
			return err
		}},
	}
	for _, one := range stores {
		for _, operation := range operations {
			b.Run(one.name+"/"+operation.name, func(b *testing.B) {
				s := one.open(b)
				for i := range benchmarkRecords {
					if err := s.Create(b.Context(), sizedRecord(i)); err != nil {
						b.Fatal(err)
					}
				}
				i := benchmarkRecords
				for b.Loop() {
					if err := operation.run(b, s, i); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}

const benchmarkRecords = 1000
