package reactor

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"
)

// memory is what this process takes, in bytes.
type memory struct{ asLeft, afterGC, live float64 }

func (w *world) memory() (m memory) {
	w.Helper()
	m.asLeft = w.resident()
	debug.FreeOSMemory()
	m.afterGC = w.resident()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.live = float64(stats.HeapAlloc)
	return m
}

func (w *world) resident() float64 {
	w.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	var total, pages float64
	if err == nil {
		_, err = fmt.Sscan(string(statm), &total, &pages)
	}
	if err != nil {
		w.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

// BenchmarkIdleConnections opens real sockets and tells what one more idle WebSocket costs this process:
// the slope between two counts, of the resident memory as it was left, of the resident memory after a
// collection, and of the live heap. The clients are bare descriptors, so what is counted is the server's.
// It fails if a connection was lost meanwhile. What the kernel has is not in it: some 4 KB an end.
//
// echo is the reactor alone; session is with the application's session; rule is with a rule of two
// fields besides, which no other connection has.
func BenchmarkIdleConnections(b *testing.B) {
	for _, kind := range []struct {
		name, path string
		rule       func(i int) string
	}{
		{"echo", "/echo", func(int) string { return "" }},
		{"session", "/ws", func(int) string { return "" }},
		{"rule", "/ws", func(i int) string { return fmt.Sprintf(`{"app_id":1,"server_id":%d}`, i) }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			const few, many = 3000, 9000
			for range b.N {
				w := start(b, liveConfig())
				w.openDeaf(kind.path, few, kind.rule)
				first := w.memory()
				w.openDeaf(kind.path, many-few, func(i int) string { return kind.rule(few + i) })
				await(b, "open WebSockets", many, w.app.Stats.Connected.Load)
				second := w.memory()
				w.onLoops(func(l *loop) {
					if len(l.rosters[open]) == 0 || l.rosters[open][0].in != nil {
						b.Errorf("%d connections are idle on a loop, one with %v", len(l.rosters[open]), l.rosters[open])
					}
				})
				if n := w.app.Stats.Connected.Load(); n != many {
					b.Fatalf("%d WebSockets are left of %d", n, many)
				}
				b.ReportMetric((second.asLeft-first.asLeft)/(many-few), "B/conn-as-left")
				b.ReportMetric((second.afterGC-first.afterGC)/(many-few), "B/conn-after-GC")
				b.ReportMetric((second.live-first.live)/(many-few), "B/conn-live")
				b.ReportMetric(float64(unsafe.Sizeof(conn{})), "B/conn-own")
			}
			b.ReportMetric(0, "ns/op") // it is no measure of time
		})
	}
}
