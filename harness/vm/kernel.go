package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// KernelPackage is Debian's package that depends on the newest kernel for virtual
// machines: small, and with all that is needed here built in.
const KernelPackage = "linux-image-cloud-amd64"

const kernelPrefix = "vmlinuz-"

// cachedKernel returns the kernel that an earlier fetch has left, the last by
// version if there are several; "" if there is none.
func cachedKernel(cache string) (string, error) {
	found, err := filepath.Glob(filepath.Join(cache, kernelPrefix+"*"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	newest := found[0]
	for _, candidate := range found[1:] {
		if isLater(candidate, newest) {
			newest = candidate
		}
	}
	return newest, nil
}

// isLater compares names as versions: runs of digits by their value.
func isLater(a, b string) bool {
	for a != "" && b != "" {
		partA, partB := leadingPart(a), leadingPart(b)
		if partA != partB {
			if isDigit(partA[0]) && isDigit(partB[0]) && len(partA) != len(partB) {
				return len(partA) > len(partB)
			}
			return partA > partB
		}
		a, b = a[len(partA):], b[len(partB):]
	}
	return len(a) > len(b)
}

func leadingPart(s string) string {
	end := 1
	for end < len(s) && isDigit(s[0]) && isDigit(s[end]) {
		end++
	}
	return s[:end]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// currentKernelPackage asks what KernelPackage stands for at present.
func currentKernelPackage(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "apt-cache", "depends", KernelPackage)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); found {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("vm: no package %s is known here", KernelPackage)
}

// FetchKernel downloads Debian's kernel into the cache and returns its path. It
// installs nothing and needs no privilege.
func FetchKernel(ctx context.Context, cache string) (string, error) {
	name, err := currentKernelPackage(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("vm: folder for kernels: %w", err)
	}
	folder, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("vm: %w", err)
	}
	defer os.RemoveAll(folder)
	if _, err := output(ctx, folder, "apt-get", "download", name); err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(packages) != 1 {
		return "", fmt.Errorf("vm: apt-get download %s left %d packages: %w", name, len(packages), err)
	}
	return unpackKernel(ctx, packages[0], cache)
}

// unpackKernel takes the kernel out of the package.
func unpackKernel(ctx context.Context, packagePath, cache string) (kernel string, err error) {
	var complaint bytes.Buffer
	unpack := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", packagePath)
	unpack.Stderr = &complaint
	files, err := unpack.StdoutPipe()
	if err == nil {
		err = unpack.Start()
	}
	if err != nil {
		return "", fmt.Errorf("vm: unpack %s: %w", packagePath, err)
	}
	kernel, err = copyKernel(files, cache)
	// The modules behind it are read too: only at the end it says whether all was well.
	_, restErr := io.Copy(io.Discard, files)
	if err := errors.Join(err, restErr, unpack.Wait()); err != nil {
		return "", fmt.Errorf("vm: unpack %s: %w: %s", packagePath, err, complaint.String())
	}
	return kernel, nil
}

// copyKernel copies the first file that is a kernel, whole or not at all.
func copyKernel(packaged io.Reader, cache string) (string, error) {
	files := tar.NewReader(packaged)
	for {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("there is no kernel in it")
		}
		if err != nil {
			return "", err
		}
		name := path.Base(path.Clean(head.Name))
		if head.Typeflag != tar.TypeReg || !strings.HasPrefix(name, kernelPrefix) {
			continue
		}
		target := filepath.Join(cache, name)
		if err := writeWhole(target, files); err != nil {
			return "", err
		}
		return target, checkKernel(target)
	}
}

func writeWhole(target string, contents io.Reader) error {
	file, err := os.CreateTemp(filepath.Dir(target), ".part-")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, contents)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// checkKernel tells a bootable Linux image by its boot protocol's mark.
func checkKernel(path string) error {
	const markAt, mark = 0x202, "HdrS"
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("vm: kernel: %w", err)
	}
	defer file.Close()
	found := make([]byte, len(mark))
	if _, err := file.ReadAt(found, markAt); err != nil || string(found) != mark {
		return fmt.Errorf("vm: %s is no bootable Linux image for x86-64 (a vmlinuz)", path)
	}
	return nil
}

// output runs a program for its output; its complaints are the error.
func output(ctx context.Context, folder, name string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = folder
	out, err := command.Output()
	if err == nil {
		return out, nil
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(ended.Stderr))
	}
	return nil, fmt.Errorf("vm: %s %s: %w", name, strings.Join(args, " "), err)
}
