package conformance

import (
	"strings"
	"sync"
)

// sharedInstance is a server that several cases use.
type sharedInstance struct {
	once     sync.Once
	instance *Instance // set by once; still nil when the server did not start
	ready    bool      // set by once
}

// shared gives a server with these flags that other cases may use, too. It lives as long as the suite.
func (tr *trial) shared(flags ...string) *Instance {
	tr.Helper()
	all := tr.flags(flags)
	key := strings.Join(all, " ")
	tr.mu.Lock()
	shared := tr.running[key]
	if shared == nil {
		shared = &sharedInstance{}
		tr.running[key] = shared
	}
	tr.mu.Unlock()
	shared.once.Do(func() {
		shared.instance = tr.Program.launch(tr.TB, all)
		shared.instance.awaitPort(tr.TB)
		tr.on(shared.instance).awaitReady()
		shared.ready = true
	})
	if !shared.ready {
		tr.Fatalf("the server with %v did not start; another case says why", flags)
	}
	return shared.instance
}

// stopShared ends all shared servers. It asks them all before it waits for the first.
func (s *suite) stopShared() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var instances []*Instance
	for _, shared := range s.running {
		if shared.instance != nil {
			instances = append(instances, shared.instance)
		}
	}
	for _, i := range instances {
		i.terminate(s.t)
	}
	for _, i := range instances {
		i.stop(s.t)
	}
}
