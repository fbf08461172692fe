package conformance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// client makes each request on a connection of its own.
var client = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// do makes a request of the server at the address.
func (tr *trial) do(method, address, path, body string) response {
	tr.Helper()
	r, err := try(method, address, path, body)
	if err != nil {
		tr.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func try(method, address, path, body string) (response, error) {
	request, err := http.NewRequest(method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return response{}, err
	}
	text, err := io.ReadAll(answer.Body)
	return response{answer, string(text)}, errors.Join(err, answer.Body.Close())
}

// get gets a path of the public port and fails the case unless the status is the one wanted.
func (tr *trial) get(path string, status int) response {
	tr.Helper()
	r := tr.do(http.MethodGet, tr.address, path, "")
	if r.StatusCode != status {
		tr.Fatalf("GET %s: %s, want %d; body: %.300q", path, r.Status, status, r.body)
	}
	return r
}

// awaitReady waits until the server reads every partition.
func (tr *trial) awaitReady() {
	tr.Helper()
	tr.eventually("GET /ready", func() error {
		r, err := try(http.MethodGet, tr.address, "/ready", "")
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", r.Status, r.body)
		}
		return err
	})
}

// wantServing fails the case unless the server answers on new connections, plain and upgraded.
func (tr *trial) wantServing() {
	tr.Helper()
	tr.get("/live", http.StatusOK)
	tr.session().ping()
}
