package control

import "sync"

// places bounds how many do something at once. Those that may do all have some
// places to themselves, so that readers cannot lock the administrator out.
type places struct {
	most, mostReaders int

	mu           sync.Mutex
	all, readers int
}

// admit takes a place, if there is one.
func (p *places) admit(privileged bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || !privileged && p.readers >= p.mostReaders {
		return false
	}
	p.all++
	if !privileged {
		p.readers++
	}
	return true
}

// leave gives the place back.
func (p *places) leave(privileged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if !privileged {
		p.readers--
	}
}
