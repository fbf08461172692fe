package vm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Contents is what the machine finds in its file system.
type Contents struct {
	Init     string            // path of the program that becomes the first process
	Programs []string          // paths of others; they are put into BinFolder under their own names
	Files    map[string][]byte // by name, at the root
}

// BinFolder is where the machine has its programs.
const BinFolder = "/bin"

// initName is where every kernel looks for the first process of an initramfs.
const initName = "init"

// WriteImage writes the initramfs. It is gzip's format with nothing compressed: the image is
// read once, and the machine may have an emulated processor to undo compression with.
func WriteImage(w io.Writer, c Contents) error {
	compressed, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	if err := writeArchive(&archive{w: compressed}, c); err != nil {
		return err
	}
	if err := compressed.Close(); err != nil {
		return fmt.Errorf("vm: end the image: %w", err)
	}
	return nil
}

func writeArchive(a *archive, c Contents) error {
	var err error
	do := func(step error) { err = errors.Join(err, step) }
	for _, name := range []string{"bin", "dev", "proc", "sys", "tmp"} {
		do(a.folder(name))
	}
	// The first process' standard streams; without them Go's runtime does not start.
	do(a.character("dev/console", 5, 1))
	do(a.character("dev/null", 1, 3))
	do(a.program(initName, c.Init))
	for _, path := range c.Programs {
		do(a.program("bin/"+filepath.Base(path), path))
	}
	for name, contents := range c.Files {
		do(a.file(name, 0o644, int64(len(contents)), bytes.NewReader(contents)))
	}
	do(a.close())
	return err
}

func (a *archive) program(name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	return a.file(name, 0o755, info.Size(), file)
}

// checkStatic says so if a program cannot run where there is no C library.
func checkStatic(path string) error {
	program, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no Linux program: %w", path, err)
	}
	defer program.Close()
	if program.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%s is built for %s", path, program.Machine)
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs the C library", path)
		}
	}
	return nil
}
