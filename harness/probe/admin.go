package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Admin is a server's admin listener.
type Admin struct {
	Address string // host:port; "" if the server has none
	// Timeout bounds a call; 0: usualTimeout does. On an emulated processor a
	// collection over gigabytes takes minutes.
	Timeout time.Duration
}

// usualTimeout is generous: a collection over gigabytes takes seconds.
const usualTimeout = 60 * time.Second

// CollectGarbage runs a full collection that returns free memory to the system.
func (a Admin) CollectGarbage(ctx context.Context) error {
	_, err := a.call(ctx, http.MethodPost, "/gc")
	return err
}

// GoMemory returns Go's own account of its memory: the metrics of runtime/metrics
// that say where bytes and goroutines are.
func (a Admin) GoMemory(ctx context.Context) (map[string]float64, error) {
	body, err := a.call(ctx, http.MethodGet, "/memory")
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("probe: GET /memory: %w", err)
	}
	kept := map[string]float64{}
	for name, raw := range all {
		var value float64
		if isGoMemory(name) && json.Unmarshal(raw, &value) == nil {
			kept[name] = value
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("probe: GET /memory named none of memory/classes, gc and sched in %d metrics", len(all))
	}
	return kept, nil
}

func isGoMemory(name string) bool {
	for _, prefix := range []string{"/memory/classes/", "/gc/heap/", "/gc/cycles/", "/gc/stack/", "/gc/gogc", "/gc/gomemlimit", "/sched/gomaxprocs", "/sched/goroutines:", "/cpu/classes/gc/total"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (a Admin) call(ctx context.Context, method, path string) ([]byte, error) {
	if a.Address == "" {
		return nil, fmt.Errorf("probe: %s %s: the server has no admin listener", method, path)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.Timeout, usualTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.Address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("probe: %s %s: %w", method, path, err)
	}
	request.Close = true // no idle connection may count in what is measured
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("probe: %s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s: %.200s", response.Status, body)
	}
	if err != nil {
		return nil, fmt.Errorf("probe: %s %s: %w", method, path, err)
	}
	return body, nil
}
