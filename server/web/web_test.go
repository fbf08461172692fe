package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func handler(ready bool, refused *int) http.Handler {
	return NewHandler(Options{
		Metrics: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
		Ready:   func() Readiness { return Readiness{Ready: ready, Feed: map[string]string{"topic": "chat"}} },
		Upgrade: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }),
		Refused: func(int) { *refused++ }, Echo: true, MaxBodyBytes: 5,
	})
}

func TestPaths(t *testing.T) {
	var refused int
	for _, c := range []struct {
		method, path, body string
		ready              bool
		status             int
		says               string
	}{
		{"GET", "/live", "", true, 200, "alive"},
		{"HEAD", "/live", "", true, 200, ""},
		{"GET", "/hello", "", true, 200, "Hello"},
		{"GET", "/ready", "", true, 200, `"ready": true`},
		{"GET", "/ready", "", false, 503, `"ready": false`},
		{"GET", "/", "", true, 200, "<!doctype html>"},
		{"GET", "/ws", "", true, 426, "upgrade"},
		{"GET", "/nope", "", true, 404, ""},
		{"GET", "/debug/pprof/", "", true, 404, ""},
		{"POST", "/hello", "", true, 405, ""},
		{"POST", "/echo", "12345", true, 200, "12345"},
		{"POST", "/echo", "123456", true, 413, ""},
	} {
		w := httptest.NewRecorder()
		handler(c.ready, &refused).ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil || w.Code != c.status || !strings.Contains(strings.ToLower(string(body)), strings.ToLower(c.says)) {
			t.Errorf("%s %s: %d %.100s, %v", c.method, c.path, w.Code, body, err)
		}
	}
}

func TestUpgrades(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"a good one", func(*http.Request) {}, 101},
		{"on /echo", func(r *http.Request) { r.URL.Path = "/echo" }, 101},
		{"lists in any case", func(r *http.Request) {
			r.Header.Set("Upgrade", "h2c, WebSocket")
			r.Header["Connection"] = []string{"keep-alive", "x , UPGRADE"}
		}, 101},
		{"elsewhere", func(r *http.Request) { r.URL.Path = "/hello" }, 404},
		{"not a GET", func(r *http.Request) { r.Method = "POST" }, 405},
		{"HTTP/1.0", func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 }, 505},
		{"no host", func(r *http.Request) { r.Host = "" }, 400},
		{"a body", func(r *http.Request) { r.ContentLength = -1 }, 400},
		{"no Connection", func(r *http.Request) { r.Header.Del("Connection") }, 400},
		{"another version", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 426},
		{"no version", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Version") }, 426},
		{"two keys", func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==") }, 400},
		{"a short key", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "c2hvcnQ=") }, 400},
		{"no key", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }, 400},
	} {
		r := httptest.NewRequest("GET", "/ws", nil)
		for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
			r.Header.Set(name, value)
		}
		c.change(r)
		var refused int
		w := httptest.NewRecorder()
		handler(true, &refused).ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if w.Code == 426 && w.Header().Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: the version that is spoken is not told", c.name)
		}
		if bad := c.status != 101 && c.status != 404; bad != (refused == 1) {
			t.Errorf("%s: %d refusals counted", c.name, refused)
		}
	}
}

func TestAdmin(t *testing.T) {
	h := NewAdminHandler(func() any { return map[string]int{"read": 7} }, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		method, path, says string
		status             int
	}{
		{"POST", "/gc", "", 200}, {"GET", "/gc", "", 405}, {"GET", "/memory", `"/memory/classes/total:bytes"`, 200}, {"GET", "/debug/pprof/", "goroutine", 200}, {"GET", "/ledger", `"read": 7`, 200}, {"POST", "/ledger", "", 405},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: %d %.100s", c.method, c.path, w.Code, w.Body)
		}
	}
}
