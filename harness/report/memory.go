package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"chatmonitor/harness/probe"
)

// memoryBar is what one connection takes, in parts that add up: the growth from
// when the server was ready to when all connections were held, at the highest count,
// by their number.
type memoryBar struct {
	variant     string
	afterGC     bool
	connections int
	parts       []float64 // bytes per connection, as goParts and the caches of memory
}

// memory is all bars, and the names of their parts.
type memory struct {
	names []string
	bars  []memoryBar
}

// Names of parts besides the kernel's caches.
const (
	partLive     = "Go heap: objects"
	partIdle     = "Go heap: idle"
	partStacks   = "Go stacks"
	partMetadata = "Go runtime"
	partOther    = "other resident"
	partSlabs    = "slab: others"
)

var goParts = []string{partLive, partIdle, partStacks, partMetadata, partOther}

// namedCaches is how many of the kernel's caches are told apart: those that grow most.
const namedCaches = 5

// goClasses are the classes of runtime/metrics in a part; their sum is what Go has
// taken from the system and not given back.
var goClasses = map[string][]string{
	partLive:     {"heap/objects"},
	partIdle:     {"heap/unused", "heap/free"},
	partStacks:   {"heap/stacks", "os-stacks"},
	partMetadata: {"metadata/mcache/free", "metadata/mcache/inuse", "metadata/mspan/free", "metadata/mspan/inuse", "metadata/other", "other", "profiling/buckets"},
}

// memory takes apart what the variants' connections take; a measurement without all
// readings is left out.
func (r *Run) memory() memory {
	var bars []memoryBar
	growths := map[string]float64{}
	var caches []map[string]float64
	for _, variant := range r.Configuration.Variants {
		for _, afterGC := range []bool{false, true} {
			for _, m := range highest(r.measured(variant.Name, idleScenario)) {
				bar, slabs, ok := m.memoryBar(afterGC)
				if !ok {
					continue
				}
				bars, caches = append(bars, bar), append(caches, slabs)
				for name, bytes := range slabs {
					growths[name] = max(growths[name], bytes)
				}
			}
		}
	}
	named := largest(growths, namedCaches)
	out := memory{names: slices.Clone(goParts)}
	for _, name := range named {
		out.names = append(out.names, "slab: "+name)
	}
	out.names = append(out.names, partSlabs)
	for i, bar := range bars {
		rest := caches[i][partSlabs]
		for _, name := range named {
			bar.parts = append(bar.parts, caches[i][name])
			rest -= caches[i][name]
		}
		bar.parts = append(bar.parts, rest)
		out.bars = append(out.bars, bar)
	}
	return out
}

// largest are the names of the n caches that grew most, the largest first.
func largest(growths map[string]float64, n int) []string {
	names := slices.SortedFunc(maps.Keys(growths), func(a, b string) int {
		return cmp.Or(cmp.Compare(growths[b], growths[a]), strings.Compare(a, b))
	})
	names = slices.DeleteFunc(names, func(name string) bool { return name == partSlabs })
	return names[:min(n, len(names))]
}

// memoryBar returns Go's parts, and how much each of the kernel's caches grew per
// connection, with all of them under partSlabs.
func (m Measurement) memoryBar(afterGC bool) (bar memoryBar, slabs map[string]float64, ok bool) {
	before, err := m.snapshot(momentReady, true)
	if err != nil {
		return bar, nil, false
	}
	after, err := m.snapshot(momentHeld, afterGC)
	if err != nil || undisturbed(before, after) != nil || before.Go == nil || after.Go == nil {
		return bar, nil, false
	}
	resident, known := after.Process.RSSBytes.Minus(before.Process.RSSBytes).Value()
	slab, slabKnown := after.Kernel.SlabBytes.Minus(before.Kernel.SlabBytes).Value()
	if !known || !slabKnown {
		return bar, nil, false
	}
	n := float64(m.Connections)
	bar = memoryBar{variant: m.Variant, afterGC: afterGC, connections: m.Connections}
	bar.parts = residentParts(before, after, resident)
	for i := range bar.parts {
		bar.parts[i] /= n
	}
	slabs = map[string]float64{partSlabs: slab / n}
	for name, bytes := range after.Kernel.SlabCaches {
		slabs[name] = (bytes - before.Kernel.SlabCaches[name]) / n
	}
	return bar, slabs, true
}

// residentParts adds up to the growth of resident memory. Of its idle heap Go counts
// what it has taken, touched or not: what exceeds the growth is not resident.
func residentParts(before, after probe.Snapshot, resident float64) []float64 {
	parts := make([]float64, len(goParts))
	rest := resident
	for i, name := range goParts {
		for _, class := range goClasses[name] {
			metric := "/memory/classes/" + class + ":bytes"
			parts[i] += after.Go[metric] - before.Go[metric]
		}
		rest -= parts[i]
	}
	if rest < 0 {
		parts[slices.Index(goParts, partIdle)] += rest
		rest = 0
	}
	parts[slices.Index(goParts, partOther)] = rest
	return parts
}

func (b memoryBar) total() float64 {
	sum := 0.0
	for _, part := range b.parts {
		sum += part
	}
	return sum
}

// label names a bar, with its connections where they are not those of the first: a
// variant that did not come so far.
func (m memory) label(b memoryBar) string {
	text := b.variant + ", " + b.moment()
	if b.connections != m.bars[0].connections {
		text += ", at " + thousands(float64(b.connections))
	}
	return text
}

func (b memoryBar) moment() string {
	if b.afterGC {
		return "after GC"
	}
	return "as left"
}
