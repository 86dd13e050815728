package scrape_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/prometheus/prometheus/model/labels"
)

// network is a network in memory. In a bubble of synctest time passes only while all
// goroutines wait for each other, which those at a real socket do not.
type network struct {
	mu       sync.Mutex
	handlers map[string]http.Handler // by address
}

// serve returns the address of a server.
func (n *network) serve(handler http.Handler) (address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handlers == nil {
		n.handlers = map[string]http.Handler{}
	}
	address = fmt.Sprintf("127.0.0.1:%d", 9100+len(n.handlers))
	n.handlers[address] = handler
	return address
}

// exporter serves what body returns.
func (n *network) exporter(contentType string, body func() string) (address string) {
	return n.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body())
	}))
}

// dial is for scrape.Options. A server's goroutines end with their connections.
func (n *network) dial(_ context.Context, _ labels.Labels, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	handler := n.handlers[address]
	if handler == nil {
		return nil, syscall.ECONNREFUSED
	}
	client, server := net.Pipe()
	accept := make(chan net.Conn, 1)
	accept <- server
	close(accept)
	go func() { _ = http.Serve(listener{accept}, handler) }()
	return connection{client, address}, nil
}

// listener accepts what is in a channel.
type listener struct{ accept <-chan net.Conn }

func (l listener) Accept() (net.Conn, error) {
	if conn, open := <-l.accept; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (listener) Close() error   { return nil }
func (listener) Addr() net.Addr { return &net.TCPAddr{} }

// connection has an address at its other end.
type connection struct {
	net.Conn
	address string
}

func (c connection) RemoteAddr() net.Addr { return address(c.address) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// bubble runs a test in a bubble of synctest, with a network.
func bubble(t *testing.T, test func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &network{}) })
}
