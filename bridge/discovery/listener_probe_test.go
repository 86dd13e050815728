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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/socket"
)

// asks returns the endpoint of a TCP listener in this process.
func asks(t *testing.T, address string, inode uint64) endpoint {
	t.Helper()
	return endpoint{Listener: socket.Listener{Addr: netip.MustParseAddrPort(address), Inode: inode}, path: "/metrics"}
}

// ask asks until there is an answer.
func (p *Prober) askNow(t *testing.T, e endpoint) (endpoint, ListenerStatus) {
	t.Helper()
	answered := make(chan struct{}, 1)
	if e, ok := p.serves(e, time.Minute, answered); !ok {
		select {
		case <-answered:
		case <-time.After(2 * probeTimeout):
			t.Fatalf("%s was not asked", e.url())
		}
	}
	e, _ = p.serves(e, time.Minute, answered)
	for _, status := range p.Listeners() {
		if status.Inode == e.Inode {
			return e, status
		}
	}
	t.Fatal("nothing is known of the listener")
	return e, ListenerStatus{}
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
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
		}, probeOther, false},
		"unauthorized":     {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") }, probeOther, false},
		"another protocol": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }, probeFailed, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var connections atomic.Int32
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					connections.Add(1)
					go func() {
						defer c.Close()
						tc.answer(c)
					}()
				}
			}()

			p, _ := newTestProber(t, "/proc", nil)
			var now atomic.Int64
			start := time.Now()
			p.now = func() time.Time { return start.Add(time.Duration(now.Load())) }
			e := asks(t, l.Addr().String(), 1)
			begin := time.Now()
			_, status := p.askNow(t, e)
			if took := time.Since(begin); took > probeTimeout+time.Second {
				t.Errorf("took %v", took)
			}
			if status.Result != string(tc.want) || status.Reason == "" {
				t.Errorf("%s (%s), want %s", status.Result, status.Reason, tc.want)
			}
			type step struct {
				at          time.Duration
				connections int32
			}
			steps := []step{{0, 1}, {retryFirst - 1, 1}, {retryFirst, 2}, {3*retryFirst - 1, 2}, {3 * retryFirst, 3}}
			if tc.told {
				steps = []step{{0, 1}, {retryFirst, 1}, {refusedFor - 1, 1}, {refusedFor, 2}}
			}
			for _, step := range steps {
				now.Store(int64(step.at))
				if _, ok := p.serves(e, time.Minute, make(chan struct{}, 1)); ok {
					t.Fatal("it is a target")
				}
				p.asking.Wait()
				if n := connections.Load(); n != step.connections {
					t.Errorf("%d connections after %v, want %d", n, step.at, step.connections)
				}
			}
		})
	}
}

// trickle writes for ever, a line every 100 ms.
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
	var ready atomic.Bool
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		serveExposition(w, r)
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()

	p, _ := newTestProber(t, "/proc", nil)
	now := time.Now()
	p.now = func() time.Time { return now }
	e := asks(t, l.Addr().String(), 1)
	ask := func() (wait time.Duration) {
		p.serves(e, time.Minute, make(chan struct{}, 1))
		p.asking.Wait()
		for _, v := range p.verdicts {
			wait = v.again.Sub(now)
		}
		now = now.Add(wait)
		return wait
	}
	for want := retryFirst; want < refusedFor; want *= 2 {
		if got := ask(); got != want {
			t.Errorf("asked again after %v, want %v", got, want)
		}
	}
	for range 2 {
		if got := ask(); got != refusedFor {
			t.Errorf("asked again after %v, want %v", got, refusedFor)
		}
	}
	ready.Store(true)
	ask()
	if _, ok := p.serves(e, time.Minute, make(chan struct{}, 1)); !ok {
		t.Error("it is no target when it is ready")
	}
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
	e := asks(t, l.Addr().String(), 1)
	if _, status := p.askNow(t, e); status.Result != "exposition" {
		t.Fatalf("%+v", status)
	}
	r := <-requests
	if r.Method != http.MethodGet || r.URL.Path != "/metrics" || r.Host != l.Addr().String() || !r.Close ||
		!strings.HasPrefix(r.UserAgent(), "promscope") || !strings.HasPrefix(r.Header.Get("Accept"), "text/plain") ||
		r.Header.Get("Accept-Encoding") != "" {
		t.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
	}
	answered := make(chan struct{}, 1)
	for range 10 {
		if _, ok := p.serves(e, time.Minute, answered); !ok {
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
	e, status := p.askNow(t, asks(t, fmt.Sprintf("[::]:%d", port), 1))
	if status.Result != "exposition" || e.address() != fmt.Sprintf("[::1]:%d", port) {
		t.Errorf("%s at %s: %s", status.Result, e.address(), status.Reason)
	}
}

func TestProberForgets(t *testing.T) {
	p, _ := newTestProber(t, "/proc", nil)
	now := time.Now()
	p.now = func() time.Time { return now }
	p.verdicts[probeKey{inode: 1}] = &verdict{result: probeOther, at: now, seen: now}
	p.verdicts[probeKey{inode: 2}] = &verdict{result: probeExposition, at: now, seen: now.Add(refusedFor)}
	now = now.Add(refusedFor)
	p.forget()
	if len(p.verdicts) != 1 {
		t.Errorf("%d remembered, of which one was seen within the hour", len(p.verdicts))
	}
}

func TestProberErrors(t *testing.T) {
	p, reg := newTestProber(t, "/proc", nil)
	if _, err := NewProber(p.machine, p.sockets, nil, promslog.NewNopLogger(), reg); err == nil {
		t.Error("metrics registered twice")
	}
	e := asks(t, "127.0.0.1:1", 1)
	if _, result, err := p.get(e); result != probeFailed || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %s %v", result, err)
	}
}

// An exporter that is restarted stays a target while its new socket is asked; a
// listener at a place where none was does not become one by that.
func TestSuccessor(t *testing.T) {
	p, _ := newTestProber(t, "", nil)
	answered := make(chan struct{}, 2)
	at := func(inode uint64, port uint16) endpoint {
		return endpoint{path: "/metrics", Listener: socket.Listener{
			NetNS: p.machine.NetNS(), Inode: inode, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
		}}
	}
	now := time.Now()
	p.now = func() time.Time { return now }
	known := at(1, 1)
	p.verdicts[probeKey{known.NetNS, 1, "/metrics"}] = &verdict{endpoint: known, result: probeExposition, at: now, seen: now}
	ask := func(e endpoint) bool {
		_, ok := p.serves(e, 10*time.Second, answered)
		return ok
	}
	if !ask(at(2, 1)) {
		t.Error("the successor is not a target at once")
	}
	if ask(at(3, 2)) {
		t.Error("a listener on another port is taken for a successor")
	}
	// Nobody listens on these ports: what they are taken for does not outlast the answer.
	for range 2 {
		<-answered
	}
	for deadline := time.Now().Add(5 * time.Second); ask(at(2, 1)); {
		if time.Now().After(deadline) {
			t.Fatal("a successor that does not serve an exposition stays a target")
		}
		time.Sleep(time.Millisecond)
	}
	now = now.Add(time.Minute)
	if ask(at(4, 1)) {
		t.Error("a minute later it is taken for a successor")
	}
}
