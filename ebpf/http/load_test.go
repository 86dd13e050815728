package http

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mode is a manner of sending requests over a connection.
type mode struct {
	name string
	// batch is how many requests go out before their responses are read.
	batch int
	// pieces cuts what is sent into several writes.
	pieces func([]byte) [][]byte
	// close asks for one connection per request.
	close bool
	body  string
	path  string // added in front of the status
}

func whole(b []byte) [][]byte { return [][]byte{b} }

func inThree(b []byte) [][]byte {
	middle := len(b) / 2
	return [][]byte{b[:2], b[2:middle], b[middle:]}
}

func byteByByte(b []byte) [][]byte {
	pieces := make([][]byte, len(b))
	for i := range b {
		pieces[i] = b[i : i+1]
	}
	return pieces
}

// headThenBody writes the body on its own, so that it begins a read.
func headThenBody(b []byte) [][]byte {
	head := bytes.Index(b, []byte("\r\n\r\n")) + 4
	return [][]byte{b[:head], b[head:]}
}

const requestInBody = "GET /502 HTTP/1.1\r\nHost: body\r\n\r\nHTTP/1.1 500 Internal\r\n\r\n"

// modes are those that every server is tried with.
func modes() []mode {
	return []mode{
		{name: "keep-alive"},
		{name: "close", close: true},
		{name: "pipelined", batch: 10},
		{name: "split", pieces: inThree},
		{name: "bytes", pieces: byteByByte},
		{name: "post", body: requestInBody},
		{name: "post-apart", body: requestInBody, pieces: headThenBody},
		{name: "large", path: "/large"},
	}
}

// statuses gives the i-th of a thousand requests its status: 60 % 2xx, 20 % 4xx, 20 % 5xx.
func status(i int) int {
	switch i % 5 {
	case 3:
		return 404
	case 4:
		return 502
	default:
		return 200
	}
}

// send makes n requests over as many connections at a time, and returns the responses by code.
func (m mode) send(address string, n, connections int) (map[string]int, error) {
	var (
		mu    sync.Mutex
		codes = map[string]int{}
		group sync.WaitGroup
		fail  error
	)
	for c := range connections {
		group.Go(func() {
			got, err := m.sendSome(address, c, n, connections)
			mu.Lock()
			defer mu.Unlock()
			for code, n := range got {
				codes[code] += n
			}
			if err != nil {
				fail = fmt.Errorf("connection %d: %w", c, err)
			}
		})
	}
	group.Wait()
	return codes, fail
}

// sendSome makes every step-th of n requests, from first on.
func (m mode) sendSome(address string, first, n, step int) (map[string]int, error) {
	codes := map[string]int{}
	var conn net.Conn
	var reader *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	batch := max(m.batch, 1)
	for i := first; i < n; {
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", address); err != nil {
				return codes, err
			}
			reader = bufio.NewReaderSize(conn, 64<<10)
			if err := conn.SetDeadline(time.Now().Add(patience(30 * time.Second))); err != nil {
				return codes, err
			}
		}
		var out []byte
		sent := 0
		for ; sent < batch && i < n; i += step {
			out = append(out, m.request(status(i))...)
			sent++
		}
		pieces := m.pieces
		if pieces == nil {
			pieces = whole
		}
		for _, piece := range pieces(out) {
			if _, err := conn.Write(piece); err != nil {
				return codes, err
			}
		}
		for range sent {
			code, err := readResponse(reader)
			if err != nil {
				return codes, err
			}
			codes[code]++
		}
		if m.close {
			conn.Close()
			conn = nil
		}
	}
	return codes, nil
}

func (m mode) request(status int) string {
	method, rest := "GET", ""
	if m.body != "" {
		method = "POST"
		rest = fmt.Sprintf("Content-Length: %d\r\n", len(m.body))
	}
	if m.close {
		rest += "Connection: close\r\n"
	}
	path := fmt.Sprintf("/%d", status)
	if status == 200 && m.path != "" {
		path = m.path
	}
	return method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + rest + "\r\n" + m.body
}

func readResponse(r *bufio.Reader) (string, error) {
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "", err
	}
	return fmt.Sprint(response.StatusCode), nil
}

// serve is the Go server. It answers /<status> with that status, /large with 1 MB, /<duration>
// after that time, /work after 100 µs of work, and /count with the number of requests.
func serve() int {
	var served atomic.Uint64
	large := bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 1<<20/16)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		served.Add(1)
		path := strings.Trim(r.URL.Path, "/")
		var code int
		if _, err := fmt.Sscanf(path, "%d", &code); err == nil && fmt.Sprint(code) == path {
			w.WriteHeader(code)
			return
		}
		if pause, err := time.ParseDuration(path); err == nil {
			time.Sleep(pause)
		}
		switch path {
		case "large":
			w.Write(large)
		case "count":
			fmt.Fprint(w, served.Load())
		case "work":
			for began := time.Now(); time.Since(began) < 100*time.Microsecond; {
			}
		}
	})
	server := &http.Server{Addr: os.Getenv("PROMSCOPE_TEST_ADDRESS"), Handler: handler, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	return 1
}
