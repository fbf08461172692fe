package vm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// small is an archive with one entry of each kind.
func small(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	a := &archive{w: &out}
	for _, err := range []error{
		a.folder("dev"),
		a.character("dev/console", 5, 1),
		a.file("init", 0o755, 5, strings.NewReader("#!sh\n")),
		a.file("empty", 0o644, 0, strings.NewReader("")),
		a.close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// golden is what GNU cpio -o -H newc writes for the same, but for times, inodes and
// the order.
var golden = strings.Join([]string{
	"070701" + "00000001" + "000041ED" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "dev\x00" + "\x00\x00",
	"070701" + "00000002" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "0000000C" + "00000000" + "dev/console\x00" + "\x00\x00",
	"070701" + "00000003" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00" + "\x00" + "#!sh\n\x00\x00\x00",
	"070701" + "00000004" + "000081A4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000006" + "00000000" + "empty\x00",
	"070701" + "00000005" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00" + "\x00\x00\x00",
}, "")

func TestArchive(t *testing.T) {
	got := small(t)
	if string(got) != golden {
		t.Errorf("wrote\n%q, want\n%q", got, golden)
	}
	if len(got)%4 != 0 {
		t.Errorf("%d bytes are no multiple of 4", len(got))
	}
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Log("there is no cpio here to ask as well")
		return
	}
	list := exec.Command(cpio, "-t", "--quiet")
	list.Stdin = bytes.NewReader(got)
	if out, err := list.CombinedOutput(); err != nil || string(out) != "dev\ndev/console\ninit\nempty\n" {
		t.Errorf("cpio -t: %q, %v", out, err)
	}
}

func TestArchiveOfAFileThatIsNotAsLongAsItWas(t *testing.T) {
	err := (&archive{w: io.Discard}).file("short", 0o644, 10, strings.NewReader("abc"))
	if err == nil || !strings.Contains(err.Error(), "short: it ended after 3 of 10 bytes") {
		t.Errorf("file: %v", err)
	}
	if err := (&archive{w: io.Discard}).file("huge", 0o644, 1<<32, nil); err == nil {
		t.Error("a size that the format cannot tell was accepted")
	}
	errFull := errors.New("full")
	if err := (&archive{w: failing{errFull}}).close(); !errors.Is(err, errFull) {
		t.Errorf("on a full disk: %v", err)
	}
}

func TestImage(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "loadgen")
	if err := os.WriteFile(program, []byte("a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	contents := Contents{Init: program, Programs: []string{program}, Files: map[string][]byte{"job.json": []byte("{}")}}
	if err := WriteImage(&image, contents); err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(&image)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"init\x00", "bin/loadgen\x00", "dev/console\x00", "dev/null\x00", "proc\x00", "job.json\x00"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("there is no %q", want)
		}
	}
	if got := bytes.Count(text, []byte("a program")); got != 2 {
		t.Errorf("the program's contents are there %d times", got)
	}
	contents.Programs = []string{filepath.Join(folder, "absent")}
	if err := WriteImage(io.Discard, contents); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a program: %v", err)
	}
}

func TestCheckStatic(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkStatic(script); err == nil || !strings.Contains(err.Error(), "no Linux program") {
		t.Errorf("of a script: %v", err)
	}
}
