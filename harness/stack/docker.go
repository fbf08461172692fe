package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// engine is the Docker engine that containers run on.
type engine struct{ client *testcontainers.DockerClient }

// errNoEngine is wrapped by what openEngine says when no engine answers.
var errNoEngine = errors.New("no Docker engine answers")

const engineDeadline = 10 * time.Second

// silence is Testcontainers' logger: what people need to know, Open says.
type silence struct{}

func (silence) Printf(string, ...any) {}

// prepareTestcontainers sets what would otherwise have to be set by whoever runs the
// harness. Testcontainers' own reaper is a container of an image that has to be pulled;
// removeLeftovers does its work.
var prepareTestcontainers = sync.OnceValue(func() error {
	tclog.SetDefault(silence{})
	const variable = "TESTCONTAINERS_RYUK_DISABLED"
	if _, isSet := os.LookupEnv(variable); isSet {
		return nil
	}
	return os.Setenv(variable, "true")
})

func openEngine(ctx context.Context) (*engine, error) {
	ctx, cancel := context.WithTimeout(ctx, engineDeadline)
	defer cancel()
	if err := prepareTestcontainers(); err != nil {
		return nil, fmt.Errorf("stack: prepare Testcontainers: %w", err)
	}
	// Testcontainers goes on to other engines when the one that was asked for is not
	// there, which would be a surprise.
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		if err := ping(ctx); err != nil {
			return nil, fmt.Errorf("%w at %s%s", errNoEngine, host, whyNot(err))
		}
	}
	connection, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w at %s%s", errNoEngine, client.DefaultDockerHost, whyNot(err))
	}
	return &engine{connection}, nil
}

func ping(ctx context.Context) error {
	plain, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer plain.Close()
	_, err = plain.Ping(ctx, client.PingOptions{})
	return err
}

// whyNot shortens what the Docker client says at length.
func whyNot(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "permission denied"):
		return ": permission denied (is this user in the group docker?)"
	case errors.Is(err, context.DeadlineExceeded):
		return " within " + engineDeadline.String()
	}
	return ""
}

func (e *engine) close() { _ = e.client.Close() } // it only drops idle connections

// has reports whether the image is local.
func (e *engine) has(ctx context.Context, image string) (bool, error) {
	_, err := e.client.ImageInspect(ctx, image)
	switch {
	case err == nil:
		return true, nil
	case strings.Contains(err.Error(), "No such image"), strings.Contains(err.Error(), "not found"):
		return false, nil
	}
	return false, fmt.Errorf("stack: look for the image %s: %w", image, err)
}

func (e *engine) pull(ctx context.Context, image string) error {
	response, err := e.client.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		err = errors.Join(response.Wait(ctx), response.Close())
	}
	if err != nil {
		return fmt.Errorf("the image %s can't be pulled: %w", image, err)
	}
	return nil
}

// A container carries its owner, the process that removes it, in a label: so that the
// next harness removes what one that was killed has left.
const ownerLabel = "chatmonitor.owner"

// owner tells a process from all others that this machine's kernels ran.
type owner struct {
	boot       string // of the kernel
	namespace  string // of process ids
	pid        int
	startTicks string // after boot: ids are used again
}

func thisProcess() (owner, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return owner{}, fmt.Errorf("stack: name this process: %w", err)
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return owner{}, fmt.Errorf("stack: name this process: %w", err)
	}
	ticks, err := startTicks(os.Getpid())
	return owner{strings.TrimSpace(string(boot)), namespace, os.Getpid(), ticks}, err
}

// startTicks is when a process began; a pid that is no more is os.ErrNotExist.
func startTicks(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) { // it ended between open and read
		err = os.ErrNotExist
	}
	if err != nil {
		return "", err
	}
	const startTime = 22 - 3 // proc(5) counts from 1; the first two are before ") "
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= startTime {
		return "", fmt.Errorf("stack: /proc/%d/stat reads %q", pid, stat)
	}
	return fields[startTime], nil
}

func (o owner) String() string {
	return fmt.Sprintf("%s %s %d %s", o.boot, o.namespace, o.pid, o.startTicks)
}

func parseOwner(label string) (owner, error) {
	parts := strings.Fields(label)
	if len(parts) != 4 {
		return owner{}, fmt.Errorf("stack: the label %s=%q has not four parts", ownerLabel, label)
	}
	pid, err := strconv.Atoi(parts[2])
	return owner{parts[0], parts[1], pid, parts[3]}, err
}

// gone reports whether the container's owner has certainly ended. Of a process that
// this one can't see only a reboot is certain, which stops containers.
func (o owner) gone(self owner, running bool) bool {
	if o.boot != self.boot {
		return !running
	}
	if o.namespace != self.namespace {
		return false
	}
	ticks, err := startTicks(o.pid)
	return errors.Is(err, os.ErrNotExist) || err == nil && ticks != o.startTicks
}

// removeLeftovers removes containers whose owner has ended without doing so, and
// returns how many.
func (e *engine) removeLeftovers(ctx context.Context) (removed int, err error) {
	self, err := thisProcess()
	if err != nil {
		return 0, err
	}
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", ownerLabel),
	})
	if err != nil {
		return 0, fmt.Errorf("stack: look for containers that are left over: %w", err)
	}
	for _, c := range list.Items {
		its, err := parseOwner(c.Labels[ownerLabel])
		running := c.State == container.StateRunning || c.State == container.StatePaused
		if err != nil || !its.gone(self, running) {
			continue
		}
		// Another harness may be doing the same.
		if e.remove(ctx, c.ID) == nil {
			removed++
		}
	}
	return removed, nil
}

func (e *engine) remove(ctx context.Context, id string) error {
	_, err := e.client.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}
