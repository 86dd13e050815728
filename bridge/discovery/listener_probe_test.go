package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/socket"
)

// asks returns the endpoint of a TCP listener.
func asks(address string, inode uint64) endpoint {
	return endpoint{Listener: socket.Listener{Addr: netip.MustParseAddrPort(address), Inode: inode}, asker: plainly, path: "/metrics"}
}

// testInterval is how often endpoints are looked for.
const testInterval = 5 * time.Second

// look asks whether an endpoint serves an exposition, as discovery does at each look.
func (p *Prober) look(e endpoint) (endpoint, bool) {
	p.forget()
	return p.serves(e, testInterval, make(chan struct{}, 1))
}

// askNow asks until there is an answer.
func (p *Prober) askNow(t *testing.T, e endpoint) (endpoint, ListenerStatus) {
	t.Helper()
	p.look(e)
	p.asking.Wait()
	e, _ = p.look(e)
	for _, status := range p.Listeners() {
		if status.Inode == e.Inode {
			return e, status
		}
	}
	t.Fatal("nothing is known of the listener")
	return e, ListenerStatus{}
}

// answerBy has the prober connected to a server, by a pipe that a synctest bubble
// knows, and returns the number of connections.
func (p *Prober) answerBy(t *testing.T, server func(c net.Conn)) (connections *atomic.Int32) {
	connections = new(atomic.Int32)
	var servers sync.WaitGroup
	p.dial = func(context.Context, *endpoint) (net.Conn, error) {
		connections.Add(1)
		client, c := net.Pipe()
		servers.Go(func() { _, _ = io.Copy(io.Discard, c) }) // a pipe holds no request until it is read
		servers.Go(func() {
			defer c.Close()
			server(c)
		})
		return client, nil
	}
	t.Cleanup(func() {
		p.Close()
		servers.Wait()
	})
	return connections
}

// Whatever a listener does, it costs one connection. If it told what it is there
// is no second one within the hour; else it is asked ever less often.
func TestHostileListeners(t *testing.T) {
	repeat := func(w io.Writer, what string) {
		what = strings.Repeat(what, 1<<16/len(what))
		for {
			if _, err := io.WriteString(w, what); err != nil {
				return
			}
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
	for name, tc := range map[string]struct {
		answer func(net.Conn)
		want   probeResult
		told   bool // what it is
	}{
		"never answers":           {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, probeTimedOut, false},
		"hangs up":                {func(net.Conn) {}, probeFailed, false},
		"binary":                  {func(c net.Conn) { _, _ = c.Write([]byte{0, 1, 2, 3, 255, 254, '\n', 0}) }, probeFailed, true},
		"endless binary":          {func(c net.Conn) { repeat(c, "\x00\xff\x01") }, probeFailed, true},
		"endless header":          {func(c net.Conn) { repeat(c, "HTTP/1.1 200 OK\r\nX: y\r\n") }, probeFailed, false},
		"endless html":            {func(c net.Conn) { repeat(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>") }, probeOther, true},
		"endless line":            {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); repeat(c, "aaaaaaaaaaaa") }, probeOther, true},
		"endless exposition":      {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); repeat(c, "metric 1\n") }, probeOther, true},
		"endless, slowly":         {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); trickle(c, "metric 1\n") }, probeTimedOut, false},
		"header, slowly":          {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"); trickle(c, "X: y\r\n") }, probeTimedOut, false},
		"binary as an exposition": {func(c net.Conn) { _, _ = io.WriteString(c, ok+"Content-Length: 3\r\n\r\n\x00\xff\n") }, probeOther, true},
		"cut off":                 {func(c net.Conn) { _, _ = io.WriteString(c, ok+"Content-Length: 99\r\n\r\nmetric 1\n") }, probeFailed, false},
		"elsewhere": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:22/\r\nContent-Length: 0\r\n\r\n")
		}, probeOther, false},
		"round in a circle": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n")
		}, probeOther, false},
		"unauthorized":     {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") }, probeOther, false},
		"another protocol": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }, probeFailed, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newTestProber(t, "/proc", nil)
				connections := p.answerBy(t, tc.answer)
				e := asks("127.0.0.1:9100", 1)
				begin := time.Now()
				_, status := p.askNow(t, e)
				took := time.Since(begin)
				if took > probeTimeout {
					t.Errorf("took %v", took)
				}
				if status.Result != string(tc.want) || status.Reason == "" {
					t.Errorf("%s (%s), want %s", status.Result, status.Reason, tc.want)
				}
				// Each wait begins with an answer.
				wait, twice := retryFirst, 2*retryFirst
				if tc.told {
					wait, twice = refusedFor, refusedFor
				}
				for i, sleep := range []time.Duration{0, wait - 1, 1, took + twice - 1, 1} {
					time.Sleep(sleep)
					if _, ok := p.serves(e, refusedFor, make(chan struct{}, 1)); ok {
						t.Fatal("it is a target")
					}
					synctest.Wait()
					if got, want := connections.Load(), int32(1+i/2); got != want {
						t.Errorf("step %d: %d connections, want %d", i, got, want)
					}
				}
			})
		})
	}
}

// trickle writes a line every 100 ms, for ever.
func trickle(w io.Writer, line string) {
	for {
		if _, err := io.WriteString(w, line); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// An exporter that is not ready when it begins to listen becomes a target when it is,
// and what never is one ends up being asked each hour.
func TestWarmingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		status := "503 Service Unavailable"
		var asked []time.Time
		p.answerBy(t, func(c net.Conn) {
			asked = append(asked, time.Now())
			fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n%s", status, metrics)
		})
		e := asks("127.0.0.1:9100", 1)
		begin := time.Now()
		for range int(5 * time.Hour / testInterval) {
			if _, ok := p.look(e); ok {
				t.Fatal("it is a target")
			}
			time.Sleep(testInterval)
		}
		var want []time.Time
		for at, wait := begin, 10*time.Second; at.Before(begin.Add(5 * time.Hour)); wait = min(2*wait, time.Hour) {
			want = append(want, at)
			at = at.Add(wait)
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("asked: -want +got:\n%s", diff)
		}
		status = "200 OK"
		for range int(time.Hour / testInterval) {
			p.look(e)
			time.Sleep(testInterval)
		}
		if _, ok := p.look(e); !ok {
			t.Error("it is no target when it is ready")
		}
	})
}

// The one request is polite: it says who asks, and what for.
func TestProbeRequest(t *testing.T) {
	requests := make(chan *http.Request, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		serveExposition(w, r)
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()

	p, reg := newTestProber(t, "/proc", nil)
	e := asks(l.Addr().String(), 1)
	if _, status := p.askNow(t, e); status.Result != "exposition" {
		t.Fatalf("%+v", status)
	}
	r := <-requests
	if r.Method != http.MethodGet || r.URL.Path != "/metrics" || r.Host != l.Addr().String() || !r.Close ||
		!strings.HasPrefix(r.UserAgent(), "promscope") || !strings.HasPrefix(r.Header.Get("Accept"), "application/openmetrics-text;version=1.0.0") ||
		r.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
	}
	for range 10 {
		if _, ok := p.look(e); !ok {
			t.Error("no target any more")
		}
	}
	other := e
	other.path = "/else"
	if _, status := p.askNow(t, other); status.Inode != 1 {
		t.Error(status)
	}
	if n := len(requests); n != 1 { // that of the other path
		t.Errorf("%d further requests", n)
	}
	if got := testutil.ToFloat64(p.metrics.probes.WithLabelValues("exposition")); got != 1 {
		t.Errorf("%v expositions counted", got)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// A listener on all IPv6 addresses alone is reached by IPv6, and remembered so.
func TestProbeIPv6Only(t *testing.T) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
	}}
	l, err := config.Listen(context.Background(), "tcp6", "[::]:0")
	if err != nil {
		t.Skipf("needs IPv6: %v", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(serveExposition)}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	p, _ := newTestProber(t, "/proc", nil)
	port := l.Addr().(*net.TCPAddr).Port
	e, status := p.askNow(t, asks(fmt.Sprintf("[::]:%d", port), 1))
	if status.Result != "exposition" || e.address() != fmt.Sprintf("[::1]:%d", port) {
		t.Errorf("%s at %s: %s", status.Result, e.address(), status.Reason)
	}
}

// What is not found any more is forgotten after two intervals, and what is found is
// kept: the inode of a socket that is gone does not come again.
func TestProberForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		connections := p.answerBy(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") })
		const gone = 1000
		stays := asks("127.0.0.1:9100", 1)
		p.look(stays)
		for i := range uint64(gone) {
			p.look(asks("127.0.0.1:9101", 2+i))
		}
		for _, step := range []struct {
			sleep time.Duration
			want  int
		}{{0, 1 + gone}, {testInterval, 1 + gone}, {testInterval - 1, 1 + gone}, {1, 1}} {
			time.Sleep(step.sleep)
			p.look(stays)
			synctest.Wait()
			if n := len(p.verdicts); n != step.want {
				t.Errorf("%d endpoints remembered, want %d", n, step.want)
			}
		}
		if n := connections.Load(); n != 1+gone {
			t.Errorf("%d connections to %d endpoints", n, 1+gone)
		}
	})
}

func TestProberErrors(t *testing.T) {
	p, reg := newTestProber(t, "/proc", nil)
	if _, err := NewProber(p.machine, p.sockets, nil, promslog.NewNopLogger(), reg); err == nil {
		t.Error("metrics registered twice")
	}
	e := asks("127.0.0.1:1", 1)
	if _, result, err := p.get(e); result != probeFailed || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %s %v", result, err)
	}
}

// An exporter that is restarted stays a target while its new socket is asked; a
// listener at a place where none was does not become one by that.
func TestSuccessor(t *testing.T) {
	const serves, hangs = "serves", "hangs"
	for _, tc := range []struct {
		name        string
		address     string
		after       time.Duration // the last look at the old one
		behaves     string
		meanwhile   bool // is it a target
		afterAnswer bool
	}{
		{"a restart", "127.0.0.1:9100", testInterval, serves, true, true},
		{"something else at its place", "127.0.0.1:9100", testInterval, hangs, true, false},
		{"at another port", "127.0.0.1:9101", testInterval, serves, false, true},
		{"at its place, later", "127.0.0.1:9100", 2 * testInterval, serves, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newTestProber(t, "/proc", nil)
				behaves := serves
				p.answerBy(t, func(c net.Conn) {
					if behaves == hangs {
						_, _ = io.Copy(io.Discard, c)
					}
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n%s", metrics)
				})
				if _, status := p.askNow(t, asks("127.0.0.1:9100", 1)); status.Result != "exposition" {
					t.Fatalf("%+v", status)
				}
				time.Sleep(tc.after)
				behaves = tc.behaves
				next := asks(tc.address, 2)
				if _, ok := p.look(next); ok != tc.meanwhile {
					t.Errorf("while it is asked it is a target: %v", ok)
				}
				time.Sleep(probeTimeout)
				synctest.Wait()
				if _, ok := p.look(next); ok != tc.afterAnswer {
					t.Errorf("with the answer it is a target: %v", ok)
				}
			})
		})
	}
}
