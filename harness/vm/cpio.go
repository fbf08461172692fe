package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// archive writes the format that kernels unpack as their first file system: cpio,
// "newc". A header of 13 hexadecimal numbers, a name, contents; each padded to
// four bytes.
type archive struct {
	w       io.Writer
	written int64
	inode   uint32
}

// File types of a Unix mode.
const (
	typeFolder    = 0o040000
	typeFile      = 0o100000
	typeCharacter = 0o020000
)

const (
	archiveMagic = "070701"
	trailerName  = "TRAILER!!!"
	// maxEntryBytes is what eight hexadecimal digits can tell.
	maxEntryBytes = 1<<32 - 1
)

// entry is one header's fields; those that are always 0 are left out.
type entry struct {
	name         string // without a leading slash
	mode         uint32 // type and permissions
	bytes        int64
	major, minor uint32 // of a device
}

func (a *archive) folder(name string) error {
	return a.head(entry{name: name, mode: typeFolder | 0o755})
}

// character makes the node of a character device. No privilege is needed: it is
// only written about.
func (a *archive) character(name string, major, minor uint32) error {
	return a.head(entry{name: name, mode: typeCharacter | 0o600, major: major, minor: minor})
}

// file writes exactly so many bytes of contents.
func (a *archive) file(name string, permissions fs.FileMode, bytes int64, contents io.Reader) error {
	if bytes > maxEntryBytes {
		return fmt.Errorf("vm: %s has %d bytes, more than an archive's entry may have", name, bytes)
	}
	if err := a.head(entry{name: name, mode: typeFile | uint32(permissions.Perm()), bytes: bytes}); err != nil {
		return err
	}
	n, err := io.CopyN(counting{a}, contents, bytes)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it ended after %d of %d bytes", n, bytes)
	}
	if err != nil {
		return fmt.Errorf("vm: archive %s: %w", name, err)
	}
	return a.pad()
}

// close ends the archive; the writer stays open.
func (a *archive) close() error { return a.head(entry{name: trailerName}) }

func (a *archive) head(e entry) error {
	a.inode++
	links := 1
	if e.mode&typeFolder == typeFolder {
		links = 2
	}
	// inode, mode, owner, group, links, time, size, the archive's device, the node's device, name with its end, checksum
	_, err := fmt.Fprintf(counting{a}, archiveMagic+"%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, e.mode, 0, 0, links, 0, e.bytes, 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name)
	if err != nil {
		return fmt.Errorf("vm: archive %s: %w", e.name, err)
	}
	return a.pad()
}

func (a *archive) pad() error {
	const alignment = 4
	if short := a.written % alignment; short != 0 {
		if _, err := (counting{a}).Write(make([]byte, alignment-short)); err != nil {
			return fmt.Errorf("vm: archive: %w", err)
		}
	}
	return nil
}

// counting writes, and counts for the padding.
type counting struct{ a *archive }

func (c counting) Write(p []byte) (int, error) {
	n, err := c.a.w.Write(p)
	c.a.written += int64(n)
	return n, err
}
