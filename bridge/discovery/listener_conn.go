package discovery

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// errTooMuch says that a listener sent more than is read of one.
var errTooMuch = fmt.Errorf("the answer has more than %d bytes, or its header more than %d", probeBytes, probeHeader)

// probeBudget is how many bytes are still read of a listener.
type probeBudget struct{ left atomic.Int64 }

// probeConn is a connection to a listener of which nobody knows yet what it is. It reads
// nothing before the request was written: a server that speaks first would have
// net/http write to the standard logger. And it reads no more than the budget.
type probeConn struct {
	net.Conn
	budget *probeBudget
	// begin is told of the first bytes that are read.
	begin func([]byte)

	release func() // lets reading begin
	reads   <-chan struct{}
	began   bool
}

func newProbeConn(conn net.Conn, budget *probeBudget, begin func([]byte)) *probeConn {
	reads := make(chan struct{})
	return &probeConn{Conn: conn, budget: budget, begin: begin, release: sync.OnceFunc(func() { close(reads) }), reads: reads}
}

func (c *probeConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.release()
	return n, err
}

func (c *probeConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

func (c *probeConn) Read(b []byte) (int, error) {
	<-c.reads
	left := c.budget.left.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), left)])
	c.budget.left.Add(-int64(n))
	if !c.began && n > 0 {
		c.began = true
		c.begin(b[:n])
	}
	return n, err
}
