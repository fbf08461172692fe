package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// procOf makes a proc file system of the given files.
func procOf(t *testing.T, files map[string]string) Proc {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Proc{Root: root}
}

func wantValue(t *testing.T, what string, r Reading, want float64) {
	t.Helper()
	if got, known := r.Value(); !known || math.Abs(got-want) > 1e-6 {
		t.Errorf("%s = %v (known %v, %s), want %v", what, got, known, r.Reason(), want)
	}
}

func wantReason(t *testing.T, what string, r Reading, want string) {
	t.Helper()
	if got, known := r.Value(); known || !strings.Contains(r.Reason(), want) {
		t.Errorf("%s = %v (known %v), reason %q, want none and a reason with %q", what, got, known, r.Reason(), want)
	}
}

func TestReading(t *testing.T) {
	one, none := Known(1.5), Unavailable(errors.New("no right to"))
	wantValue(t, "difference", one.Minus(Known(0.5)), 1)
	wantReason(t, "one less none", one.Minus(none), "no right")
	wantReason(t, "none less one", none.Minus(one), "no right")
	wantReason(t, "the zero reading", Reading{}, "not taken")
	for _, r := range []Reading{one, none, Known(0), {}} {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Reading
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if back.known != r.known || back.value != r.value || back.Reason() != r.Reason() {
			t.Errorf("%+v became %s and then %+v", r, text, back)
		}
	}
	if text, _ := json.Marshal(none); string(text) != `{"unavailable":"no right to"}` {
		t.Errorf("an unavailable reading is %s", text)
	}
	var r Reading
	if err := json.Unmarshal([]byte(`"seven"`), &r); err == nil {
		t.Error("a string was read as a reading")
	}
}

func TestProcess(t *testing.T) {
	proc := procOf(t, map[string]string{
		"7/smaps_rollup": "00400000-7fff [rollup]\nRss:    1000 kB\nPss:     900 kB\nPss_Anon: 1 kB\n",
		// A name may look like the end of the name.
		"7/stat": "7 (a) b (c) S 1 7 7 0 -1 0 1 0 0 0 250 125 0 0 20 0 9 0 100 1 1 1\n",
	})
	p := proc.Process(7)
	wantValue(t, "RSS", p.RSSBytes, 1000*1024)
	wantValue(t, "PSS", p.PSSBytes, 900*1024)
	wantValue(t, "user time", p.CPUUserSeconds, 2.5)
	wantValue(t, "system time", p.CPUSystemSeconds, 1.25)
	wantValue(t, "threads", p.Threads, 9)
}

func TestProcessThatCannotBeRead(t *testing.T) {
	gone := procOf(t, nil).Process(7)
	wantReason(t, "RSS of nobody", gone.RSSBytes, "smaps_rollup")
	wantReason(t, "time of nobody", gone.CPUUserSeconds, "stat")
	odd := procOf(t, map[string]string{"7/smaps_rollup": "Rss: 5 kB\n", "7/stat": "7 (x) S 1 2"}).Process(7)
	wantValue(t, "RSS", odd.RSSBytes, 5*1024)
	wantReason(t, "PSS that is not there", odd.PSSBytes, `no line "Pss"`)
	wantReason(t, "threads", odd.Threads, "too short")
}

func TestOwnProcess(t *testing.T) {
	p := System.Process(os.Getpid())
	if rss, known := p.RSSBytes.Value(); !known || rss < 1<<20 {
		t.Errorf("RSS of this test %v (%s)", rss, p.RSSBytes.Reason())
	}
	if threads, known := p.Threads.Value(); !known || threads < 2 {
		t.Errorf("threads of this test %v (%s)", threads, p.Threads.Reason())
	}
	k := System.Kernel()
	if inUse, known := k.TCPInUse.Value(); !known || inUse < 0 {
		t.Errorf("sockets %v (%s)", inUse, k.TCPInUse.Reason())
	}
}

const slabinfo = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP                 1300   1690   2432   13    8 : tunables    0    0    0 : slabdata    130    130      0
ext4_inode_cache  900000 900000   1096   29    8 : tunables    0    0    0 : slabdata  31035  31035      0
proc_inode_cache   90000  90000    680   12    2 : tunables    0    0    0 : slabdata   7500   7500      0
sock_inode_cache     120    190    832   19    4 : tunables    0    0    0 : slabdata     10     10      0
`

func TestKernel(t *testing.T) {
	proc := procOf(t, map[string]string{
		"slabinfo":     slabinfo,
		"net/sockstat": "sockets: used 300\nTCP: inuse 38 orphan 0 tw 5 alloc 41 mem 3\nUDP: inuse 1 mem 7\n",
	})
	k := proc.Kernel()
	page := float64(os.Getpagesize())
	tcp, inodes := 1300.0/13*8*page, 120.0/19*4*page
	wantValue(t, "slab", k.SlabBytes, tcp+inodes)
	if len(k.SlabCaches) != 1 || k.SlabCaches["TCP"] != tcp {
		t.Errorf("large caches %v, want TCP alone with %v", k.SlabCaches, tcp)
	}
	wantValue(t, "in use", k.TCPInUse, 38)
	wantValue(t, "time wait", k.TCPTimeWait, 5)
	wantValue(t, "buffers", k.TCPBufferBytes, 3*page)
}

func TestKernelWithoutSlabinfo(t *testing.T) {
	k := procOf(t, map[string]string{"meminfo": "MemTotal: 9 kB\nSlab:   12 kB\n"}).Kernel()
	wantValue(t, "slab from meminfo", k.SlabBytes, 12*1024)
	if !strings.Contains(k.SlabSource, "meminfo") || !strings.Contains(k.SlabSource, "slabinfo") {
		t.Errorf("source %q does not say where from, and why", k.SlabSource)
	}
	wantReason(t, "sockets", k.TCPInUse, "sockstat")
	wantReason(t, "slab from nowhere", procOf(t, nil).Kernel().SlabBytes, "meminfo")
	wantReason(t, "no TCP line", procOf(t, map[string]string{"net/sockstat": "UDP: inuse 1\n"}).Kernel().TCPInUse, "no number")
}

func TestSlabinfoThatMakesNoSense(t *testing.T) {
	for _, text := range []string{"TCP 1 2 3\n", "TCP 1 2 3 4 x\n", "TCP 1 2 3 0 1 : t\n"} {
		if _, err := procOf(t, map[string]string{"slabinfo": text}).slabCaches(); err == nil {
			t.Errorf("%q was understood", text)
		}
	}
}

func TestMachine(t *testing.T) {
	proc := procOf(t, map[string]string{
		"meminfo":                              "MemTotal: 2000 kB\nMemAvailable: 1500 kB\n",
		"cpuinfo":                              "processor: 0\nmodel name\t: Abacus 9000\n",
		"loadavg":                              "0.52 0.58 0.59 1/389 12345\n",
		"sys/fs/file-nr":                       "100\t0\t1100\n",
		"sys/net/ipv4/ip_local_port_range":     "32768\t60999\n",
		"sys/net/netfilter/nf_conntrack_max":   "500\n",
		"sys/net/netfilter/nf_conntrack_count": "20\n",
		"sys/net/core/somaxconn":               "4096\n",
		"sys/fs/nr_open":                       "1048576\n",
		"stat":                                 "cpu  600 50 200 100 10 5 15 20 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
		"devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
		"self/cgroup": "",
	})
	proc.Sys = proc.Root
	m := proc.Machine()
	if m.CPUModel != "Abacus 9000" || m.Cores < 1 || m.Kernel == "" {
		t.Errorf("machine %+v", m)
	}
	wantValue(t, "memory", m.MemoryBytes, 2000*1024)
	wantValue(t, "available", m.MemoryAvailableBytes, 1500*1024)
	wantValue(t, "load", m.LoadAverage, 0.52)
	wantValue(t, "files", m.Limits.SystemFilesFree, 1000)
	wantValue(t, "ports", m.Limits.PortsPerAddress, 28232)
	wantValue(t, "conntrack", m.Limits.ConntrackFree, 480)
	wantValue(t, "backlog", m.Limits.ListenBacklogMax, 4096)
	wantValue(t, "all files", m.Limits.SystemFilesMax, 1100)
	wantValue(t, "all conntrack", m.Limits.ConntrackMax, 500)
	wantValue(t, "nr_open", m.Limits.DescriptorsMost, 1048576)
	wantValue(t, "steal", m.StealShare, 0.02)
	if m.Governor != "powersave" {
		t.Errorf("governor %q", m.Governor)
	}
	bare := procOf(t, nil).Machine()
	wantReason(t, "memory", bare.MemoryBytes, "meminfo")
	wantReason(t, "ports", bare.Limits.PortsPerAddress, "port_range")
	wantReason(t, "conntrack", bare.Limits.ConntrackFree, "nf_conntrack_max")
	wantReason(t, "steal", bare.StealShare, "stat")
	short := procOf(t, map[string]string{"stat": "cpu 1 2 3\n"}).Machine()
	wantReason(t, "steal of a short line", short.StealShare, "does not begin with")
}

func TestCgroupFolders(t *testing.T) {
	proc := procOf(t, map[string]string{"self/cgroup": "5:devices:/a\n4:cpu,memory:/b/c\n0::/d\n"})
	got, err := proc.cgroupFolders()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/sys/fs/cgroup/memory/b/c", "/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory",
		"/sys/fs/cgroup/d", "/sys/fs/cgroup"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("folders %v, want %v", got, want)
	}
}

func TestDescriptorLimit(t *testing.T) {
	if err := RaiseDescriptorLimit(); err != nil {
		t.Fatal(err)
	}
	soft, hard := descriptorLimit()
	want, _ := hard.Value()
	wantValue(t, "soft limit", soft, want)
}

// adminOf serves the handler as an admin listener.
func adminOf(t *testing.T, handler http.HandlerFunc) Admin {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Admin{Address: strings.TrimPrefix(server.URL, "http://")}
}

func TestTakeAfterCollection(t *testing.T) {
	var calls []string
	admin := adminOf(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.Path)
		fmt.Fprint(w, `{"/memory/classes/total:bytes":5,"/gc/pauses:seconds":{"counts":[1]},"/sync/mutex/wait/total:seconds":1}`)
	})
	s := Target{Proc: System, PID: os.Getpid(), Admin: admin}.Take(t.Context(), "held", 3, true)
	if got := strings.Join(calls, ", "); got != "POST /gc, GET /memory" {
		t.Errorf("calls %s", got)
	}
	if len(s.Go) != 1 || s.Go["/memory/classes/total:bytes"] != 5 || s.GoUnavailable != "" {
		t.Errorf("Go's account %v (%s)", s.Go, s.GoUnavailable)
	}
	if _, known := s.Process.RSSBytes.Value(); !known || !s.AfterGC || s.At != "held" || s.Connections != 3 {
		t.Errorf("snapshot %+v", s)
	}
}

func TestTakeWhenTheCollectionFails(t *testing.T) {
	admin := adminOf(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "not today", http.StatusTeapot) })
	target := Target{Proc: System, PID: os.Getpid(), Admin: admin}
	s := target.Take(t.Context(), "held", 3, true)
	wantReason(t, "RSS", s.Process.RSSBytes, "not today")
	if !strings.Contains(s.GCFailed, "418") || !strings.Contains(s.GoUnavailable, "GET /memory") {
		t.Errorf("collection %q, Go's account %q", s.GCFailed, s.GoUnavailable)
	}
	asLeft := target.Take(t.Context(), "held", 3, false)
	if _, known := asLeft.Process.RSSBytes.Value(); !known || asLeft.GCFailed != "" {
		t.Errorf("as left: %+v", asLeft)
	}
}

func TestGoMemoryThatIsNone(t *testing.T) {
	tests := map[string]string{"[]": "GET /memory", "{}": "named none", `{"/gc/heap/live:bytes":"many"}`: "named none"}
	for body, want := range tests {
		admin := adminOf(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, err := admin.GoMemory(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := (Admin{}).GoMemory(t.Context()); err == nil || !strings.Contains(err.Error(), "no admin listener") {
		t.Errorf("without a listener: %v", err)
	}
}
