package store

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a [Store] in the memory of this process. Its records end with the process.
type Memory struct {
	limit int
	now   func() time.Time

	mu      sync.Mutex
	records map[string]Record
}

// NewMemory returns an empty store for at most limit records. Create removes the record that expires first to make room.
func NewMemory(limit int, now func() time.Time) *Memory {
	return &Memory{limit: limit, now: now, records: make(map[string]Record)}
}

// Create implements [Store].
func (m *Memory) Create(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.get(r.ID); err == nil {
		return ErrExists
	}
	for len(m.records) >= m.limit {
		m.removeFirst()
	}
	r.Version, r.Sealed = 1, slices.Clone(r.Sealed)
	m.records[r.ID] = r
	return nil
}

func (m *Memory) removeFirst() {
	first := slices.MinFunc(slices.Collect(maps.Values(m.records)),
		func(a, b Record) int { return a.Expires.Compare(b.Expires) })
	delete(m.records, first.ID)
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(id)
}

func (m *Memory) get(id string) (Record, error) {
	r, ok := m.records[id]
	if !ok || !m.now().Before(r.Expires) {
		delete(m.records, id)
		return Record{}, ErrNotFound
	}
	return r, nil
}

// Replace implements [Store].
func (m *Memory) Replace(_ context.Context, r Record) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.get(r.ID)
	switch {
	case err != nil:
		return 0, err
	case stored.Version != r.Version:
		return 0, ErrChanged
	}
	r.Owner, r.Version, r.Sealed = stored.Owner, r.Version+1, slices.Clone(r.Sealed)
	m.records[r.ID] = r
	return r.Version, nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, id)
	return nil
}

// ByOwner implements [Store].
func (m *Memory) ByOwner(_ context.Context, owner, after string, limit int) ([]Record, error) {
	return m.list(after, limit, func(r Record) bool { return owner != "" && r.Owner == owner }), nil
}

// All implements [Store].
func (m *Memory) All(_ context.Context, after string, limit int) ([]Record, error) {
	return m.list(after, limit, func(Record) bool { return true }), nil
}

func (m *Memory) list(after string, limit int, match func(Record) bool) []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Record
	for _, id := range slices.Sorted(maps.Keys(m.records)) {
		if r, err := m.get(id); id > after && err == nil && match(r) && len(found) < limit {
			found = append(found, r)
		}
	}
	return found
}

// Close implements [Store].
func (m *Memory) Close() error { return nil }
