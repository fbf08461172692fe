package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/testcontainers/testcontainers-go"
)

var soundConfig = BrokerConfig{Topic: "chat", Partitions: 1, Listen: "127.0.0.1:0"}

// said collects what Open says.
type said struct{ lines []string }

func (s *said) say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func TestOpenSaysWhichBrokerAndWhy(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	running, err := StartEmbedded(soundConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	external := running.Addresses()[0]
	tests := []struct{ kafka, kind, says string }{
		{KindEmbedded, KindEmbedded, "broker: embedded"},
		{KindAuto, KindEmbedded, "broker: embedded, because no Docker engine answers at unix:///nonexistent/docker.sock"},
		{external, KindExternal, "broker: external " + external},
	}
	for _, test := range tests {
		var heard said
		broker, err := Open(within(t, patience), Choice{Kafka: test.kafka, Config: soundConfig, Say: heard.say})
		if err != nil {
			t.Errorf("%s: %v", test.kafka, err)
			continue
		}
		if broker.Kind() != test.kind || strings.Join(heard.lines, "\n") != test.says {
			t.Errorf("%s: a broker of kind %s, and it says %q", test.kafka, broker.Kind(), heard.lines)
		}
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}
	broker, err := Open(within(t, patience), Choice{Kafka: KindContainer, Config: soundConfig})
	if err == nil || broker != nil || !strings.Contains(err.Error(), "no Docker engine answers at unix:///nonexistent") {
		t.Errorf("a container without Docker: %v, %v", broker, err)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	for _, kind := range []string{KindAuto, KindContainer, KindEmbedded} {
		cfg := soundConfig
		cfg.Partitions = 0
		if _, err := Open(t.Context(), Choice{Kafka: kind, Config: cfg}); err == nil || !strings.Contains(err.Error(), "0 partitions") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// deadOwner is a process that has been.
func deadOwner(t *testing.T) owner {
	t.Helper()
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^$")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	self.pid = child.Process.Pid
	return self
}

func TestOwnerGone(t *testing.T) {
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	other := func(change func(*owner)) owner {
		o := self
		change(&o)
		return o
	}
	tests := []struct {
		name    string
		owner   owner
		running bool
		gone    bool
	}{
		{"this process", self, true, false},
		{"ended", deadOwner(t), true, true},
		{"its pid is used again", other(func(o *owner) { o.startTicks = "1" }), true, true},
		{"not to be seen from here", other(func(o *owner) { o.namespace = "pid:[1]"; o.pid = 1 << 30 }), true, false},
		{"before a reboot", other(func(o *owner) { o.boot = "x" }), false, true},
		{"another machine's", other(func(o *owner) { o.boot = "x" }), true, false},
	}
	for _, test := range tests {
		again, err := parseOwner(test.owner.String())
		if err != nil || again != test.owner {
			t.Errorf("%s: %q is read as %+v, %v", test.name, test.owner, again, err)
		}
		if got := test.owner.gone(self, test.running); got != test.gone {
			t.Errorf("%s: gone %v", test.name, got)
		}
	}
	if _, err := parseOwner("me"); err == nil {
		t.Error("an owner of one word was taken")
	}
}

// Where there is an engine, a container that nobody owns any more is removed, and no other.
func TestLeftoversAreRemoved(t *testing.T) {
	ctx := within(t, patience)
	e, err := openEngine(ctx)
	if errors.Is(err, errNoEngine) {
		t.Logf("%v: there is nothing that could be left over", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if local, err := e.has(ctx, BuiltImage); err != nil || !local {
		t.Logf("there is no image %s to make containers of (%v)", BuiltImage, err)
		return
	}
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	mine, left := e.create(ctx, t, self), e.create(ctx, t, deadOwner(t))
	if removed, err := e.removeLeftovers(ctx); err != nil || removed < 1 {
		t.Errorf("%d removed, %v", removed, err)
	}
	if err := e.remove(ctx, left); err == nil {
		t.Error("the container of an owner that has ended was still there")
	}
	if err := e.remove(ctx, mine); err != nil {
		t.Errorf("the container of this process: %v", err)
	}
}

// create makes a container that does not run.
func (e *engine) create(ctx context.Context, t *testing.T, o owner) (id string) {
	t.Helper()
	c, err := testcontainers.Run(ctx, BuiltImage, testcontainers.WithNoStart(), testcontainers.WithLogger(silence{}),
		testcontainers.WithLabels(map[string]string{ownerLabel: o.String()}))
	if err != nil {
		t.Fatal(err)
	}
	return c.GetContainerID()
}

func TestFindImage(t *testing.T) {
	ctx := within(t, patience)
	e, err := openEngine(ctx)
	if errors.Is(err, errNoEngine) {
		t.Logf("%v: there are no images", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	var heard said
	_, err = e.findImage(ctx, Choice{Image: "localhost/chatmonitor-no-such:1", Say: heard.say})
	var none *noContainerError
	if !errors.As(err, &none) || !strings.Contains(none.because, "make kafka-image") || strings.Contains(none.because, "\n") {
		t.Errorf("an image that is not to be had: %v", err)
	}
	if len(heard.lines) != 1 || heard.lines[0] != "pulling localhost/chatmonitor-no-such:1" {
		t.Errorf("it said %q", heard.lines)
	}
}
