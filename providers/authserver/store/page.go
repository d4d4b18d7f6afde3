package store

import "slices"

// page collects the first ids of a list, in any order and with repetitions, in memory for twice the page.
type page struct {
	after string
	limit int
	ids   []string
}

func (p *page) add(id string) {
	if id <= p.after || p.limit <= 0 {
		return
	}
	if p.ids = append(p.ids, id); len(p.ids)/2 >= p.limit {
		p.ids = p.sorted()
	}
}

// sorted returns up to limit ids.
func (p *page) sorted() []string {
	slices.Sort(p.ids)
	p.ids = slices.Compact(p.ids)
	return p.ids[:min(len(p.ids), max(p.limit, 0))]
}
