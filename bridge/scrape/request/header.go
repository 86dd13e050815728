package request

import (
	"fmt"
	"math"
	"net"
)

// maxHeader is how much a target may send before the body: the headers of the answer, of
// redirects before it and of all 1xx answers, and the TLS handshake. Servers and proxies
// that are not told otherwise refuse headers beyond 8 to 64 KiB.
const maxHeader = 256 << 10

// unbounded is the budget of a body, which body_size_limit bounds.
const unbounded = math.MaxInt64

// headerConn bounds what comes before the body. That of net/http is 10 MiB, out of which
// it makes several times as much: a header of short lines takes 100 bytes for each. In
// HTTP/2 a part of the body may come before net/http has handed on the header, so that
// connections which may speak it have the bound of net/http.
type headerConn struct {
	net.Conn
	client *Client
}

// Read implements io.Reader.
func (c *headerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.client.left.Add(-int64(n)) < 0 {
		return 0, &Error{"header_size_limit", fmt.Errorf("the header is larger than %d bytes", maxHeader)}
	}
	return n, err
}

// boundHeader bounds what comes over a connection while a request waits for its answer.
func (c *Client) boundHeader(conn net.Conn) net.Conn {
	if c.target.URL.Scheme == "https" && c.target.Job.HTTPClientConfig.EnableHTTP2 {
		return conn
	}
	return &headerConn{conn, c}
}
