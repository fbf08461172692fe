package monitor

import (
	"fmt"

	"chatmonitor/server/chat"
)

// Handler answers a client's request.
type Handler interface {
	ServeWebsocket(*Request)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(*Request)

// ServeWebsocket calls f.
func (f HandlerFunc) ServeWebsocket(r *Request) { f(r) }

// Request is one message of a client and its answer. It is valid until ServeWebsocket returns.
type Request struct {
	session *Session
	message chat.Message
	problem error
	answer  []byte
}

// Path is the path that the client asked for.
func (r *Request) Path() string { return r.message.Path }

// Params is the request's parameters, a JSON value, or nil if it has none. They are valid until
// ServeWebsocket returns.
func (r *Request) Params() []byte { return r.message.Params }

// Problem says what keeps the text from being a request; nil unless the default handler is called.
func (r *Request) Problem() error { return r.problem }

// Answer answers with a JSON value. A request is answered once; a handler that returns without an
// answer has answered with an empty object.
func (r *Request) Answer(result []byte) {
	r.settle(chat.AppendResult(make([]byte, 0, 64+len(r.message.ID)+len(result)), &r.message, result))
}

// Refuse answers with an error.
func (r *Request) Refuse(e *chat.Error) {
	r.settle(chat.AppendError(nil, &r.message, e))
}

func (r *Request) settle(answer []byte) {
	if r.answer != nil {
		panic(fmt.Sprintf("monitor: a request for %q was answered twice", r.message.Path))
	}
	r.answer = answer
}

type route struct {
	handler Handler
	slow    bool
}

// Router knows the handlers of an application, by path. It is complete before the first session is
// opened, and does not change afterwards.
type Router struct {
	routes   map[string]route
	fallback Handler
}

// NewRouter knows the paths of the client protocol.
func NewRouter() *Router {
	r := &Router{routes: make(map[string]route), fallback: HandlerFunc(refuseProblem)}
	r.Handle(chat.PathListen, HandlerFunc(func(q *Request) { q.session.listen(q) }))
	r.Handle(chat.PathUnlisten, HandlerFunc(func(q *Request) { q.session.unlisten(q) }))
	r.Handle(chat.PathRules, HandlerFunc(func(q *Request) { q.session.listRules(q) }))
	r.Handle(chat.PathPing, HandlerFunc(func(q *Request) { q.session.ping(q) }))
	return r
}

// Handle has the requests for path, compared byte for byte, answered by h on the shard's goroutine:
// h must not block.
func (r *Router) Handle(path string, h Handler) { r.routes[path] = route{handler: h} }

// HandleSlow has the requests for path answered by h on a bounded pool of goroutines. A session's
// requests are still answered in order; when the pool is full the request is refused with busy.
func (r *Router) HandleSlow(path string, h Handler) { r.routes[path] = route{handler: h, slow: true} }

// HandleDefault has texts that are not requests answered by h: Request.Problem says why.
func (r *Router) HandleDefault(h Handler) { r.fallback = h }

func (r *Router) find(q *Request) route {
	if q.problem != nil {
		return route{handler: r.fallback}
	}
	if found, ok := r.routes[q.message.Path]; ok {
		return found
	}
	return route{handler: HandlerFunc(refusePath)}
}

func refuseProblem(r *Request) {
	r.Refuse(&chat.Error{Code: chat.BadRequest, Message: fmt.Sprintf(`%v; send {"path": "/listen", "id": 1, "params": {...}}`, r.Problem())})
}

func refusePath(r *Request) {
	r.Refuse(&chat.Error{Code: chat.UnknownPath, Message: fmt.Sprintf("there is no path %.100q; there are /listen, /unlisten, /rules, /ping", r.Path())})
}
