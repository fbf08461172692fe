package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Server is a child that listens and is ready to serve.
type Server struct {
	*Process
	Address string // host:port that clients connect to
	Admin   string // host:port of the admin listener
}

const readyPoll = 20 * time.Millisecond

// StartServer runs the command and returns when the server listens and says
// that it is ready; ctx bounds the wait. A server that does not get there is
// stopped before the error is returned.
func StartServer(ctx context.Context, c Command) (*Server, error) {
	process, err := Start(c)
	if err != nil {
		return nil, err
	}
	server := &Server{Process: process}
	if err := server.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, process.Kill())
	}
	return server, nil
}

func (s *Server) awaitReady(ctx context.Context) error {
	var err error
	if s.Address, err = s.awaitAddress(ctx, "listening"); err != nil {
		return err
	}
	if s.Admin, err = s.awaitAddress(ctx, "admin listening"); err != nil {
		return err
	}
	return s.pollReady(ctx)
}

func (s *Server) awaitAddress(ctx context.Context, message string) (string, error) {
	address, _, err := s.waitLine(ctx, s.stderr, 0, "waiting for its log line \""+message+"\"",
		func(line string) (string, bool) {
			if logAttribute(line, "msg") != message {
				return "", false
			}
			address := logAttribute(line, "address")
			return address, address != ""
		})
	return address, err
}

// logAttribute returns the value of a key in a line of slog's text form, "" if
// it has none. A key within a quoted value is not one.
func logAttribute(line, key string) string {
	for line != "" {
		name, rest, ok := strings.Cut(line, "=")
		if !ok {
			return ""
		}
		value, after := logValue(rest)
		if strings.TrimSpace(name) == key {
			return value
		}
		line = after
	}
	return ""
}

func logValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, " ")
		return value, rest
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:]
		}
	}
	return s[1:], ""
}

// pollReady asks until the server is ready; what it last answered is part of
// the error.
func (s *Server) pollReady(ctx context.Context) error {
	answer := "no answer yet"
	for {
		status, body, err := httpGet(ctx, "http://"+s.Address+"/ready")
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil:
			answer = fmt.Sprintf("%d %s", status, strings.TrimSpace(body))
		}
		select {
		case <-s.exited:
			return s.Failure("getting ready")
		case <-ctx.Done():
			return fmt.Errorf("stack: %s did not get ready: %w; /ready said last: %s; the end of its log:\n%s",
				s.name, context.Cause(ctx), answer, s.stderr.tail())
		case <-time.After(readyPoll):
		}
	}
}

func httpGet(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Close = true // no idle connection may count in what is measured
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(text), err
}
