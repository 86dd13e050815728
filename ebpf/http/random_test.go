package http

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/ebpf/load"
)

var (
	seed      = flag.Uint64("seed", 0, "of TestRandom; 0 takes one from the clock")
	sequences = flag.Int("sequences", 10_000, "that TestRandom plays")
)

// TestRandom plays sequences of valid messages, cut anywhere into writes and reads, and
// compares what is counted after each step with what was generated: codes, requests in flight,
// requests that were pipelined, responses that answer nothing, and the sum of the latencies.
//
// These it leaves out, which are inexact by design (docs/collectors-http.md):
//   - "a body like a response": parts of a response's body that begin with a status line, when no request waits
//   - "read during the answer": a request that is read while the answer to the only one before is being written
//   - "many in one": more heads, bodies and chunks in one read or write than are looked at
func TestRandom(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		c := newCollector(t, Options{hookSet: hookSet, Ports: only(t, listener.Addr().String())})
		t.Logf("-seed %d", *seed)
		for i := range scaled(*sequences) {
			g := &generator{Rand: rand.New(rand.NewPCG(*seed, uint64(i)))}
			if problem := g.play(t, c, listener); problem != "" {
				t.Fatalf("sequence %d of -seed %d: %s\n%s", i, *seed, problem, strings.Join(g.log, "\n"))
			}
		}
	})
}

// generator makes one sequence, and knows what has to be counted of it.
type generator struct {
	*rand.Rand
	log  []string
	want tally
	// Bounds of the latencies' sum.
	least, most time.Duration
}

// tally is what can be counted of a process.
type tally struct {
	codes                                    string
	inFlight, unanswered, pipelined, unasked int
}

func codesOf(m map[int]int) string {
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%d:%d ", code, m[code])
	}
	return b.String()
}

// message is a request with the response to it.
type message struct {
	request  string
	early    int // of the request, so many bytes are read before it is answered; all if 0
	interim  string
	response string
	code     int
	ends     bool // the response is the connection's last
	foreign  bool // what follows is not HTTP
}

func (g *generator) pick(choices ...string) string { return choices[g.IntN(len(choices))] }

// text is a body: one that is like a message at its start, and everywhere.
func (g *generator) text(like ...string) string {
	var b strings.Builder
	for range g.IntN(4) {
		b.WriteString(g.pick(append(like, "INSERT INTO t VALUES (1)", "\r\n\r\n", "0\r\n\r\n", "SELECT 1 HTTP", "\x16\x03\x01", strings.Repeat("x", g.IntN(300)))...))
	}
	return b.String()
}

func (g *generator) fields() string {
	var b strings.Builder
	for range g.IntN(6) {
		b.WriteString(g.pick("Host: localhost\r\n", "Cookie: a=b; c=d\r\n", "Content-Type: text/plain\r\n", "Connection: keep-alive\r\n",
			"Content-Lengt: 7\r\n", "X-Content-Length: 7\r\n", "Transfer: chunked\r\n", "Accept: */*\n", "TE: trailers\r\n", "Empty:\r\n",
			"X: "+strings.Repeat("y", g.IntN(500))+"\r\n", "Trailer: Expect\r\n", "Expires: 0\r\n"))
	}
	return b.String()
}

// framed returns the fields and the body of a message that has one.
func (g *generator) framed(body string) (head, rest string) {
	if g.IntN(2) == 0 {
		return g.pick("Content-Length", "content-length", "CONTENT-LENGTH") + ":" + g.pick("", " ", "\t") + strconv.Itoa(len(body)) + "\r\n", body
	}
	var b strings.Builder
	for chunks := 0; body != ""; chunks++ {
		n := 1 + g.IntN(len(body))
		if chunks == 4 {
			n = len(body)
		}
		fmt.Fprintf(&b, g.pick("%x", "%X", "00%x")+g.pick("", ";a=b", " ")+"\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0" + g.pick("", ";x") + "\r\n" + g.pick("", "A: b\r\n", "Content-Length: 9\r\nC: d\r\n") + "\r\n")
	return g.pick("Transfer-Encoding: chunked\r\n", "transfer-encoding:gzip, Chunked \r\n"), b.String()
}

func (g *generator) message(alone, last bool) message {
	var m message
	method := g.pick("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "patch", "M-SEARCH", "X", "PROXYFIND", "BASELINE-CONTROL")
	if alone && g.IntN(20) == 0 {
		method = "CONNECT"
	}
	m.request = g.pick("", "", "", "\r\n", "\r\n\n\r\n") + method + " /" + strings.Repeat("p", g.IntN(60)) + g.pick("", "?q=HTTP/1.1", " ") + g.pick(" HTTP/1.1", " HTTP/1.0") + "\r\n" + g.fields()
	body := g.text("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n\r\n")
	switch {
	case method == "CONNECT" || body == "":
		m.request += "\r\n"
	default:
		head, rest := g.framed(body)
		m.request += head + g.fields() + "\r\n"
		if alone && len(rest) > 0 && g.IntN(2) == 0 {
			m.early = len(m.request) + g.IntN(len(rest))
		}
		m.request += rest
	}

	for range g.IntN(3) * g.IntN(2) {
		m.interim += g.pick("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nContent-Length: 7\r\n\r\n", "HTTP/1.0 100 \n\n")
	}
	codes := []int{200, 200, 200, 201, 204, 206, 301, 304, 400, 404, 413, 429, 500, 503, 299, 451}
	m.code = codes[g.IntN(len(codes))]
	if alone && g.IntN(20) == 0 {
		m.code = 101
	}
	m.response = fmt.Sprintf("HTTP/1.%d %d%s\r\n%s", g.IntN(2), m.code, g.pick("", " ", " Reason HTTP/1.1"), g.fields())
	body = g.text("GET / HTTP/1.1\r\n\r\n")
	if !last {
		body = g.text("HTTP/1.1 500 x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n")
	}
	switch {
	case m.code == 101 || method == "CONNECT" && m.code < 300:
		m.response += "\r\n"
		m.ends, m.foreign = true, true
	case m.code == 204 || m.code == 304 || method == "HEAD":
		head, _ := g.framed(body)
		m.response += g.pick("", head) + "\r\n"
	case alone && g.IntN(10) == 0: // up to the connection's end
		m.response += "\r\n" + body
		m.ends = true
	default:
		head, rest := g.framed(body)
		m.response += head + "\r\n" + rest
	}
	return m
}

// play plays one sequence, and returns what is wrong.
func (g *generator) play(t *testing.T, c *load.Collector, listener net.Listener) string {
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	before := ownTally(t, c)
	codes := map[int]int{}
	check := func(where string) string {
		after := ownTally(t, c)
		got := after.since(before)
		g.want.codes = codesOf(codes)
		if got.tally != g.want || got.sum < g.least || got.sum > g.most {
			return fmt.Sprintf("%s: %+v within %s, want %+v within %s and %s", where, got.tally, got.sum, g.want, g.least, g.most)
		}
		return ""
	}

	if g.IntN(4) == 0 { // what comes before
		g.send(t, near, far, g.pick("PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", "PROXY UNKNOWN\r\n",
			"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0cGET / HTTP/1"))
		if problem := check("preamble"); problem != "" {
			return problem
		}
	}
	for range 1 + g.IntN(5) {
		batch := 1
		if g.IntN(4) == 0 {
			batch = 2 + g.IntN(3)
		}
		var asked, answered, late string
		var all []message
		for i := range batch {
			m := g.message(batch == 1, i == batch-1)
			all = append(all, m)
			part := m.request
			if m.early > 0 {
				part, late = part[:m.early], part[m.early:]
			}
			asked += part
			answered += m.interim + m.response
		}
		began := time.Now()
		g.send(t, near, far, asked)
		read := time.Now()
		g.want.inFlight = batch
		if problem := check("asked"); problem != "" {
			return problem
		}
		writing := time.Now()
		g.send(t, far, near, answered)
		written := time.Now()
		for i, m := range all {
			codes[m.code]++
			g.least += writing.Sub(read)
			g.most += written.Sub(began)
			if i > 0 {
				g.want.pipelined++
			}
		}
		g.want.inFlight = 0
		if problem := check("answered"); problem != "" {
			return problem
		}
		if all[0].ends && !all[0].foreign {
			return ""
		}
		if all[0].foreign {
			g.send(t, near, far, "GET / HTTP/1.1\r\n\r\n")
			g.send(t, far, near, "HTTP/1.1 200 OK\r\n\r\n")
			return check("no HTTP any more")
		}
		if late != "" {
			g.send(t, near, far, late)
			if problem := check("the rest of the body"); problem != "" {
				return problem
			}
		}
		if g.IntN(10) == 0 {
			g.send(t, far, near, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
			g.want.unasked++
			if problem := check("timeout"); problem != "" {
				return problem
			}
		}
	}
	return ""
}

// send writes a text in parts, some of them vectors, and reads it in others.
func (g *generator) send(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if text == "" {
		return
	}
	pieces := 1 + g.IntN(4)*g.IntN(2)
	to.SetReadDeadline(time.Now().Add(10 * time.Second))
	for left := text; left != ""; pieces-- {
		n := len(left)
		if pieces > 1 {
			n = 1 + g.IntN(n)
		}
		part := left[:n]
		left = left[n:]
		var buffers net.Buffers
		if n > 1 && g.IntN(4) == 0 {
			at := 1 + g.IntN(n-1)
			buffers = net.Buffers{[]byte(part[:at]), []byte(part[at:])}
		} else {
			buffers = net.Buffers{[]byte(part)}
		}
		direction := ">"
		if from.LocalAddr().String() > to.LocalAddr().String() {
			direction = "<"
		}
		g.log = append(g.log, fmt.Sprintf("%s %q", direction, buffers))
		if _, err := buffers.WriteTo(from); err != nil {
			t.Fatal(err)
		}
		for read := 0; read < n; {
			size := n - read
			if g.IntN(3) == 0 {
				size = 1 + g.IntN(size)
			}
			got, err := to.Read(make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			read += got
		}
	}
}

// ownFigures of this process, as the kernel has them.
type kernelTally struct {
	tally
	byCode map[int]int
	sum    time.Duration
}

func ownTally(t *testing.T, c *load.Collector) kernelTally {
	t.Helper()
	k := kernelTally{byCode: map[int]int{}}
	for _, p := range inKernel(t, c) {
		if int(p.TGID) != os.Getpid() || p.Role != roleServer {
			continue
		}
		k.tally = tally{inFlight: int(p.inFlight()), unanswered: int(p.Unanswered), pipelined: int(p.Pipelined), unasked: int(p.Unasked)}
		k.sum = time.Duration(p.Sum)
		for i, code := range columnCodes() {
			k.byCode[code] = int(p.Codes[i+1])
		}
	}
	if err := load.ReadMap(c.Programs.Collection.Maps[mapRareCodes], func(r rareCode, n *uint64) {
		if int(r.Owner.TGID) == os.Getpid() {
			k.byCode[int(r.Code)] += int(*n)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k kernelTally) since(before kernelTally) kernelTally {
	codes := map[int]int{}
	for code, n := range k.byCode {
		if n -= before.byCode[code]; n != 0 {
			codes[code] = n
		}
	}
	k.codes = codesOf(codes)
	k.unanswered -= before.unanswered
	k.pipelined -= before.pipelined
	k.unasked -= before.unasked
	k.sum -= before.sum
	return k
}
