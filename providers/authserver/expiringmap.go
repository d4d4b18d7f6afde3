package authserver

import (
	"container/list"
	"time"
)

// expiringMap holds values for a fixed time, and at most limit of them; the oldest are removed first. All
// values have the same lifetime, so insertion order is expiry order: expired ones are removed on access,
// without a goroutine. It is not safe for concurrent use.
type expiringMap[K comparable, V any] struct {
	lifetime time.Duration // zero means no expiry
	limit    int
	items    map[K]*list.Element
	order    *list.List // of mapEntry[K, V], oldest first
}

type mapEntry[K comparable, V any] struct {
	key   K
	value V
	until time.Time
}

func newExpiringMap[K comparable, V any](lifetime time.Duration, limit int) *expiringMap[K, V] {
	return &expiringMap[K, V]{lifetime: lifetime, limit: limit, items: make(map[K]*list.Element),
		order: list.New()}
}

func (s *expiringMap[K, V]) put(now time.Time, key K, value V) {
	s.remove(key)
	s.expire(now)
	for len(s.items) >= s.limit {
		s.remove(s.order.Front().Value.(mapEntry[K, V]).key)
	}
	s.items[key] = s.order.PushBack(mapEntry[K, V]{key, value, now.Add(s.lifetime)})
}

func (s *expiringMap[K, V]) get(now time.Time, key K) (V, bool) {
	s.expire(now)
	element, ok := s.items[key]
	if !ok {
		var none V
		return none, false
	}
	return element.Value.(mapEntry[K, V]).value, true
}

// count returns how many values match.
func (s *expiringMap[K, V]) count(now time.Time, match func(V) bool) (n int) {
	s.expire(now)
	for element := s.order.Front(); element != nil; element = element.Next() {
		if match(element.Value.(mapEntry[K, V]).value) {
			n++
		}
	}
	return n
}

// removeOldest removes the oldest value that matches, and reports whether there was one.
func (s *expiringMap[K, V]) removeOldest(match func(V) bool) bool {
	for element := s.order.Front(); element != nil; element = element.Next() {
		if item := element.Value.(mapEntry[K, V]); match(item.value) {
			s.remove(item.key)
			return true
		}
	}
	return false
}

func (s *expiringMap[K, V]) remove(key K) {
	if element, ok := s.items[key]; ok {
		s.order.Remove(element)
		delete(s.items, key)
	}
}

func (s *expiringMap[K, V]) expire(now time.Time) {
	if s.lifetime == 0 {
		return
	}
	for front := s.order.Front(); front != nil; front = s.order.Front() {
		oldest := front.Value.(mapEntry[K, V])
		if now.Before(oldest.until) {
			return
		}
		s.remove(oldest.key)
	}
}
