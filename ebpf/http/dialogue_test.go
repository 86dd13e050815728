package http

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
)

// step is something that one side of a connection sends and the other reads.
type step struct {
	from   byte // 'c'lient or 's'erver
	parts  []string
	mapped bool // the parts are of a file, and the writer has not touched them
}

func client(parts ...string) step { return step{from: 'c', parts: parts} }
func answer(parts ...string) step { return step{from: 's', parts: parts} }
func mapped(parts ...string) step { return step{from: 's', parts: parts, mapped: true} }

const (
	get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	ok  = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
)

func code(n int) string { return fmt.Sprintf("HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", n) }

// dialogue is what the two sides of a connection send, write by write, and what of it counts
// for the server.
type dialogue struct {
	name  string
	steps []step
	want  map[string]int // responses that answer a request, by code
	// unanswered requests at the end of the connection, requests answered that came while
	// another waited, responses that answer nothing, and requests whose responses were not found
	unanswered, pipelined, unasked, lost int
}

// dialogues are in the order of the RFCs' chapters.
func dialogues() []dialogue {
	proxyV2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + strings.Repeat("\x7f", 12)
	proxyV1 := "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n"
	clientHello := "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	insert := "INSERT INTO t VALUES (1)"
	hint := "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
	goOn := "HTTP/1.1 100 Continue\r\n\r\n"
	put := func(body string, fields ...string) string {
		return fmt.Sprintf("PUT / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", strings.Join(fields, ""), len(body))
	}
	inChunks := func(n int) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", n) + "0\r\n\r\n"
	}
	const (
		chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
		expect  = "Expect: 100-continue\r\n"
		head    = "HEAD / HTTP/1.1\r\n\r\n"
		words   = "some text"
		long    = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
	)
	return []dialogue{
		{name: "plain", steps: []step{client(get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "HTTP/1.0", steps: []step{client("GET / HTTP/1.0\r\n\r\n"), answer("HTTP/1.0 200 OK\r\n\r\nbody")}, want: map[string]int{"200": 1}},
		{name: "no answer", steps: []step{client(get), answer(ok), client(get)}, want: map[string]int{"200": 1}, unanswered: 1},
		{name: "rare codes", steps: []step{
			client(get), answer(code(299)), client(get), answer(code(299)), client(get), answer(code(599)), client(get), answer(code(999)),
		}, want: map[string]int{"299": 2, "599": 1, "999": 1}},

		// RFC 9110, 9.1: a method is any token, and its case matters.
		{name: "other methods", steps: []step{
			client("PROPFIND / HTTP/1.1\r\n\r\n"), answer(code(207)), client("M-SEARCH * HTTP/1.1\r\n\r\n"), answer(ok),
			client("PURGE / HTTP/1.1\r\n\r\n"), answer(ok), client("UPDATEREDIRECTREF / HTTP/1.1\r\n\r\n"), answer(ok),
		}, want: map[string]int{"200": 3, "207": 1}},
		{name: "methods that nobody has heard of", steps: []step{
			client("patch / HTTP/1.1\r\n\r\n"), answer(code(400)), client("x / HTTP/1.1\r\n\r\n"), answer(code(501)),
			client("!#$%&'*+-.^_`|~9 / HTTP/1.1\r\n\r\n"), answer(code(405)), client("get / http/1.1\r\n\r\n"), answer(code(400)), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "400": 2, "501": 1, "405": 1}},

		{name: "long methods", steps: []step{
			client(strings.Repeat("A", 33) + " / HTTP/1.1\r\n\r\n"), answer(code(501)), client(strings.Repeat("A", 251) + "HEAD / HTTP/1.1\r\n\r\n"), answer(code(501)),
		}, want: map[string]int{"501": 2}},

		// RFC 9112, 3: what nginx and Python's http.server take for request lines, too, and others refuse.
		{name: "blanks behind the version", steps: []step{
			client("GET / HTTP/1.1 \r\n\r\n"), answer(ok), client("GET / HTTP/1.1   \r\n\r\n"), answer(ok), client("GET / http/1.0"), client("  "), client(" \n\n"), answer(code(400)),
		}, want: map[string]int{"200": 2, "400": 1}},
		{name: "versions of more digits", steps: []step{
			client("GET / HTTP/1.10\r\n\r\n"), answer(ok), client("GET / HTTP/1.01\n\n"), answer(ok), client("GET / HTTP/1.100 \r\n\r\n"), answer(ok),
		}, want: map[string]int{"200": 3}},
		{name: "no versions", steps: []step{
			client("GET / HTTP/1. \r\n\r\n"), answer(code(400)), client("GET / HTTP-1.10\r\n\r\n"), answer(code(400)), client("GET / HTTP/2.0 \r\n\r\n"), answer(code(400)),
		}, want: map[string]int{}, unasked: 3},

		// RFC 9112, 5.2: the value of a field may be on the next line, which Apache, HAProxy and Go take.
		{name: "a length on the next line", steps: []step{
			client(fmt.Sprintf("PUT / HTTP/1.1\r\nContent-Length:\r\n %d\r\n\r\n", len(get))), answer(code(401)), client(get), client(get), answer(ok),
			client(fmt.Sprintf("PUT / HTTP/1.1\r\nContent-Length: \r\n\t \r\n %d\r\nHost: a\r\n\r\n", len(get)) + get + get), answer(ok), answer(ok),
		}, want: map[string]int{"200": 3, "401": 1}, pipelined: 1},
		{name: "a coding on the next line", steps: []step{
			client("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip,"), client("\r\n"), client(" chunked\r\n\r\n"), answer(code(401)),
			client(fmt.Sprintf("%x\r\n", len(get))), client(get), client("\r\n0\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},
		{name: "no length, and the next field", steps: []step{
			client("PUT / HTTP/1.1\r\nContent-Length:\r\nX: 1\r\n 5\r\n\r\n" + get), answer(ok), answer(ok),
		}, want: map[string]int{"200": 2}, pipelined: 1},
		{name: "a head of 32,000 bytes", steps: []step{
			client(strings.Replace(put(get), "\r\n", "\r\n"+strings.Repeat("X: "+strings.Repeat("y", 995)+"\r\n", 31), 1)), answer(code(401)),
			client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},

		// RFC 9110, 15.2: any number of interim responses come before the final one.
		{name: "continue", steps: []step{client(put(get, expect)), answer(goOn), client(get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "continue and final in one write", steps: []step{
			client(put(get, expect)), answer(goOn + ok), client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "early hints in a write of their own", steps: []step{client(get), answer(hint), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "early hints and final in one write", steps: []step{client(get), answer(hint + ok), client(get), answer(hint + code(404))}, want: map[string]int{"200": 1, "404": 1}},
		{name: "early hints and final in one vector", steps: []step{client(get), answer(hint, ok), client(get), answer(hint, ok)}, want: map[string]int{"200": 2}},
		{name: "several interim responses", steps: []step{
			client(get), answer("HTTP/1.1 102 \r\n\r\n" + hint + hint + "HTTP/1.1 103\n\n" + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "interim and final, cut", steps: []step{
			client(get), answer("HTTP/1.1 103 Early"), answer(" Hints\r\nLink: x\r\n\r"), answer("\nHTTP/1."), answer("1 404 x\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "404": 1}},
		{name: "long early hints", steps: []step{
			client(get), answer("HTTP/1.1 103 Early Hints\r\n" + strings.Repeat("Link: </style.css>; rel=preload\r\n", 60) + "\r\n" + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "more interim responses than are looked at", steps: []step{
			client(get), answer(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 64) + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 1}, lost: 1},
		{name: "early hints in more buffers than are looked at", steps: []step{
			client(get), answer(append(slices.Repeat([]string{"HTTP/1.1 103 Early Hints\r\n", "Link: </style.css>; rel=preload\r\n\r\n"}, 40), ok)...), client(get), answer(ok),
		}, want: map[string]int{"200": 1}, lost: 1},

		// RFC 9110, 9.3.2, 15.3.5, 15.4.5: responses without a body. RFC 9112, 7: in chunks.
		{name: "head and not modified", steps: []step{
			client(head), answer(long), client(get), answer("HTTP/1.1 304 Not Modified\r\n\r\n"),
		}, want: map[string]int{"200": 1, "304": 1}},
		{name: "chunked response", steps: []step{
			client(get), answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), answer("5\r\nhello\r\n"), answer("0\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 2}},

		// RFC 9110, 15.2.2 and 9.3.6: the connection becomes another protocol's.
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

		// RFC 9110, 10.1.1 and 15.5.14: answered before the body was read.
		{name: "refused, and then the body", steps: []step{client(put(insert)), answer(code(401)), client(insert), client(get), answer(ok)}, want: map[string]int{"200": 1, "401": 1}},
		{name: "refused, and the body in parts", steps: []step{
			client(put(insert)), answer(code(413)), client(insert[:7]), client(insert[7:] + get), answer(ok),
		}, want: map[string]int{"200": 1, "413": 1}},
		{name: "refused, and the body never comes", steps: []step{client(put(insert)), answer(code(413))}, want: map[string]int{"413": 1}},
		{name: "refused amid the body, which has requests", steps: []step{
			client(put(get+get+get) + get), answer(code(500)), client(get), client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "500": 1}},
		{name: "refused, and then chunks", steps: []step{
			client(chunked + "5\r\nhel"), answer(code(401)), client("lo\r\n"), client(fmt.Sprintf("%X;x=y\r\n%s\r\n0\r\nA: b\r\n\r\n", len(get), get) + get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},
		{name: "expectation refused, next request", steps: []step{client(put(insert, expect)), answer(code(417)), client(get), answer(ok)}, want: map[string]int{"200": 1, "417": 1}},
		{name: "expectation refused, body all the same", steps: []step{
			client(put(insert, expect)), answer(code(401)), client(insert), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},
		{name: "expectation refused, words all the same", steps: []step{
			client(put(words, expect)), answer(code(401)), client(words), answer(code(408)), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}, unasked: 1},
		{name: "expectation refused, words and the next request in one", steps: []step{
			client(put(words, expect)), answer(code(401)), client(words + get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},
		{name: "expectation refused, words in pieces", steps: []step{
			client(put(words+words+words, expect)), answer(code(401)), client(words), client(words), answer(code(408)), client(words + get), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "401": 1}, unasked: 1},
		{name: "expectation refused, words and what no request line has", steps: []step{
			client(put(words+"\n"+get, expect)), answer(code(401)), client(words), client("\n"), client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "401": 1}},
		{name: "expectation refused, next request in pieces", steps: []step{
			client(put(insert+insert, expect)), answer(code(417)), client(get[:2]), client(get[2:8]), client(get[8:]), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "417": 1}},
		{name: "body that is a request", steps: []step{client(put(get)), client(get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "a body as long as the request before", steps: []step{
			client(get), answer(ok), client(fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", len(get))), answer(code(413)), client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "413": 1}},

		// RFC 9110, 15.5.9: a response that answers nothing.
		{name: "timeout of an idle connection", steps: []step{client(get), answer(ok), answer(code(408))}, want: map[string]int{"200": 1}, unasked: 1},
		{name: "timeout before the first request", steps: []step{answer(code(408))}, want: map[string]int{}, unasked: 1},
		{name: "timeout amid a request line", steps: []step{client(get), answer(ok), client("GET / HT"), answer(code(408))}, want: map[string]int{"200": 1, "408": 1}},
		{name: "answered amid a request line, and then the rest", steps: []step{
			client("GET /a"), answer(code(414)), client("b HTTP/1.1\r\nHost: localhost\r\n\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "414": 1}},
		{name: "answered amid a method, and then the rest", steps: []step{
			client("PU"), answer(code(408)), answer(code(408)), client(put(get)[2:]), client(get), client(get), answer(ok),
		}, want: map[string]int{"200": 1, "408": 1}, unasked: 1},
		{name: "a banner, then requests", steps: []step{answer("HTTP/1.1 200 welcome\r\n\r\n"), client(get), answer(ok)}, want: map[string]int{"200": 1}, unasked: 1},
		{name: "a body that begins with a status line", steps: []step{client(get), answer(long), answer("HTTP/1.1 ")}, want: map[string]int{"200": 1}},
		{name: "a body that is a response", steps: []step{client(get), answer("HTTP/1.1 200 OK\r\n\r\n"), answer(ok)}, want: map[string]int{"200": 1}, unasked: 1},

		// Cut anywhere.
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
		{name: "a response that is not in memory", steps: []step{client(get), mapped(ok), client(get), answer(ok)}, want: map[string]int{"200": 1}, lost: 1},
		{name: "another response that is not in memory", steps: []step{
			client(get), answer(ok), client(get), mapped(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}, lost: 1},
		{name: "vectored body", steps: []step{client(get), answer("HTTP/1.1 404 Not Found\r\n\r\n", "GET / HTTP/1.1\r\n")}, want: map[string]int{"404": 1}},

		// RFC 9112, 9.3.2: pipelined.
		{name: "pipelined", steps: []step{
			client(get + get + get), answer(ok), answer(code(404)), answer(ok), client(get), answer(ok),
		}, want: map[string]int{"200": 3, "404": 1}, pipelined: 2},
		{name: "pipelined, not all answered", steps: []step{client(get + get + get), answer(ok)}, want: map[string]int{"200": 1}, unanswered: 2},
		{name: "pipelined, answered in one write", steps: []step{
			client(get + get + get), answer(long + "HTTP/1.1 " + ok + code(404)), client(get), answer(ok),
		}, want: map[string]int{"200": 3, "404": 1}, pipelined: 2},
		{name: "pipelined, answered in one vector", steps: []step{
			client(get + get + get), answer(ok, code(404), ok), client(get), answer(ok),
		}, want: map[string]int{"200": 3, "404": 1}, pipelined: 2},
		{name: "pipelined behind a HEAD, answered in one vector", steps: []step{
			client(head + get), answer(ok, code(404)), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "404": 1}, pipelined: 1},
		{name: "pipelined behind a body", steps: []step{
			client(put(get) + get + get), answer(ok), answer(code(404)), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "404": 1}, pipelined: 1},
		{name: "pipelined behind a long body", steps: []step{
			client(get + get), answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 1<<20), strings.Repeat("x", 1<<20), ok),
		}, want: map[string]int{"200": 2}, pipelined: 1},
		{name: "pipelined behind a body of more buffers than are looked at", steps: []step{
			client(get + get), answer(append([]string{"HTTP/1.1 200 OK\r\nContent-Length: 61\r\n\r\n"}, slices.Repeat([]string{"x"}, 60)...)...), answer("x" + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 3}, pipelined: 1},
		{name: "pipelined behind more chunks than are looked at", steps: []step{
			client(get + get), answer(inChunks(200)), answer(code(404)), client(get), answer(ok),
		}, want: map[string]int{"200": 2, "404": 1}, pipelined: 1},
		{name: "pipelined, more chunks in one write than are looked at", steps: []step{
			client(strings.Repeat(get, 15)), answer(strings.Repeat(inChunks(3), 15)), client(get), answer(ok),
		}, want: map[string]int{"200": 11}, pipelined: 9, lost: 5}, // each has seven parts: the tenth begins in the 64th
		{name: "pipelined, more answered in one write than are looked at", steps: []step{
			client(strings.Repeat(get, 20)), answer(strings.Repeat(ok, 20)), client(get), answer(ok),
		}, want: map[string]int{"200": 17}, pipelined: 15, lost: 4},
		{name: "pipelined, answers that are not in memory", steps: []step{
			client(get + get), mapped(ok + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 1}, lost: 2},
		{name: "pipelined, the second answer is not in memory", steps: []step{
			client(get + get), answer(long), mapped("xxxxxxxxx" + ok), client(get), answer(ok),
		}, want: map[string]int{"200": 2}, lost: 1},
		{name: "pipelined, and a timeout", steps: []step{client(get + get), answer(ok), answer(ok), answer(code(408))}, want: map[string]int{"200": 2}, pipelined: 1, unasked: 1},

		// What comes before a request: RFC 9112, 2.2, and the PROXY protocol.
		{name: "empty lines first", steps: []step{
			client("\r\n" + get), answer(ok), client("\r\n"), client("\r\n\r\n\n\r\n\r\n\r\n" + get), answer(ok),
		}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 1", steps: []step{client(proxyV1 + get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 1 alone", steps: []step{client(proxyV1), client(get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 1 of an unknown client, cut", steps: []step{client("PROX"), client("Y UNKNOWN\r"), client("\n" + get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "PROXY protocol 1, and no request", steps: []step{client(proxyV1)}, want: map[string]int{}},
		{name: "PROXY protocol 2", steps: []step{client(proxyV2 + get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "PROXY protocol 2, cut", steps: []step{client(proxyV2[:14]), client(proxyV2[14:20]), client(proxyV2[20:] + get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "an odd first request", steps: []step{client("{}\r\n\r\n"), answer(code(400)), client(get), answer(ok)}, want: map[string]int{"200": 1}, unasked: 1},

		// Other protocols.
		{name: "another protocol's GET", steps: []step{client("GET key\r\n"), answer("$-1\r\n"), client("GET key\r\n"), answer(ok)}, want: map[string]int{}},
		{name: "a request that another protocol answers", steps: []step{
			client(get), answer("-ERR\r\n"), client("*1\r\n"), answer("+OK\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1}},
		{name: "TLS", steps: []step{client(clientHello), answer("\x16\x03\x03"), client(get), answer(ok)}, want: map[string]int{}},
		{name: "TLS, refused", steps: []step{client(clientHello), answer(code(400))}, want: map[string]int{}, unasked: 1},
		{name: "HTTP/2, refused", steps: []step{client(preface), answer(code(400))}, want: map[string]int{}, unasked: 1},
		{name: "TLS behind a PROXY header", steps: []step{client(proxyV1 + clientHello), answer("\x16\x03\x03"), client(get), answer(ok)}, want: map[string]int{}},
		{name: "HTTP/2", steps: []step{client(preface), answer("\x00\x00\x06\x04"), client(get), answer(ok)}, want: map[string]int{}},
		{name: "HTTP/2 behind a PROXY header", steps: []step{client(proxyV1), client(preface), answer("\x00\x00\x06\x04"), client(get), answer(ok)}, want: map[string]int{}},

		// A connection whose first bytes are no request, and no TLS or HTTP/2 either, is looked at again.
		{name: "server speaks first", steps: []step{answer("220 ready\r\n"), client(get), answer(ok), client(get), answer(ok)}, want: map[string]int{"200": 2}},
		{name: "server speaks first, and then no status line", steps: []step{
			answer("220 ready\r\n"), client(get), answer("500 what\r\n"), client(get), answer(ok),
		}, want: map[string]int{"200": 1}},
		{name: "no request, answered with no status line", steps: []step{
			client("{}\r\n\r\n"), answer("what?\r\n"), client(get), answer(ok), client(get[:9]), client(get[9:]), answer(code(404)),
		}, want: map[string]int{"200": 1, "404": 1}},
		{name: "no request, not answered", steps: []step{client("{}\r\n"), client("{}\r\n"), client(get), answer(ok)}, want: map[string]int{"200": 1}},
		{name: "no requests, and then some that are cut", steps: []step{
			client("{}\r\n"), answer("what?\r\n"), client(get[:2]), client(get[2:8]), client(get[8:] + get), answer(ok), answer(code(404)),
		}, want: map[string]int{"200": 1, "404": 1}, pipelined: 1},
		{name: "what looks like requests among what is none", steps: []step{
			client("{}\r\n"), answer("what?\r\n"), client(get), answer("what?\r\n"), client(get + get), client("{}\r\n"), answer("what?\r\n"), client(get), client("{}\r\n"), client(get),
		}, want: map[string]int{}},
		{name: "what looks like a request, of which no answer is seen", steps: []step{
			client("{}\r\n"), answer("what?\r\n"), client(get), client("{}\r\n"), client("{}\r\n"),
		}, want: map[string]int{}},
		{name: "requests after many that were none", steps: slices.Concat(
			slices.Repeat([]step{client("{}\r\n"), answer("what?\r\n")}, 100),
			slices.Repeat([]step{client(get), answer(ok)}, 40), // the 128th segment is looked at
		), want: map[string]int{"200": 13}},
		{name: "not a status line", steps: []step{client(get), answer("HTTP/1.1 20x\r\n")}, want: map[string]int{}},
	}
}

// testDialogues plays both sides of a connection and looks at what the server has been seen to do.
func testDialogues(t *testing.T, c *load.Collector) {
	play(t, "127.0.0.1:0", nil, []step{client(get), answer(ok)}) // a process without a response has no series
	for _, d := range dialogues() {
		t.Run(d.name, func(t *testing.T) {
			for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
				before, missedBefore, lostBefore := gather(t, c, servers)[os.Getpid()], missed(t, c), lost(t, c)
				var atEnd counts // with the connection still open
				play(t, network, func() { atEnd = gather(t, c, servers)[os.Getpid()] }, d.steps)
				got := difference(gather(t, c, servers)[os.Getpid()], before)
				if reported := missed(t, c) - missedBefore; reported > 0 {
					t.Skipf("%d events reported as missed", reported)
				}
				if diff := cmp.Diff(d.want, got.Codes); diff != "" {
					t.Errorf("%s: codes (-want +got):\n%s", network, diff)
				}
				type figures struct{ inFlightBefore, inFlight, unanswered, pipelined, unasked, lost int }
				want := figures{d.unanswered, 0, d.unanswered, d.pipelined, d.unasked, d.lost}
				if got := (figures{atEnd.InFlight, got.InFlight, got.Open, got.Pipelined, got.Unasked, lost(t, c) - lostBefore}); got != want {
					t.Errorf("%s: %+v, want %+v", network, got, want)
				}
			}
		})
	}
}

// lost returns how many requests are not counted because their responses were not found.
func lost(tb testing.TB, c *load.Collector) int {
	tb.Helper()
	return int(own(tb, c, "promscope_http_responses_lost_total"))
}

// mapping returns the text in memory whose page the process has yet to touch.
func mapping(t testing.TB, text string) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("response", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, len(text), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b
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
			b := []byte(part)
			if s.mapped {
				b = mapping(t, part)
			}
			buffers = append(buffers, b)
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
