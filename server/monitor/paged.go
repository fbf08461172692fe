package monitor

// none stands for no place in a paged list.
const none int32 = -1

// pageItems is the length of a page: as long as the largest item's page is still of ordinary size for
// the allocator, and adding an item never moves others.
const pageItems = 512

// paged is a dense list in pages. It grows and shrinks page by page, without ever moving an item, so
// that no append costs more than a page; the memory of what is gone returns.
type paged[T any] struct {
	pages []*[pageItems]T // the last may be empty: a list that moves about its end keeps it
	n     int32
}

func (p *paged[T]) at(i int32) *T { return &p.pages[uint32(i)/pageItems][uint32(i)%pageItems] }

// push adds an item at the end, and gives its place.
func (p *paged[T]) push(item T) int32 {
	i := p.n
	if int(i/pageItems) == len(p.pages) {
		p.pages = append(p.pages, new([pageItems]T))
	}
	p.n++
	*p.at(i) = item
	return i
}

// pop removes the last item.
func (p *paged[T]) pop() {
	p.n--
	var zero T
	*p.at(p.n) = zero
	p.dropPages(p.n)
}

// dropPages keeps the pages for n items, and one more.
func (p *paged[T]) dropPages(n int32) {
	keep := (int(n)+pageItems-1)/pageItems + 1
	for last := len(p.pages) - 1; last >= keep; last-- {
		p.pages[last] = nil
		p.pages = p.pages[:last]
	}
}

// reset empties the list, and keeps so many pages.
func (p *paged[T]) reset(pages int) {
	for i, left := 0, int(p.n); i < pages && left > 0; i, left = i+1, left-pageItems {
		clear(p.pages[i][:min(left, pageItems)])
	}
	if len(p.pages) > pages {
		clear(p.pages[pages:])
		p.pages = p.pages[:pages]
	}
	p.n = 0
}
