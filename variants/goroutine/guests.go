package main

import (
	"context"
	"sync"
)

// guests counts those whom the drain waits for: WebSockets, and requests under way.
type guests struct {
	mu    sync.Mutex
	count int           // guarded by mu
	shut  bool          // guarded by mu: nobody comes in any more
	last  chan struct{} // holds a token when the last one may have left
}

func newGuests() *guests { return &guests{last: make(chan struct{}, 1)} }

// enter lets one in, or reports false when everybody has left for good.
func (g *guests) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.count++
	return true
}

func (g *guests) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count--; g.count > 0 {
		return
	}
	select {
	case g.last <- struct{}{}:
	default:
	}
}

func (g *guests) present() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// shutWhenGone waits until nobody is there, and then lets nobody in any more. It reports false if ctx
// ends before.
func (g *guests) shutWhenGone(ctx context.Context) bool {
	for !g.shutIfGone() {
		select {
		case <-g.last:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (g *guests) shutIfGone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = g.count == 0
	return g.shut
}
