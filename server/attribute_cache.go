package server

import (
	"maps"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxAttributeSets bounds the sets of attributes of one instrument. Labels have few values, so that it is never
// reached; the SDK has the same limit.
const maxAttributeSets = 2_000

// attributeCache has the attributes of one instrument by their labels, because making a set takes longer than recording
// a value. It is safe for concurrent use.
type attributeCache[L comparable] struct {
	attributes func(L) []attribute.KeyValue

	known atomic.Pointer[map[L][]metric.RecordOption] // read only
	mu    sync.Mutex                                  // held while known is replaced
}

func newAttributeCache[L comparable](attributes func(L) []attribute.KeyValue) *attributeCache[L] {
	c := &attributeCache[L]{attributes: attributes}
	c.known.Store(&map[L][]metric.RecordOption{})
	return c
}

func (c *attributeCache[L]) get(labels L) []metric.RecordOption {
	if options, ok := (*c.known.Load())[labels]; ok {
		return options
	}
	set := attribute.NewSet(c.attributes(labels)...)
	options := []metric.RecordOption{metric.WithAttributeSet(set)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := *c.known.Load(); len(known) < maxAttributeSets {
		next := maps.Clone(known)
		next[labels] = options
		c.known.Store(&next)
	}
	return options
}
