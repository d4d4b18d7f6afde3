package store

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// sweepOnCreate is how many expired records Create of [Memory] removes at most, so that no call takes long. It is more
// than one, so that expired records become fewer.
const sweepOnCreate = 16

// Memory is a [Store] in the memory of this process. Its records end with the process.
type Memory struct {
	limit int
	now   func() time.Time

	mu       sync.Mutex
	records  map[string]*memoryRecord
	owners   map[string]map[string]*memoryRecord
	byExpiry expiryHeap
}

// memoryRecord is a record and its place in the heap.
type memoryRecord struct {
	Record
	index int
}

// NewMemory returns an empty store for at most limit records. Create removes the record that expires first to make
// room.
func NewMemory(limit int, now func() time.Time) *Memory {
	return &Memory{limit: max(limit, 1), now: now,
		records: make(map[string]*memoryRecord), owners: make(map[string]map[string]*memoryRecord)}
}

// Create implements [Store].
func (m *Memory) Create(_ context.Context, r Record) error {
	r, err := r.check()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.get(r.ID); err == nil {
		return ErrExists
	}
	for range sweepOnCreate {
		if len(m.byExpiry) == 0 || m.now().Before(m.byExpiry[0].Expires) {
			break
		}
		m.remove(m.byExpiry[0])
	}
	for len(m.records) >= m.limit {
		m.remove(m.byExpiry[0])
	}
	r.Version = 1
	m.add(&memoryRecord{Record: r})
	return nil
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, id string) (Record, error) {
	if err := checkID(id); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.get(id)
	if err != nil {
		return Record{}, err
	}
	return stored.copy(), nil
}

// Replace implements [Store].
func (m *Memory) Replace(_ context.Context, r Record) (uint64, error) {
	r, err := r.check()
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.get(r.ID)
	switch {
	case err != nil:
		return 0, err
	case stored.Version != r.Version:
		return 0, ErrChanged
	}
	stored.Version++
	stored.Expires, stored.Sealed = r.Expires, r.Sealed
	heap.Fix(&m.byExpiry, stored.index)
	return stored.Version, nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if stored, ok := m.records[id]; ok {
		m.remove(stored)
	}
	return nil
}

// ByOwner implements [Store].
func (m *Memory) ByOwner(_ context.Context, owner, after string, limit int) ([]Record, error) {
	if err := checkPage(owner, after); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list(m.owners[owner], after, limit), nil
}

// All implements [Store].
func (m *Memory) All(_ context.Context, after string, limit int) ([]Record, error) {
	if err := checkPage("", after); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list(m.records, after, limit), nil
}

func (m *Memory) list(records map[string]*memoryRecord, after string, limit int) (found []Record) {
	now, ids := m.now(), page{after: after, limit: limit}
	for id, r := range records {
		if now.Before(r.Expires) {
			ids.add(id)
		}
	}
	for _, id := range ids.sorted() {
		found = append(found, records[id].copy())
	}
	return found
}

// Close implements [Store].
func (m *Memory) Close() error { return nil }

func (m *Memory) get(id string) (*memoryRecord, error) {
	stored, ok := m.records[id]
	if !ok {
		return nil, ErrNotFound
	}
	if !m.now().Before(stored.Expires) {
		m.remove(stored)
		return nil, ErrNotFound
	}
	return stored, nil
}

func (m *Memory) add(r *memoryRecord) {
	m.records[r.ID] = r
	heap.Push(&m.byExpiry, r)
	if r.Owner == "" {
		return
	}
	if m.owners[r.Owner] == nil {
		m.owners[r.Owner] = make(map[string]*memoryRecord)
	}
	m.owners[r.Owner][r.ID] = r
}

func (m *Memory) remove(r *memoryRecord) {
	delete(m.records, r.ID)
	heap.Remove(&m.byExpiry, r.index)
	delete(m.owners[r.Owner], r.ID)
	if len(m.owners[r.Owner]) == 0 {
		delete(m.owners, r.Owner)
	}
}

// expiryHeap is a [heap.Interface] with the record that expires first at the root.
type expiryHeap []*memoryRecord

func (h expiryHeap) Len() int { return len(h) }

func (h expiryHeap) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap) Push(x any) {
	r := x.(*memoryRecord)
	r.index = len(*h)
	*h = append(*h, r)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil // so that the record can be collected
	*h = (*h)[:last]
	return r
}
