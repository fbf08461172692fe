package monitor

import (
	"math/rand/v2"
	"testing"
)

func TestTableAgreesWithMap(t *testing.T) {
	for name, hash := range map[string]func(uint32) uint32{
		"spread":          func(r uint32) uint32 { return r >> 1 },
		"in one part":     func(r uint32) uint32 { return r >> 8 },
		"one home":        func(r uint32) uint32 { return r << 16 >> 1 },
		"few, very often": func(r uint32) uint32 { return r % 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 4))
			var table table
			twin := make(map[uint32]int32)
			// It grows to thousands of hashes, shrinks to none, and grows again.
			for phase := range 4 {
				for step := range 15_000 {
					h := hash(random.Uint32())
					if _, known := twin[h]; phase%2 == 0 || !known {
						table.put(h, int32(step))
						twin[h] = int32(step)
					}
					for other := range twin { // any one
						if phase%2 == 1 {
							table.remove(other)
							delete(twin, other)
						}
						checkTable(t, &table, twin, other)
						break
					}
					checkTable(t, &table, twin, hash(random.Uint32()))
				}
				for h := range twin {
					checkTable(t, &table, twin, h)
					if phase%2 == 1 {
						table.remove(h)
						delete(twin, h)
					}
				}
				checkSegments(t, &table, len(twin))
			}
		})
	}
}

func checkTable(t *testing.T, table *table, twin map[uint32]int32, hash uint32) {
	t.Helper()
	want, known := twin[hash]
	if !known {
		want = none
	}
	if got := table.get(hash); got != want {
		t.Fatalf("with %d hashes, %#x is at %d, want %d", len(twin), hash, got, want)
	}
}

// checkSegments looks at the order within the table, and at its size.
func checkSegments(t *testing.T, table *table, hashes int) {
	t.Helper()
	if len(table.directory) != 1<<table.depth {
		t.Fatalf("a directory of depth %d has %d places", table.depth, len(table.directory))
	}
	segments, deepest, used := 0, int32(0), int32(0)
	for i := 0; i < len(table.directory); {
		g := table.directory[i]
		segments++
		used += g.used
		if g.depth == int32(table.depth) {
			deepest++
		}
		for range 1 << (int32(table.depth) - g.depth) {
			if table.directory[i] != g {
				t.Fatalf("place %d of the directory has another segment than its block", i)
			}
			i++
		}
	}
	if int(used) != hashes || deepest != table.deepest {
		t.Fatalf("%d slots in use for %d hashes; %d segments of full depth, counted %d", used, hashes, deepest, table.deepest)
	}
	if deepest == 0 && table.depth > 0 {
		t.Fatal("the directory is larger than it need be")
	}
	if hashes == 0 && segments != 1 {
		t.Fatalf("an empty table has %d segments", segments)
	}
}
