package http

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// step is something that one side of a connection sends and the other reads.
type step struct {
	from  byte // 'c'lient or 's'erver
	parts []string
}

func client(parts ...string) step { return step{'c', parts} }
func answer(parts ...string) step { return step{'s', parts} }

const (
	get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	ok  = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
)

func code(n int) string { return fmt.Sprintf("HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", n) }

// testDialogues plays both sides of a connection and looks at what the server has been seen to do.
func testDialogues(t *testing.T, c *Collector) {
	proxyV2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + strings.Repeat("\x7f", 12)
	tests := []struct {
		name  string
		steps []step
		want  map[string]int
		// open requests at the end of the connection, and responses beyond the requests known
		open, pipelined int
	}{
		{name: "plain", steps: []step{client(get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "HTTP/1.0", steps: []step{client("GET / HTTP/1.0\r\n\r\n"), answer("HTTP/1.0 200 OK\r\n\r\nbody")}, want: map[string]int{"200": 1}},
		{name: "head and not modified", steps: []step{
			client("HEAD / HTTP/1.1\r\n\r\n"), answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
			client(get), answer("HTTP/1.1 304 Not Modified\r\n\r\n"),
		}, want: map[string]int{"200": 1, "304": 1}},
		{name: "chunked", steps: []step{
			client(get), answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), answer("5\r\nhello\r\n"), answer("0\r\n\r\n"),
			client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "continue", steps: []step{
			client("PUT / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"), answer("HTTP/1.1 100 Continue\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1}},
		{name: "continue and final at once", steps: []step{
			client("PUT / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"), answer("HTTP/1.1 100 Continue\r\n\r\n" + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "early hints", steps: []step{client(get), answer("HTTP/1.1 103 Early Hints\r\n\r\n"), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "upgrade", steps: []step{
			client("GET /socket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
			client(get), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"101": 1}},
		{name: "tunnel", steps: []step{
			client("CONNECT a:1 HTTP/1.1\r\n\r\n"), answer("HTTP/1.1 200 OK\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1}},
		{name: "tunnel refused", steps: []step{
			client("CONNECT a:1 HTTP/1.1\r\n\r\n"), answer(code(407)), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "407": 1}},
		{name: "other methods", steps: []step{
			client("PROPFIND / HTTP/1.1\r\n\r\n"), answer(code(207)), client("M-SEARCH * HTTP/1.1\r\n\r\n"), answer(ok),
			client("PURGE / HTTP/1.1\r\n\r\n"), answer(ok), client("BASELINE-CONTROL / HTTP/1.1\r\n\r\n"), answer(ok),
		}, want: map[string]int{"200": 3, "207": 1}},
		{name: "rare codes", steps: []step{
			client(get), answer(code(299)), client(get), answer(code(299)), client(get), answer(code(599)), client(get), answer(code(999)),
		}, want: map[string]int{"299": 2, "599": 1, "999": 1}},
		{name: "request in three segments", steps: []step{client("GE"), client("T / HT"), client("TP/1.1\r\n\r\n"), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "byte by byte", steps: []step{
			client("G"), client("E"), client("T"), client(" "), client("/ HTTP/1.1\r\n\r\n"), answer(ok),
			client("D"), client("E"), client("L"), client("E"), client("T"), client("E"), client(" / HTTP/1.1\r\n\r\n"), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "status line in pieces", steps: []step{
			client(get), answer("H"), answer("TTP/1.1"), answer(" 2"), answer("04"), answer(" No Content\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"204": 1, "200": 1}},
		{name: "short write of a status line", steps: []step{
			client(get), answer("HTTP/1.1 204 "), answer("No Content\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"204": 1, "200": 1}},
		{name: "status line with a zero byte", steps: []step{
			client(get), answer("HTTP/1.1 200\x00OK\r\n\r\n"), client(get), answer("HTTP/1.1 404 \x00\r\n\r\n"),
		}, want: map[string]int{"200": 1, "404": 1}},
		{name: "vectored status line", steps: []step{
			client(get), answer("HTTP/1.1 ", "200", " OK\r\n", "Content-Length: 4\r\n\r\n", "body"), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "vectored body", steps: []step{client(get), answer("HTTP/1.1 404 Not Found\r\n\r\n", "GET / HTTP/1.1\r\n")}, want: map[string]int{"404": 1}},
		{name: "pipelined", steps: []step{
			client(get + get + get), answer(ok), answer(code(404)), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 3, "404": 1}, pipelined: 2},
		{name: "pipelined, answered in one vector", steps: []step{
			client(get + get + get), answer(ok, code(404), ok), client(get), answer(ok),
		}, want: map[string]int{"200": 3, "404": 1}, pipelined: 2},
		{name: "pipelined behind a HEAD, answered in one vector", steps: []step{
			client("HEAD / HTTP/1.1\r\n\r\n" + get), answer(ok, code(404)), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "404": 1}, pipelined: 1},
		{name: "pipelined behind a long body", steps: []step{
			client(get + get), answer("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 1<<20), ok),
		}, want: map[string]int{"200": 2}, pipelined: 1},
		{name: "body that begins with a request", steps: []step{
			client("POST / HTTP/1.1\r\nContent-Length: 37\r\n\r\n"), client(get), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "body after the response", steps: []step{
			client("POST / HTTP/1.1\r\nContent-Length: 37\r\n\r\n"), answer(code(413)), client(get), client(get), answer(ok),
		}, want: map[string]int{"413": 1, "200": 1}},
		{name: "another method of the same length", steps: []step{
			client(get), answer(ok), client(get), answer(ok),
			client(strings.Replace(get, "GET /", "PUT /", 1)), answer(code(413)), client("body"), client(get), answer(ok),
			client(strings.Replace(get, "GET / HTTP/1.1", "HEAD / HTTP/1.", 1)), answer(ok),
		}, want: map[string]int{"200": 4, "413": 1}},
		{name: "empty lines first", steps: []step{client("\r\n" + get), answer(ok), client("\r\n"), client("\r\n" + get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 1", steps: []step{client("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 2", steps: []step{client(proxyV2 + get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "no answer", steps: []step{client(get), answer(ok), client(get)}, want: map[string]int{"200": 1}, open: 1},
		{name: "another protocol's GET", steps: []step{client("GET key\r\n"), answer("$-1\r\n"), client("GET key\r\n"), answer(ok)}, want: map[string]int{}},
		{name: "HTTP/2", steps: []step{client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), answer("\x00\x00\x06\x04"), client(get), answer(ok)}, want: map[string]int{}},
		{name: "server speaks first", steps: []step{answer("220 ready\r\n"), client(get), answer(ok)}, want: map[string]int{}},
		{name: "not a status line", steps: []step{client(get), answer("HTTP/1.1 20x\r\n")}, want: map[string]int{}},
		{name: "lower case", steps: []step{client("get / http/1.1\r\n\r\n"), answer(ok)}, want: map[string]int{}},
	}
	play(t, "127.0.0.1:0", nil, []step{client(get), answer(ok)}) // a process without a response has no series
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
				before := gather(t, c, servers)[os.Getpid()]
				play(t, network, nil, tt.steps)
				got := difference(gather(t, c, servers)[os.Getpid()], before)
				if diff := cmp.Diff(tt.want, got.Codes); diff != "" {
					t.Errorf("%s: codes (-want +got):\n%s", network, diff)
				}
				if got.Open != tt.open || got.Pipelined != tt.pipelined || got.InFlight != 0 {
					t.Errorf("%s: %d unanswered, %d pipelined, %d in flight; want %d, %d, 0",
						network, got.Open, got.Pipelined, got.InFlight, tt.open, tt.pipelined)
				}
			}
		})
	}
}

// play lets the two sides of a new connection follow the steps. A step of several parts is one
// vectored write. While says what to do with the connection still open.
func play(t testing.TB, address string, while func(), steps []step) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	follow(t, near, far, steps)
	if while != nil {
		while()
	}
	// The server's side is gone when the client has seen its end.
	far.Close()
	io.Copy(io.Discard, near)
	near.Close()
}

func follow(t testing.TB, near, far net.Conn, steps []step) {
	t.Helper()
	for i, s := range steps {
		from, to := near, far
		if s.from == 's' {
			from, to = far, near
		}
		buffers := net.Buffers{}
		for _, part := range s.parts {
			buffers = append(buffers, []byte(part))
		}
		want := strings.Join(s.parts, "")
		read := make(chan error, 1)
		go func() {
			to.SetReadDeadline(time.Now().Add(10 * time.Second))
			got := make([]byte, len(want))
			_, err := io.ReadFull(to, got)
			if err == nil && string(got) != want {
				err = fmt.Errorf("read %q", got)
			}
			read <- err
		}()
		if _, err := buffers.WriteTo(from); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if err := <-read; err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}
