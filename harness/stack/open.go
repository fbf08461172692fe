package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// KindAuto is what to ask Open for to get the best broker that this machine allows.
const KindAuto = "auto"

// Images of Kafka that are tried when none is asked for, in this order. The first is
// what kafka-image/build.sh builds; the second is public.
const (
	BuiltImage  = "localhost/chatmonitor-kafka:4.3.0"
	PublicImage = "apache/kafka:4.3.0"
)

// Choice says which broker is wanted.
type Choice struct {
	Kafka  string // auto, container, embedded, or host:port[,host:port...] of one that runs
	Image  string // of a container; "" for BuiltImage or PublicImage
	Config BrokerConfig
	// Say, unless nil, is told which broker it became and why, and what takes long.
	Say func(format string, args ...any)
}

// Ours reports whether Open would start a broker, rather than use one that runs.
func (c Choice) Ours() bool {
	return c.Kafka == KindAuto || c.Kafka == KindContainer || c.Kafka == KindEmbedded
}

// Validate says what is wrong with the choice itself, whatever this machine has.
func (c Choice) Validate() error {
	if c.Ours() {
		return c.Config.validate()
	}
	for address := range strings.SplitSeq(c.Kafka, ",") {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("kafka %q: want auto, container, embedded or HOST:PORT[,HOST:PORT...]", c.Kafka)
		}
	}
	return nil
}

// Open starts or finds the broker. Auto is a container where a Docker engine answers and
// has, or can pull, an image of Kafka, else the embedded broker.
func Open(ctx context.Context, c Choice) (Broker, error) {
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	broker, because, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	line := strings.TrimSpace("broker: " + broker.Kind() + " " + broker.Detail())
	if because != "" {
		line += ", because " + because
	}
	c.Say("%s", line)
	return broker, nil
}

// open returns a broker and why it is no container. With an error the broker is not to be
// looked at: it may hold a nil pointer.
func open(ctx context.Context, c Choice) (broker Broker, because string, err error) {
	if err := c.Validate(); err != nil {
		return nil, "", fmt.Errorf("stack: broker: %w", err)
	}
	if !c.Ours() {
		broker, err := OpenExternal(ctx, c.Kafka, c.Config.Topic)
		return broker, "", err
	}
	if c.Kafka != KindEmbedded {
		broker, err := openContainer(ctx, c)
		var none *noContainerError
		if c.Kafka == KindContainer || !errors.As(err, &none) {
			return broker, "", err
		}
		because = none.Error()
	}
	embedded, err := StartEmbedded(c.Config)
	return embedded, because, err
}

// noContainerError is why this machine can't run the container, in one line.
type noContainerError struct{ because string }

func (e *noContainerError) Error() string { return e.because }

// Pulling is a download of a quarter of a gigabyte.
const pullDeadline = 5 * time.Minute

func openContainer(ctx context.Context, c Choice) (*Container, error) {
	e, err := openEngine(ctx)
	if errors.Is(err, errNoEngine) {
		return nil, &noContainerError{err.Error()}
	}
	if err != nil {
		return nil, err
	}
	broker, err := runOn(ctx, e, c)
	if err != nil {
		e.close()
		return nil, err
	}
	return broker, nil
}

func runOn(ctx context.Context, e *engine, c Choice) (*Container, error) {
	removed, err := e.removeLeftovers(ctx)
	if err != nil {
		return nil, err
	}
	if removed > 0 {
		c.Say("removed containers that a killed harness had left: %d", removed)
	}
	image, err := e.findImage(ctx, c)
	if err != nil {
		return nil, err
	}
	return startContainer(ctx, e, image, c.Config)
}

// findImage returns an image that is local, if necessary after pulling it.
func (e *engine) findImage(ctx context.Context, c Choice) (string, error) {
	all := candidates(c.Image)
	for _, image := range all {
		local, err := e.has(ctx, image)
		if err != nil || local {
			return image, err
		}
	}
	image := all[len(all)-1]
	c.Say("pulling %s", image)
	ctx, cancel := context.WithTimeout(ctx, pullDeadline)
	defer cancel()
	if err := e.pull(ctx, image); err != nil {
		return "", &noContainerError{oneLine(err.Error()) + "; make kafka-image builds " + BuiltImage}
	}
	return image, nil
}

// ContainerPossible says which image a container of Kafka would run, without starting or
// pulling anything. The error is why there is none; engine tells whether Docker answers.
func ContainerPossible(ctx context.Context, image string) (found string, engine bool, err error) {
	e, err := openEngine(ctx)
	if err != nil {
		return "", false, err
	}
	defer e.close()
	for _, candidate := range candidates(image) {
		local, err := e.has(ctx, candidate)
		if err != nil || local {
			return candidate, true, err
		}
	}
	return "", true, fmt.Errorf("none of the images %s is here", strings.Join(candidates(image), ", "))
}

// candidates are the images to try, in this order.
func candidates(image string) []string {
	if image != "" {
		return []string{image}
	}
	return []string{BuiltImage, PublicImage}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
