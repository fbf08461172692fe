package app

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// FDSize of /proc/PID/status is the room in the table.
func TestTheDescriptorTableGrows(t *testing.T) {
	const n = 5000
	if err := growDescriptorTable(n); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`FDSize:\s+(\d+)`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no FDSize in\n%s", status)
	}
	if size, err := strconv.Atoi(string(found[1])); err != nil || size < n {
		t.Errorf("room for %s descriptors, %v", found[1], err)
	}
	if err := growDescriptorTable(1 << 30); err == nil {
		t.Error("more than the limit is no error")
	}
}
