// Package connlimit bounds the connections of an HTTP server, so that no crowd of
// clients takes its memory, its descriptors or the time of those that it is for.
package connlimit

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// Limit closes a connection for each one beyond Max. Those that had no answer yet go
// first, then those that had one, then those that had more; of these the one that had its
// last answer, or came, longest ago. So a new client always gets in, and one that asks
// again and again, as Scope's probe does, stays.
type Limit struct {
	Max int

	mu    sync.Mutex
	known map[net.Conn]*list.Element
	order list.List // of *connection; new ones and those that had an answer go to the back
}

type connection struct {
	conn    net.Conn
	answers int // up to two
}

// ConnState is an [http.Server]'s.
func (l *Limit) ConnState(conn net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		if l.known == nil {
			l.known = make(map[net.Conn]*list.Element)
		}
		if len(l.known) >= l.Max {
			l.evict()
		}
		l.known[conn] = l.order.PushBack(&connection{conn: conn})
	case http.StateIdle:
		if e := l.known[conn]; e != nil {
			c := e.Value.(*connection)
			c.answers = min(c.answers+1, 2)
			l.order.MoveToBack(e)
		}
	case http.StateClosed, http.StateHijacked:
		l.forget(conn)
	case http.StateActive:
	}
}

func (l *Limit) evict() {
	victim := l.order.Front()
	for e := victim.Next(); e != nil; e = e.Next() {
		if e.Value.(*connection).answers < victim.Value.(*connection).answers {
			victim = e
		}
	}
	conn := victim.Value.(*connection).conn
	l.forget(conn)
	_ = conn.Close() // its requests end with an error
}

func (l *Limit) forget(conn net.Conn) {
	if e := l.known[conn]; e != nil {
		l.order.Remove(e)
		delete(l.known, conn)
	}
}
