package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// exporter is a process that asks another server while it is asked itself.
type exporter struct {
	server  string                // its address
	clients map[bool]*http.Client // by whether each request has a connection of its own
	release chan struct{}

	mu    sync.Mutex
	asked []span // of a worker
	works atomic.Bool
	done  sync.WaitGroup
}

// span is a time by the monotonic clock.
type span struct{ From, To time.Duration }

func (i span) meets(others []span) bool {
	return slices.ContainsFunc(others, func(o span) bool { return i.From <= o.To && o.From <= i.To })
}

func (e *exporter) ask(alone bool) error {
	resp, err := e.clients[alone].Get("http://" + e.server + "/200")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// work asks the server all the time.
func (e *exporter) work(alone bool) {
	e.works.Store(true)
	e.done.Go(func() {
		for e.works.Load() {
			began := load.Monotonic()
			if err := e.ask(alone); err != nil {
				panic(err)
			}
			e.mu.Lock()
			e.asked = append(e.asked, span{began, load.Monotonic()})
			e.mu.Unlock()
		}
	})
}

func (e *exporter) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.URL.Path {
	case "/keep", "/close":
		err = e.ask(r.URL.Path == "/close")
	case "/hold": // what it asks before it answers, and when the client has given up
		err = e.ask(false)
		select {
		case <-e.release:
		case <-r.Context().Done():
			err = e.ask(false)
		}
	case "/release":
		e.release <- struct{}{}
	case "/idle": // while the worker works
		for n := e.count(); e.count() < n+3; {
			time.Sleep(time.Millisecond)
		}
	case "/stop":
		e.works.Store(false)
		e.done.Wait()
		err = json.NewEncoder(w).Encode(e.asked)
	}
	if err != nil {
		panic(err) // the connection ends
	}
}

// serveForeign asks the server whenever it is sent something, and answers with nothing.
func (e *exporter) serveForeign(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return err
		}
		if err := e.ask(false); err != nil {
			return err
		}
		conn.Close()
	}
}

// export is an exporter that asks its server once when it starts.
func export() int {
	e := &exporter{
		server:  os.Getenv("PROMSCOPE_TEST_SERVER"),
		clients: map[bool]*http.Client{true: {Transport: &http.Transport{DisableKeepAlives: true}}, false: {Transport: &http.Transport{}}},
		release: make(chan struct{}),
	}
	if err := e.ask(false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if works := os.Getenv("PROMSCOPE_TEST_WORKS"); works != "" {
		e.work(works == "close")
	}
	if foreign := os.Getenv("PROMSCOPE_TEST_FOREIGN"); foreign != "" {
		go func() { fmt.Fprintln(os.Stderr, e.serveForeign(foreign)) }()
	}
	server := &http.Server{Addr: os.Getenv("PROMSCOPE_TEST_ADDRESS"), Handler: e, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	return 1
}

// startExporter starts an exporter on the listening address of that server.
func startExporter(t *testing.T, listen, server string, environment ...string) (address string, pid int) {
	t.Helper()
	port := portOf(freeAddress(t))
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	address = net.JoinHostPort(host, port)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=exporter", "PROMSCOPE_TEST_ADDRESS="+listen+":"+port, "PROMSCOPE_TEST_SERVER="+server)
	cmd.Env = append(cmd.Env, environment...)
	return address, start(t, address, cmd)
}

// other is a process that writes something on a connection, and reads up to its end.
func other() int {
	conn, err := net.Dial("tcp", os.Getenv("PROMSCOPE_TEST_ADDRESS"))
	if err == nil {
		_, err = fmt.Fprint(conn, os.Getenv("PROMSCOPE_TEST_SENDS"))
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func otherSends(t *testing.T, address, text string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=other", "PROMSCOPE_TEST_ADDRESS="+address, "PROMSCOPE_TEST_SENDS="+text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

func otherAsks(t *testing.T, address, path string) {
	t.Helper()
	out := otherSends(t, address, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if !bytes.HasPrefix(out, []byte("HTTP/1.1 200 ")) {
		t.Fatalf("%s", out)
	}
}

// askedSince returns what the collector has counted of a process since.
func askedSince(t *testing.T, c *load.Collector, pid int, before counts) counts {
	t.Helper()
	after := gather(t, c, servers)[pid]
	return counts{
		Requests: after.Requests - before.Requests, Own: after.Own - before.Own,
		Unasked: after.Unasked - before.Unasked, Open: after.Open - before.Open, InFlight: after.InFlight,
	}
}

func expect(t *testing.T, what string, got counts, requests, own int) {
	t.Helper()
	if got.Requests != requests || got.Own != own || got.Unasked != 0 || got.InFlight != 0 || got.Open != 0 {
		t.Errorf("%s: %+v; want %d requests, and %d of promscope's own", what, got, requests, own)
	}
}

// newObserver is newCollector, for one that does not count what this process asks.
func newObserver(t *testing.T, hookSet string) *load.Collector {
	t.Helper()
	c, err := openAs(time.Second, Options{hookSet: hookSet})
	loadtest.Require(t, loadtest.Required(hookSet), err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if w := c.Programs.Warnings; len(w) > 0 {
		t.Skip(w[0].Reason)
	}
	return c
}

// TestExporter has exporters that ask a server while they are asked themselves: by the
// collector's own process, by another one, and by both. Each has a connection to its server
// that it used before.
func TestExporter(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		type scene struct {
			server, listen string
			pid            int
			before         string // the exporter that starts before the collector
			beforePID      int
		}
		var scenes []scene
		for _, tt := range []struct{ listen, ask string }{{"127.0.0.1", "127.0.0.1"}, {"[::1]", "[::1]"}, {"", "127.0.0.1"}} {
			port := portOf(freeAddress(t))
			s := scene{server: tt.ask + ":" + port, listen: tt.listen}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVariable+"=server", "PROMSCOPE_TEST_ADDRESS="+tt.listen+":"+port)
			s.pid = start(t, s.server, cmd)
			s.before, s.beforePID = startExporter(t, tt.listen, s.server)
			scenes = append(scenes, s)
		}
		c := newObserver(t, hookSet)
		for _, s := range scenes {
			for _, from := range []string{"before", "after"} {
				t.Run(fmt.Sprintf("%s at %s, from %s the collector", s.server, s.listen, from), func(t *testing.T) {
					address, pid := s.before, s.beforePID
					if from == "after" {
						unscraped := gather(t, c, servers)[s.pid]
						address, pid = startExporter(t, s.listen, s.server)
						expect(t, "the server, when the exporter starts", askedSince(t, c, s.pid, unscraped), 1, 0)
					}
					conn := dial(t, address)
					before := gather(t, c, servers)[s.pid]
					for range 2 {
						request(t, conn, "/keep")
						request(t, conn, "/close")
					}
					expect(t, "the server, which promscope alone has asked", askedSince(t, c, s.pid, before), 0, 4)
					expect(t, "the exporter, which promscope alone has asked", gather(t, c, servers)[pid], 0, 4)

					before = gather(t, c, servers)[s.pid]
					otherAsks(t, address, "/keep")
					otherAsks(t, address, "/close")
					expect(t, "the server, when another asks the exporter", askedSince(t, c, s.pid, before), 2, 0)
					request(t, conn, "/keep")
					request(t, conn, "/close")
					expect(t, "the server of one that serves others", askedSince(t, c, s.pid, before), 4, 0)
					expect(t, "the exporter that serves others", gather(t, c, servers)[pid], 2, 6)
				})
			}
		}
	})
}

// clientHelloText begins the record of a ClientHello, as far as an environment variable can have it.
const clientHelloText = "\x16\x03\x01\x02\x01\x01\x02"

// TestExporterHeld has exporters serve others, and promscope give up, while they are amid a scrape.
func TestExporterHeld(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newObserver(t, hookSet)
		server := freeAddress(t)
		pid := startGo(t, server)
		for _, tt := range []struct {
			name  string
			while func(t *testing.T, address, foreign string, scrape net.Conn)
			want  int
		}{
			{"others ask by HTTP", func(t *testing.T, address, _ string, _ net.Conn) {
				otherAsks(t, address, "/keep")
				otherAsks(t, address, "/close")
				otherAsks(t, address, "/release")
			}, 2},
			{"others ask by TLS", func(t *testing.T, address, foreign string, _ net.Conn) {
				otherSends(t, foreign, clientHelloText)
				otherAsks(t, address, "/release")
			}, 1},
			{"others ask by HTTP/2", func(t *testing.T, address, foreign string, _ net.Conn) {
				otherSends(t, foreign, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
				otherAsks(t, address, "/release")
			}, 1},
			{"promscope gives up", func(_ *testing.T, _, _ string, scrape net.Conn) { scrape.Close() }, 1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				foreign := freeAddress(t)
				address, _ := startExporter(t, "127.0.0.1", server, "PROMSCOPE_TEST_FOREIGN="+foreign)
				before := gather(t, c, servers)[pid]
				scrape := dial(t, address)
				fmt.Fprint(scrape, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n")
				eventually(t, 10*time.Second, func() bool { return askedSince(t, c, pid, before).Own == 1 }, "the exporter asks nothing")
				tt.while(t, address, foreign, scrape)
				eventually(t, 10*time.Second, func() bool { return askedSince(t, c, pid, before).Requests >= tt.want }, "the server is not asked")
				expect(t, "the server", askedSince(t, c, pid, before), tt.want, 1)
			})
		}
	})
}

// TestForeignFirst has processes serve others by TLS and HTTP/2 before they are seen to serve anything else.
func TestForeignFirst(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newObserver(t, hookSet)
		server := freeAddress(t)
		pid := startGo(t, server)
		for name, sends := range map[string]string{"TLS": clientHelloText, "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
			t.Run(name, func(t *testing.T) {
				foreign := freeAddress(t)
				address, proxy := startExporter(t, "127.0.0.1", server, "PROMSCOPE_TEST_FOREIGN="+foreign)
				before := gather(t, c, servers)[pid]
				otherSends(t, foreign, sends)
				expect(t, "the server, asked for others", askedSince(t, c, pid, before), 1, 0)
				if got, ok := gather(t, c, servers)[proxy]; ok {
					t.Errorf("series of one that has counted nothing: %+v", got)
				}
				request(t, dial(t, address), "/keep")
				expect(t, "the server of one that serves others", askedSince(t, c, pid, before), 2, 0)
			})
		}
	})
}

// TestExporterStopped has an exporter read promscope's request only when promscope has given up.
func TestExporterStopped(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newObserver(t, hookSet)
		server := freeAddress(t)
		pid := startGo(t, server)
		address, exporter := startExporter(t, "127.0.0.1", server)
		before := gather(t, c, servers)[pid]
		signal := func(s syscall.Signal) {
			if err := syscall.Kill(exporter, s); err != nil {
				t.Fatal(err)
			}
		}
		signal(syscall.SIGSTOP)
		scrape := dial(t, address)
		fmt.Fprint(scrape, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		scrape.Close()
		noted := func() bool {
			var ends [7]uint64
			return c.Programs.Collection.Maps[mapObservers].NextKey(nil, &ends) == nil
		}
		eventually(t, 5*time.Second, func() bool { return !noted() }, "the client's end of the connection stays")
		signal(syscall.SIGCONT)
		eventually(t, 10*time.Second, func() bool { got := gather(t, c, servers)[exporter]; return got.Own+got.Requests == 1 }, "the exporter reads nothing")
		expect(t, "the exporter", gather(t, c, servers)[exporter], 0, 1)
		request(t, dial(t, address), "/keep")
		expect(t, "the server, which promscope alone has asked", askedSince(t, c, pid, before), 0, 1)
	})
}

// TestOwnServer has promscope serve another process on a connection that was open before the collector.
func TestOwnServer(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		server := httptest.NewServer(http.NotFoundHandler())
		defer server.Close()
		address, _ := startExporter(t, "127.0.0.1", server.Listener.Addr().String())
		c := newObserver(t, hookSet)
		for range 3 {
			otherAsks(t, address, "/keep")
		}
		if got := gather(t, c, servers)[os.Getpid()]; got.Requests != 2 || got.Unasked != 1 || got.Own != 0 || got.InFlight != 0 {
			t.Errorf("%+v; want 2 requests, and a response to one that was not seen", got)
		}
	})
}

// TestWorker scrapes processes that ask a server all the time. All counts but what they ask
// during a scrape.
func TestWorker(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		for _, works := range []string{"keep", "close"} {
			t.Run(works, func(t *testing.T) {
				server := freeAddress(t)
				pid := startGo(t, server)
				c := newObserver(t, hookSet)
				before := gather(t, c, servers)[pid]
				address, _ := startExporter(t, "127.0.0.1", server, "PROMSCOPE_TEST_WORKS="+works)
				var scrapes []span
				for range 5 {
					conn := dial(t, address)
					began := load.Monotonic()
					request(t, conn, "/idle")
					scrapes = append(scrapes, span{began, load.Monotonic()})
					time.Sleep(20 * time.Millisecond)
				}
				conn := dial(t, address)
				began := load.Monotonic()
				fmt.Fprint(conn, "GET /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				out, err := io.ReadAll(conn)
				if err != nil {
					t.Fatal(err)
				}
				scrapes = append(scrapes, span{began, load.Monotonic()})
				var asked []span
				_, body, _ := bytes.Cut(out, []byte("\r\n\r\n"))
				if err := json.Unmarshal(body[bytes.IndexByte(body, '['):bytes.LastIndexByte(body, ']')+1], &asked); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				amid := 0
				for _, a := range asked {
					if a.meets(scrapes) {
						amid++
					}
				}
				got := askedSince(t, c, pid, before)
				t.Logf("of %d requests %d were amid scrapes: %+v", len(asked), amid, got)
				if got.Requests+got.Own != 1+len(asked) || got.Own > amid || got.Own < 5 || got.Unasked != 0 || got.InFlight != 0 {
					t.Errorf("of %d requests and the first, at most %d were amid scrapes: %+v", len(asked), amid, got)
				}
			})
		}
	})
}

// TestProxy scrapes a proxy with metrics of its own all the time, while others ask its server through it.
func TestProxy(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		requireServers(t, err)
	}
	const n = 500
	eachHookSet(t, func(t *testing.T, hookSet string) {
		server, proxy, metrics := freeAddress(t), freeAddress(t), freeAddress(t)
		pid := startGo(t, server)
		c := newObserver(t, hookSet)
		config := write(t, t.TempDir(), "haproxy.cfg", `
defaults
	mode http
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend in
	bind `+proxy+`
	default_backend out
frontend metrics
	bind `+metrics+`
	http-request use-service prometheus-exporter
backend out
	server up `+server+`
`)
		start(t, metrics, exec.Command("haproxy", "-db", "-f", config))
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		scrape := func() error {
			resp, err := client.Get("http://" + metrics + "/metrics")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		}
		if err := scrape(); err != nil { // before anybody else has asked
			t.Fatal(err)
		}
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
					if err := scrape(); err != nil {
						stopped <- err
						return
					}
				}
			}
		}()
		const ask = "GET /200 HTTP/1.1\r\nHost: localhost\r\n"
		otherSends(t, proxy, strings.Repeat(ask+"\r\n", n-1)+ask+"Connection: close\r\n\r\n")
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		expect(t, "the proxy's server", gather(t, c, servers)[pid], n, 0)
	})
}
