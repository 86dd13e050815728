package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// exporter serves an exposition that a test controls.
type exporter struct {
	*httptest.Server

	mu      sync.Mutex
	status  int
	body    string
	serve   func() string // in place of body, if not nil
	scrapes int
}

func newExporter(t *testing.T, body string) *exporter {
	t.Helper()
	e := &exporter{status: http.StatusOK, body: body}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Server.Close)
	return e
}

// serveExporter serves an exposition at that address until the test ends.
func serveExporter(t *testing.T, address, body string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(l, &exporter{status: http.StatusOK, body: body}) }()
	t.Cleanup(func() { l.Close() })
}

// ServeHTTP answers as the test wants it.
func (e *exporter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.scrapes++
	body := e.body
	if e.serve != nil {
		body = e.serve()
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	w.WriteHeader(e.status)
	fmt.Fprint(w, body)
}

// address is host:port, as in static_configs.
func (e *exporter) address() string { return e.Listener.Addr().String() }

// set changes what is served from now on.
func (e *exporter) set(status int, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status, e.body = status, body
}

// slow is a server that never comes to an end: it hangs without an answer, or
// streams lines without end.
func slow(t *testing.T, stream bool) string {
	t.Helper()
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stream {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		}
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			if stream {
				fmt.Fprintf(w, "endless{i=\"%d\"} 1\n", i)
				w.(http.Flusher).Flush()
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	return server.Listener.Addr().String()
}
