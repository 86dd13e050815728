package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/ebpf/port"
)

// asks returns the endpoint of a TCP listener.
func asks(address string, inode uint64) endpoint {
	return endpoint{
		Listener: socket.Listener{Addr: netip.MustParseAddrPort(address), Inode: inode},
		asker:    plainly, path: "/metrics", timeout: probeTimeout,
	}
}

// testInterval is how often endpoints are looked for.
const testInterval = 5 * time.Second

// discovers returns the discoverer of an entry, of which the test says what it finds.
func (p *Prober) discovers(interval time.Duration) *listenerDiscoverer {
	c := defaultListenerSDConfig()
	c.Interval = model.Duration(interval)
	return p.Discoverer(&Entry{Scrape: &plainly.job, Config: &c}, p.logger).(*listenerDiscoverer)
}

// finds is a look that finds the endpoints. It returns the last of them, and whether that
// is a target.
func (d *listenerDiscoverer) finds(found ...endpoint) (last endpoint, ok bool) {
	d.prober.mu.Lock()
	d.looks++
	d.prober.mu.Unlock()
	for _, e := range found {
		last, ok = d.serves(e, make(chan struct{}, 1))
	}
	d.prober.forget()
	return last, ok
}

// askNow asks until there is an answer.
func (d *listenerDiscoverer) askNow(t *testing.T, e endpoint) (endpoint, ListenerStatus) {
	t.Helper()
	d.finds(e)
	d.prober.asking.Wait()
	e, _ = d.finds(e)
	for _, status := range d.prober.Listeners() {
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

// serveMetrics answers as an exporter.
func serveMetrics(c net.Conn) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n%s", metrics)
}

// hours returns some numbers of hours as durations.
func hours(n ...int) (d []time.Duration) {
	for _, n := range n {
		d = append(d, time.Duration(n)*time.Hour)
	}
	return d
}

// Whatever a listener does, it costs one connection. It is asked again ever less often, and
// in the end never: if it told what it is, first after an hour; if it never spoke HTTP,
// then only once more; else it may be starting.
func TestHostileListeners(t *testing.T) {
	repeat := func(w io.Writer, what string) {
		what = strings.Repeat(what, 1<<16/len(what))
		for {
			if _, err := io.WriteString(w, what); err != nil {
				return
			}
		}
	}
	foreign, told := hours(1), hours(1, 2, 4, 8)
	var starting []time.Duration
	for _, seconds := range []int{10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960} {
		starting = append(starting, time.Duration(seconds)*time.Second)
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
	for name, tc := range map[string]struct {
		answer func(net.Conn)
		want   probeResult
		waits  []time.Duration // between the times that it is asked
	}{
		"never answers":           {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, probeTimedOut, foreign},
		"hangs up":                {func(net.Conn) {}, probeFailed, foreign},
		"binary":                  {func(c net.Conn) { _, _ = c.Write([]byte{0, 1, 2, 3, 255, 254, '\n', 0}) }, probeFailed, foreign},
		"endless binary":          {func(c net.Conn) { repeat(c, "\x00\xff\x01") }, probeFailed, foreign},
		"endless header":          {func(c net.Conn) { repeat(c, "HTTP/1.1 200 OK\r\nX: y\r\n") }, probeFailed, starting},
		"endless html":            {func(c net.Conn) { repeat(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>") }, probeOther, told},
		"endless line":            {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); repeat(c, "aaaaaaaaaaaa") }, probeOther, told},
		"endless exposition":      {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); repeat(c, "metric 1\n") }, probeOther, told},
		"endless, slowly":         {func(c net.Conn) { _, _ = io.WriteString(c, ok+"\r\n"); trickle(c, "metric 1\n") }, probeTimedOut, starting},
		"header, slowly":          {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"); trickle(c, "X: y\r\n") }, probeTimedOut, starting},
		"binary as an exposition": {func(c net.Conn) { _, _ = io.WriteString(c, ok+"Content-Length: 3\r\n\r\n\x00\xff\n") }, probeOther, told},
		"cut off":                 {func(c net.Conn) { _, _ = io.WriteString(c, ok+"Content-Length: 99\r\n\r\nmetric 1\n") }, probeFailed, starting},
		"elsewhere": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:22/\r\nContent-Length: 0\r\n\r\n")
		}, probeOther, starting},
		"round in a circle": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n")
		}, probeOther, starting},
		"unauthorized":     {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") }, probeOther, starting},
		"another protocol": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }, probeFailed, foreign},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newTestProber(t, "/proc", nil)
				d := p.discovers(refusedFor)
				connections := p.answerBy(t, tc.answer)
				e := asks("127.0.0.1:9200", 1)
				begin := time.Now()
				_, status := d.askNow(t, e)
				took := time.Since(begin)
				if took > time.Duration(plainly.job.ScrapeTimeout) {
					t.Errorf("took %v", took)
				}
				if status.Result != string(tc.want) || status.Reason == "" {
					t.Errorf("%s (%s), want %s", status.Result, status.Reason, tc.want)
				}
				steps := []time.Duration{0}
				for _, wait := range tc.waits { // each begins with an answer
					steps = append(steps, wait-1, 1)
				}
				for i, sleep := range append(steps, 1000*time.Hour) {
					time.Sleep(sleep)
					if _, ok := d.finds(e); ok {
						t.Fatal("it is a target")
					}
					if i > 0 && i%2 == 0 { // it is asked
						time.Sleep(took)
					}
					synctest.Wait()
					if got, want := connections.Load(), int32(1+min(i/2, len(tc.waits))); got != want {
						t.Errorf("step %d: %d connections, want %d", i, got, want)
					}
				}
			})
		})
	}
}

// What has the name of an exporter and is silent may be starting, and is asked for a few
// minutes. It may as well be another port of such a program, as the one of Alertmanager's
// cluster, and then each request is a line in its log. As long as there is no connection,
// it costs nobody anything.
func TestSilentExporter(t *testing.T) {
	at := func(seconds ...int) (d []time.Duration) {
		for _, n := range seconds {
			d = append(d, time.Duration(n)*time.Second)
		}
		return d
	}
	var refused []time.Duration
	for since, wait := time.Duration(0), retryFirst; ; wait *= 2 {
		refused = append(refused, since)
		if wait > retryLast {
			break
		}
		since += wait
	}
	silent := func(net.Conn) {}
	for name, tc := range map[string]struct {
		answers []func(net.Conn) // nil: the connection is refused; the last stands for all that follow
		want    []time.Duration  // when it is asked
		target  bool
	}{
		"silent":                     {[]func(net.Conn){silent}, at(0, 30, 90, 210), false},
		"starting":                   {[]func(net.Conn){silent, silent, serveMetrics}, at(0, 30, 90), true},
		"refusing":                   {[]func(net.Conn){nil}, refused, false},
		"silent at first":            {[]func(net.Conn){silent, silent, silent, nil}, append(at(0, 30, 90), at(210, 450, 930, 1890, 3810, 7650, 15330, 30690, 61410)...), false},
		"something that is not HTTP": {[]func(net.Conn){func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }}, at(0, 3600), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newTestProber(t, "/proc", nil)
				d := p.discovers(testInterval)
				var asked []time.Duration
				begin := time.Now()
				answer := func() func(net.Conn) { return tc.answers[min(len(asked), len(tc.answers))-1] }
				p.answerBy(t, func(c net.Conn) { answer()(c) })
				connect := p.dial
				p.dial = func(ctx context.Context, e *endpoint) (net.Conn, error) {
					asked = append(asked, time.Since(begin))
					if answer() == nil {
						return nil, syscall.ECONNREFUSED
					}
					return connect(ctx, e)
				}
				e, target := owned("127.0.0.1:9094", 1, 100, 1000, "prometheus-aler"), false
				for range int(36 * time.Hour / testInterval) {
					_, target = d.finds(e)
					time.Sleep(testInterval)
				}
				if diff := cmp.Diff(tc.want, asked); diff != "" || target != tc.target {
					t.Errorf("it is a target: %v; asked: -want +got:\n%s", target, diff)
				}
			})
		})
	}
}

// A job that waits longer for its scrapes waits as long for a listener, and those that are
// slow do not hold the others up.
func TestSlowExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		patient := jobOf(func(j *job.Config) {
			j.ScrapeInterval, j.ScrapeTimeout = model.Duration(15*time.Second), model.Duration(10*time.Second)
		})
		c := defaultListenerSDConfig()
		d := p.Discoverer(&Entry{Scrape: &patient, Config: &c}, p.logger).(*listenerDiscoverer)
		var takes atomic.Int64 // ns
		p.answerBy(t, func(c net.Conn) {
			time.Sleep(time.Duration(takes.Load()))
			serveMetrics(c)
		})
		for _, step := range []struct {
			takes, wait time.Duration
			target      bool
		}{
			{4 * time.Second, 4 * time.Second, true},
			{11 * time.Second, 12 * time.Second, false},
		} {
			takes.Store(int64(step.takes))
			e := asks("127.0.0.1:9391", uint64(step.takes))
			d.finds(e)
			time.Sleep(step.wait)
			synctest.Wait()
			if _, ok := d.finds(e); ok != step.target {
				t.Errorf("one that takes %v is a target: %v", step.takes, ok)
			}
		}
		takes.Store(int64(9 * time.Second))
		const rounds = 2
		for i := range uint64(rounds * probesAtATime) {
			d.finds(asks("127.0.0.1:9392", 1+i))
		}
		synctest.Wait()
		takes.Store(0)
		quick := asks("127.0.0.1:9393", 1000)
		d.finds(quick)
		time.Sleep(rounds * probeTimeout)
		synctest.Wait()
		if _, ok := d.finds(quick); !ok {
			t.Errorf("%d slow ones hold up another one for more than %v", rounds*probesAtATime, rounds*probeTimeout)
		}
	})
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
// and what is none for a day is not asked any more.
func TestWarmingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		d := p.discovers(testInterval)
		status := "503 Service Unavailable"
		var asked []time.Time
		p.answerBy(t, func(c net.Conn) {
			asked = append(asked, time.Now())
			fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n%s", status, metrics)
		})
		e := asks("127.0.0.1:9100", 1)
		begin := time.Now()
		for range int(5 * time.Hour / testInterval) { // until it has been asked after 2 h 50 min
			if _, ok := d.finds(e); ok {
				t.Fatal("it is a target")
			}
			time.Sleep(testInterval)
		}
		var want []time.Time
		for at, wait := begin, 10*time.Second; at.Before(begin.Add(5 * time.Hour)); wait *= 2 {
			want = append(want, at)
			at = at.Add(wait)
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("asked: -want +got:\n%s", diff)
		}
		status = "200 OK"
		for range int(2 * time.Hour / testInterval) {
			d.finds(e)
			time.Sleep(testInterval)
		}
		if _, ok := d.finds(e); !ok {
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
	d := p.discovers(testInterval)
	e := asks(l.Addr().String(), 1)
	if _, status := d.askNow(t, e); status.Result != "exposition" {
		t.Fatalf("%+v", status)
	}
	r := <-requests
	if r.Method != http.MethodGet || r.URL.Path != "/metrics" || r.Host != l.Addr().String() || !r.Close ||
		!strings.HasPrefix(r.UserAgent(), "promscope") || !strings.HasPrefix(r.Header.Get("Accept"), "application/openmetrics-text;version=1.0.0") ||
		r.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
	}
	for range 10 {
		if _, ok := d.finds(e); !ok {
			t.Error("no target any more")
		}
	}
	other := e
	other.path = "/else"
	if _, status := d.askNow(t, other); status.Inode != 1 {
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
	d := p.discovers(testInterval)
	port := l.Addr().(*net.TCPAddr).Port
	e, status := d.askNow(t, asks(fmt.Sprintf("[::]:%d", port), 1))
	if status.Result != "exposition" || e.address() != fmt.Sprintf("[::1]:%d", port) {
		t.Errorf("%s at %s: %s", status.Result, e.address(), status.Reason)
	}
}

// What is not found any more is forgotten after two looks, however far apart they are, and
// what is found is kept: the inode of a socket that is gone does not come again.
func TestProberForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		d := p.discovers(testInterval)
		connections := p.answerBy(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") })
		const gone = 1000
		stays := asks("127.0.0.1:9100", 1)
		all := []endpoint{stays}
		for i := range uint64(gone) {
			all = append(all, asks("127.0.0.1:9101", 2+i))
		}
		often := p.discovers(time.Second)
		for _, step := range []struct {
			what  string
			sleep time.Duration
			by    *listenerDiscoverer
			found []endpoint
			want  int
		}{
			{"the first look", 0, d, all, 1 + gone},
			{"a look after a long pause", time.Hour / 2, d, all, 1 + gone},
			{"the first look without them", testInterval, d, all[:1], 1 + gone},
			{"they are there again", testInterval, d, all, 1 + gone},
			{"another entry, which never found them", testInterval, often, all[:1], 1 + gone},
			{"that again", testInterval, often, all[:1], 1 + gone},
			{"and again", testInterval, often, all[:1], 1 + gone},
			{"once more without them", testInterval, d, all[:1], 1 + gone},
			{"the second look without them", testInterval, d, all[:1], 1},
		} {
			time.Sleep(step.sleep)
			step.by.looks++
			step.by.group(step.found, make(chan struct{}, 1))
			synctest.Wait()
			if n := len(p.verdicts); n != step.want {
				t.Errorf("%s: %d endpoints remembered, want %d", step.what, n, step.want)
			}
		}
		if n := connections.Load(); n != 1+gone {
			t.Errorf("%d connections to %d endpoints", n, 1+gone)
		}
	})
}

// What an entry knew is there for the next one after a reload, and is forgotten if that
// does not find it.
func TestProberReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		connections := p.answerBy(t, serveMetrics)
		stays, gone := asks("127.0.0.1:9100", 1), asks("127.0.0.1:9101", 2)
		before := p.discovers(testInterval)
		before.finds(gone, stays)
		synctest.Wait()
		before.finds(gone, stays)
		before.end()
		time.Sleep(testInterval)
		after := p.discovers(testInterval)
		if _, ok := after.finds(stays); !ok || len(p.verdicts) != 2 || len(p.served) != 2 {
			t.Errorf("it is a target: %v; %d endpoints remembered", ok, len(p.verdicts))
		}
		time.Sleep(testInterval)
		if _, ok := after.finds(stays); !ok || len(p.verdicts) != 1 || len(p.served) != 1 {
			t.Errorf("later: it is a target: %v; %d endpoints remembered", ok, len(p.verdicts))
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("%d connections to 2 endpoints", n)
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
		missed      int // looks that found neither
		behaves     string
		meanwhile   bool // is it a target
		afterAnswer bool
	}{
		{"a restart", "127.0.0.1:9100", 0, serves, true, true},
		{"something else at its place", "127.0.0.1:9100", 0, hangs, true, false},
		{"at another port", "127.0.0.1:9101", 0, serves, false, true},
		{"at its place, later", "127.0.0.1:9100", 1, serves, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newTestProber(t, "/proc", nil)
				d := p.discovers(testInterval)
				behaves := serves
				p.answerBy(t, func(c net.Conn) {
					if behaves == hangs {
						_, _ = io.Copy(io.Discard, c)
					}
					serveMetrics(c)
				})
				if _, status := d.askNow(t, asks("127.0.0.1:9100", 1)); status.Result != "exposition" {
					t.Fatalf("%+v", status)
				}
				for range tc.missed {
					d.finds()
				}
				behaves = tc.behaves
				next := asks(tc.address, 2)
				if _, ok := d.finds(next); ok != tc.meanwhile {
					t.Errorf("while it is asked it is a target: %v", ok)
				}
				time.Sleep(time.Duration(plainly.job.ScrapeTimeout))
				synctest.Wait()
				if _, ok := d.finds(next); ok != tc.afterAnswer {
					t.Errorf("with the answer it is a target: %v", ok)
				}
			})
		})
	}
}

// owned returns an endpoint of a process.
func owned(address string, inode uint64, pid int, startTicks uint64, comm string) endpoint {
	e := asks(address, inode)
	e.Owner = host.Process{PID: pid, StartTicks: startTicks, Comm: comm, Exe: "/usr/bin/" + comm}
	return e
}

// What was refused is asked again when the socket has another owner, as one does that a
// service manager holds, and what was accepted as well.
func TestOwnerChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		d := p.discovers(testInterval)
		exports := false
		connections := p.answerBy(t, func(c net.Conn) {
			if exports {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n%s", "metric 1\n")
			} else {
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			}
		})
		for i, step := range []struct {
			what    string
			owner   endpoint
			exports bool
			first   bool // is it a target, at once and with the answer
			target  bool
			asked   int32
		}{
			{"refused", owned("127.0.0.1:9200", 1, 100, 1000, "sshd"), false, false, false, 1},
			{"the same owner", owned("127.0.0.1:9200", 1, 100, 1000, "sshd"), true, false, false, 1},
			{"an owner that is not to be seen", asks("127.0.0.1:9200", 1), true, false, false, 1},
			{"the pid used again", owned("127.0.0.1:9200", 1, 100, 2000, "web"), true, false, true, 2},
			{"the same owner again", owned("127.0.0.1:9200", 1, 100, 2000, "web"), true, true, true, 2},
			{"another exporter", owned("127.0.0.1:9200", 1, 200, 3000, "web"), true, true, true, 3},
			{"something else", owned("127.0.0.1:9200", 1, 300, 4000, "sshd"), false, true, false, 4},
		} {
			exports = step.exports
			if _, ok := d.finds(step.owner); ok != step.first {
				t.Errorf("%d, %s: at first it is a target: %v", i, step.what, ok)
			}
			synctest.Wait()
			if _, ok := d.finds(step.owner); ok != step.target {
				t.Errorf("%d, %s: with the answer it is a target: %v", i, step.what, ok)
			}
			if n := connections.Load(); n != step.asked {
				t.Errorf("%d, %s: asked %d times, want %d", i, step.what, n, step.asked)
			}
			time.Sleep(testInterval)
		}
	})
}

// Nothing is printed: known print servers and unknown programs on their ports are not
// asked, and what is silent on such a port is asked once.
func TestPrinters(t *testing.T) {
	tree := hosttest.New(t)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "python3", Cmdline: []string{"python3", "/opt/my_exporter.py"}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "python3", Cmdline: []string{"python3", "/opt/promtools/spool.py"}})
	tree.Add(hosttest.Process{PID: 105, PPID: 1, Comm: "java", Cmdline: []string{
		"java", "-javaagent:/opt/jmx_prometheus_javaagent-1.0.1.jar=9101:/etc/jmx/config.yaml", "-jar", "/opt/app.jar",
	}})
	p, _ := newTestProber(t, tree.Root, nil)
	all, one := defaultListenerSDConfig(), defaultListenerSDConfig()
	one.Ports = port.Set{{First: 9102, Last: 9102}}
	elsewhere := owned("0.0.0.0:9104", 1, 104, 1, "app")
	elsewhere.Owner.Exe = "/opt/monitoring/bin/app"
	dormant := owned("127.0.0.1:9411", 1, 1, 1, "systemd")
	dormant.Dormant = true
	contained := owned("127.0.0.1:9102", 1, 102, 1, "app")
	contained.Owner.Container = strings.Repeat("a", 64)
	unixSocket := owned("127.0.0.1:9102", 1, 103, 1, "app")
	unixSocket.Addr, unixSocket.Path = netip.AddrPort{}, "/run/metrics.sock"
	for name, tc := range map[string]struct {
		endpoint endpoint
		config   ListenerSDConfig
		spared   bool
	}{
		"p910nd":                            {owned("0.0.0.0:9102", 1, 104, 1, "p910nd"), all, true},
		"p910nd by its other name":          {owned("0.0.0.0:9100", 1, 104, 1, "p9100d"), all, true},
		"p910nd elsewhere":                  {owned("0.0.0.0:9500", 1, 104, 1, "p910nd"), all, true},
		"a print server":                    {owned("0.0.0.0:9200", 1, 104, 1, "rawprintd"), all, true},
		"a print server on Caddy's port":    {owned("0.0.0.0:2019", 1, 104, 1, "rawprintd"), all, true},
		"its exporter":                      {owned("0.0.0.0:9101", 1, 104, 1, "printer_exporter"), all, false},
		"some program on a print port":      {owned("0.0.0.0:9107", 1, 104, 1, "app"), all, true},
		"one in a directory of exporters":   {elsewhere, all, true},
		"some program elsewhere":            {owned("0.0.0.0:9108", 1, 104, 1, "app"), all, false},
		"node_exporter":                     {owned("0.0.0.0:9100", 1, 104, 1, "node_exporter"), all, false},
		"a script that is an exporter":      {owned("0.0.0.0:9100", 1, 100, 1, "python3"), all, false},
		"a script that is none":             {owned("0.0.0.0:9100", 1, 101, 1, "python3"), all, true},
		"a program with an exporter inside": {owned("0.0.0.0:9101", 1, 105, 1, "java"), all, false},
		"an owner that is not to be seen":   {asks("0.0.0.0:9101", 1), all, true},
		"it, where node_exporter listens":   {asks("0.0.0.0:9100", 1), all, false},
		"it, on a port that is named":       {asks("0.0.0.0:9102", 1), one, false},
		"a service that does not run":       {dormant, all, true},
		"a container's":                     {contained, all, false},
		"a unix socket":                     {unixSocket, all, false},
		"a port that the user has named":    {owned("0.0.0.0:9102", 1, 104, 1, "app"), one, false},
		"a printer that the user has named": {owned("0.0.0.0:9102", 1, 104, 1, "p910nd"), one, false},
	} {
		if why := p.whySpared(tc.endpoint, &tc.config); (why != "") != tc.spared {
			t.Errorf("%s: %q", name, why)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, tree.Root, nil)
		d := p.discovers(time.Minute)
		connections := p.answerBy(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		for range int(48 * time.Hour / time.Minute) {
			d.finds(asks("127.0.0.1:9100", 1))
			time.Sleep(time.Minute)
		}
		if n := connections.Load(); n != 1 {
			t.Errorf("%d pages", n)
		}
	})
}

// What is not asked is known all the same, with the reason, as long as it is found; and it
// is asked by an entry that does not spare it.
func TestSpared(t *testing.T) {
	p, _ := newTestProber(t, "/proc", nil)
	p.answerBy(t, serveMetrics)
	d, other := p.discovers(testInterval), p.discovers(testInterval)
	look := func(d *listenerDiscoverer, e ...endpoint) {
		d.looks++
		d.group(e, make(chan struct{}, 1))
		p.asking.Wait()
	}
	printer := owned("0.0.0.0:9104", 1, 100, 1000, "p910nd")
	printer.NetNS = p.machine.NetNS()
	spared := printer
	spared.spared = p.whySpared(printer, d.Config)
	for i, step := range []struct {
		by    *listenerDiscoverer
		found []endpoint
		want  string // the result
	}{
		{d, []endpoint{spared}, "spared"},
		{d, nil, "spared"},
		{d, nil, ""},
		{d, []endpoint{spared}, "spared"},
		{other, []endpoint{printer}, "exposition"},
		{d, []endpoint{spared}, "exposition"},
		{other, nil, "exposition"},
		{other, nil, ""},
		{d, []endpoint{spared}, "spared"},
	} {
		look(step.by, step.found...)
		var got string
		for _, s := range p.ListenersAt("127.0.0.1:9104") {
			got = s.Result
			if (s.Reason == "") != (s.Result == "exposition") || s.Name() != "0.0.0.0:9104" {
				t.Errorf("step %d: %+v", i, s)
			}
		}
		if got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	for name, want := range map[string]int{"localhost:9104": 1, "127.0.0.1:9105": 0, "127.0.0.1": 0, "netns-" + string(number(printer.NetNS)) + ":9104": 1, "/run/x.sock": 0} {
		if got := len(p.ListenersAt(name)); got != want {
			t.Errorf("%d listeners at %s, want %d", got, name, want)
		}
	}
}

// A machine that opens 1,000 listeners an hour for a day, each for a minute, beside some
// that stay, has the memory of the first hour, and no more questions an hour.
func TestManyListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProber(t, "/proc", nil)
		d := p.discovers(testInterval)
		connections := p.answerBy(t, func(net.Conn) {}) // which is asked twice, if it stays
		const perHour, stay = 1000, 100
		var first, most int
		inode, opened := uint64(stay), time.Now()
		var staying, live []endpoint
		for i := range uint64(stay) {
			staying = append(staying, owned("127.0.0.1:9150", i, int(i)+1, 1, "stays"))
		}
		var until []time.Time
		for hour := range 24 {
			before := connections.Load()
			for range int(time.Hour / testInterval) {
				for ; time.Since(opened) >= time.Hour/perHour; opened = opened.Add(time.Hour / perHour) {
					inode++
					live = append(live, owned(fmt.Sprintf("127.0.0.1:%d", 9200+inode%800), inode, int(inode), inode, "short"))
					until = append(until, time.Now().Add(time.Minute))
				}
				for len(until) > 0 && !time.Now().Before(until[0]) {
					live, until = live[1:], until[1:]
				}
				d.finds(append(slices.Clone(staying), live...)...)
				synctest.Wait()
				if n := len(p.verdicts) + len(p.served); hour == 0 {
					first = max(first, n)
				} else {
					most = max(most, n)
				}
				time.Sleep(testInterval)
			}
			asked := int(connections.Load() - before)
			if bound := perHour + 2*stay + 2; asked > bound || hour >= 2 && asked > perHour+2 {
				t.Errorf("hour %d: %d questions", hour, asked)
			}
		}
		if most > first+1 {
			t.Errorf("%d endpoints remembered, at first %d", most, first)
		}
		if first > stay+perHour/60*2 {
			t.Errorf("%d endpoints remembered in the first hour", first)
		}
	})
}
