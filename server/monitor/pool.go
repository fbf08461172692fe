package monitor

import "sync"

// Pool runs slow handlers on a fixed number of goroutines, behind a queue of fixed length.
type Pool struct {
	jobs    chan func()
	workers sync.WaitGroup
}

// NewPool starts the workers. At most queue jobs wait for one.
func NewPool(workers, queue int) *Pool {
	p := &Pool{jobs: make(chan func(), queue)}
	for range workers {
		p.workers.Go(func() {
			for job := range p.jobs {
				job()
			}
		})
	}
	return p
}

// Go has job run, or reports false when the queue is full.
func (p *Pool) Go(job func()) bool {
	select {
	case p.jobs <- job:
		return true
	default:
		return false
	}
}

// Close lets what was taken finish, and ends the workers. Nobody may call Go any more.
func (p *Pool) Close() {
	close(p.jobs)
	p.workers.Wait()
}
