package vm

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chatmonitor/harness/probe"
)

const gib = 1 << 30

var errAbsent = errors.New("not here")

// kernelImage is as much of a kernel as is looked at.
func kernelImage() []byte {
	image := make([]byte, 1024)
	copy(image[0x202:], "HdrS")
	return image
}

func write(t *testing.T, path string, contents []byte) string {
	t.Helper()
	if err := os.WriteFile(path, contents, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wellSupplied has everything.
func wellSupplied() surroundings {
	return surroundings{
		architecture:  "amd64",
		available:     probe.Known(24 * gib),
		lookPath:      func(string) error { return nil },
		kernelPackage: func() (string, error) { return "linux-image-6", nil },
	}
}

func without(programs ...string) func(*surroundings, *Needs) {
	return func(s *surroundings, _ *Needs) {
		s.lookPath = func(program string) error {
			if slices.Contains(programs, program) {
				return errAbsent
			}
			return nil
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	folder := t.TempDir()
	kernel := write(t, filepath.Join(folder, "given"), kernelImage())
	noKernel := write(t, filepath.Join(folder, "text"), []byte("hello"))
	free := func(bytes float64) func(*surroundings, *Needs) {
		return func(s *surroundings, _ *Needs) { s.available = probe.Known(bytes) }
	}
	tests := []struct {
		sentence string
		spoil    func(*surroundings, *Needs)
		what     string // in the problem; "" is none
		mend     string
	}{
		{"all is there", func(*surroundings, *Needs) {}, "", ""},
		{"no QEMU", without(QEMU), "qemu-system-x86_64 is not installed", "apt-get install --no-install-recommends qemu-system-x86"},
		{"another processor", func(s *surroundings, _ *Needs) { s.architecture = "arm64" }, "this is arm64", "x86-64 machine"},
		{"a program that is none", func(_ *surroundings, n *Needs) { n.Programs = []string{noKernel} }, "is no Linux program", "make build"},
		{"a kernel that is given", func(_ *surroundings, n *Needs) { n.Kernel = kernel }, "", ""},
		{"a given kernel that is none", func(_ *surroundings, n *Needs) { n.Kernel = noKernel }, "no bootable Linux image", "--kernel=FILE"},
		{"a given kernel that is not there", func(_ *surroundings, n *Needs) { n.Kernel = kernel + "-x" }, "no such file", "--kernel=FILE"},
		{"no apt", without("apt-get"), "without apt-get none can be fetched", "--kernel=FILE"},
		{"apt without lists", func(s *surroundings, _ *Needs) { s.kernelPackage = func() (string, error) { return "", errAbsent } },
			"apt knows no linux-image-cloud-amd64", "apt-get update"},
		{"little memory", free(6 * gib), "gets 4.5 GiB, and so many connections take at least 10.0 GiB", "--connections"},
		{"more asked for than there is", func(_ *surroundings, n *Needs) { n.MemoryAsked = 23 * gib },
			"23.0 GiB were asked for the machine, and of the 24.0 GiB that are free it can have 22.5 GiB", "--memory"},
		{"unknown memory", func(s *surroundings, _ *Needs) { s.available = probe.Unavailable(errAbsent) }, "not known: not here", "--memory="},
		{"unknown memory, and a word about it", func(s *surroundings, n *Needs) {
			s.available, n.MemoryAsked = probe.Unavailable(errAbsent), 12*gib
		}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			s, n := wellSupplied(), Needs{Cache: filepath.Join(folder, "cache"), MemoryNeeded: 10 * gib}
			test.spoil(&s, &n)
			_, missing := n.find(s)
			if test.what == "" {
				if len(missing) > 0 {
					t.Error(Explain(missing))
				}
				return
			}
			if len(missing) != 1 {
				t.Fatalf("%d problems, want one", len(missing))
			}
			if !strings.Contains(missing[0].What, test.what) || !strings.Contains(missing[0].Mend, test.mend) {
				t.Errorf("%s\nwant %q and %q", missing[0], test.what, test.mend)
			}
		})
	}
}

func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	s, n := wellSupplied(), Needs{Kernel: "/nonexistent", MemoryAsked: 100 * gib, Programs: []string{"/nonexistent"}}
	without(QEMU)(&s, &n)
	_, missing := n.find(s)
	if text := Explain(missing); len(missing) != 4 || strings.Count(text, "\n") != 8 {
		t.Errorf("%d problems:\n%s", len(missing), text)
	}
}

func TestMemory(t *testing.T) {
	tests := []struct{ free, asked, want int64 }{
		{24 * gib, 0, 19 * gib},
		{64 * gib, 0, 19 * gib},
		{16 * gib, 0, 14*gib + 512<<20},
		{24 * gib, 12 * gib, 12 * gib},
		{24 * gib, 12*gib + 5, 12 * gib},
	}
	for _, test := range tests {
		s := wellSupplied()
		s.available = probe.Known(float64(test.free))
		found, missing := Needs{Cache: t.TempDir(), MemoryAsked: test.asked}.find(s)
		if found.MemoryBytes != test.want || len(missing) > 0 {
			t.Errorf("of %d with %d asked for: %d, want %d; %v", test.free, test.asked, found.MemoryBytes, test.want, missing)
		}
	}
}

func TestCachedKernel(t *testing.T) {
	cache := t.TempDir()
	if got, err := cachedKernel(cache); got != "" || err != nil {
		t.Errorf("of an empty folder: %q, %v", got, err)
	}
	for _, version := range []string{"6.1.0-9-cloud", "6.1.0-47-cloud", "6.1.0-6-cloud"} {
		write(t, filepath.Join(cache, "vmlinuz-"+version), kernelImage())
	}
	write(t, filepath.Join(cache, "other"), nil)
	found, missing := Needs{Cache: cache}.find(wellSupplied())
	if filepath.Base(found.Kernel) != "vmlinuz-6.1.0-47-cloud" || len(missing) > 0 {
		t.Errorf("found %q, %v", found.Kernel, missing)
	}
	write(t, filepath.Join(cache, "vmlinuz-6.1.0-99-cloud"), []byte("cut off"))
	if found, _ := (Needs{Cache: cache}).find(wellSupplied()); found.Kernel != "" {
		t.Errorf("took %q, which is no kernel: it must be fetched anew", found.Kernel)
	}
}

func TestLaterVersions(t *testing.T) {
	rising := []string{"6.1.0-6", "6.1.0-47", "6.1.0-100", "6.1.1", "6.9", "6.12.0", "6.12.0-rc", "10"}
	for i, a := range rising {
		for j, b := range rising {
			if got := isLater(a, b); got != (i > j) {
				t.Errorf("isLater(%q, %q) = %v", a, b, got)
			}
		}
	}
}

func TestKernelFromItsPackage(t *testing.T) {
	packaged := func(names ...string) *bytes.Buffer {
		var out bytes.Buffer
		files := tar.NewWriter(&out)
		for _, name := range names {
			if err := files.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(kernelImage()))}); err != nil {
				t.Fatal(err)
			}
			if _, err := files.Write(kernelImage()); err != nil {
				t.Fatal(err)
			}
		}
		if err := files.Close(); err != nil {
			t.Fatal(err)
		}
		return &out
	}
	cache := t.TempDir()
	path, err := copyKernel(packaged("./boot/config-6", "./boot/vmlinuz-6.1-cloud", "./lib/x.ko"), cache)
	if err != nil || path != filepath.Join(cache, "vmlinuz-6.1-cloud") {
		t.Errorf("copyKernel = %q, %v", path, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, kernelImage()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// A name may not lead out of the folder.
	path, err = copyKernel(packaged("./boot/../../vmlinuz-../../../evil", "../vmlinuz-up"), cache)
	if err != nil || filepath.Dir(path) != cache {
		t.Errorf("copyKernel = %q, %v", path, err)
	}
	if _, err := copyKernel(packaged("./boot/config-6"), cache); err == nil || !strings.Contains(err.Error(), "no kernel in it") {
		t.Errorf("without a kernel: %v", err)
	}
	whole := packaged("./boot/vmlinuz-7").Bytes()
	if _, err := copyKernel(bytes.NewReader(whole[:700]), cache); err == nil {
		t.Error("half a kernel was accepted")
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if hidden, _ := filepath.Glob(filepath.Join(cache, ".*")); err != nil || len(left) != 2 || len(hidden) > 0 {
		t.Errorf("in the folder: %q %q, %v", left, hidden, err)
	}
}
