package plugin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

// running is a server on a socket.
type running struct {
	*Server
	socket string
	log    *bytes.Buffer // to be read after stop only
	stop   func()
}

func startServer(t *testing.T, report *Report, opts ServerOptions) *running {
	t.Helper()
	listener := mustListen(t, t.TempDir(), "promscope")
	log := &bytes.Buffer{}
	server := NewServer(report, opts, slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, listener) }()
	var once atomic.Bool
	r := &running{Server: server, socket: listener.Path(), log: log, stop: func() {
		if once.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}}
	t.Cleanup(r.stop)
	return r
}

func liveReport() *Report {
	r := NewReport(options(), templates(), discard(), nil)
	r.Apply(mapping.Result{At: start(), Points: []mapping.Point{onHost(load, 1), onProcess(os.Getpid(), heap, 2)}})
	r.Publish(start())
	return r
}

func probeClient(t *testing.T, socket string) *probetest.Client {
	t.Helper()
	probe := probetest.NewClient(socket, probetest.Options{Host: "vm", Now: start})
	t.Cleanup(probe.Close)
	return probe
}

// httpClient is a client that is no probe.
func httpClient(t *testing.T, socket string) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestServerIsPolled(t *testing.T) {
	peers := make(chan int, 10)
	s := startServer(t, liveReport(), ServerOptions{OnProbe: func(pid int) { peers <- pid }})
	probe := probeClient(t, s.socket)
	report, err := probe.PollFor(t.Context(), 30, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Reused {
		t.Error("the connection was not reused")
	}
	if v, ok := report.Value("Host", "vm;<host>", "node_load"); !ok || v != 1 {
		t.Errorf("load = %v, %v", v, ok)
	}

	select {
	case pid := <-peers:
		if pid != os.Getpid() {
			t.Errorf("peer = %d, want %d", pid, os.Getpid())
		}
	case <-time.After(5 * time.Second):
		t.Error("no peer was announced")
	}
	pollers := s.Pollers()
	if len(pollers) != 1 {
		t.Fatalf("%d pollers: %+v", len(pollers), pollers)
	}
	p := pollers[0]
	if p.ProbeID != probetest.ProbeID || p.UserAgent != "Go-http-client/1.1" || p.Polls != 30 {
		t.Errorf("poller = %+v", p)
	}
	if want := (Peer{PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}); p.Peer != want {
		t.Errorf("peer = %+v, want %+v", p.Peer, want)
	}
	if p.First.After(p.Last) || p.LastBytes == 0 || p.LastDuration <= 0 {
		t.Errorf("poller = %+v", p)
	}
	s.stop()
	select {
	case pid := <-peers:
		t.Errorf("peer %d was announced again", pid)
	default:
	}
	if s.log.Len() > 0 {
		t.Errorf("log: %s", s.log)
	}
	if got := testutil.CollectAndCount(s.metrics.duration); got != 1 {
		t.Errorf("%d histograms", got)
	}
}

// TestServerWaitsForNobody polls while the report is locked, as it is for as long
// as a large one takes to encode.
func TestServerWaitsForNobody(t *testing.T) {
	report := liveReport()
	s := startServer(t, report, ServerOptions{OnProbe: func(int) { time.Sleep(20 * time.Millisecond) }})
	report.mu.Lock()
	defer report.mu.Unlock()
	if _, err := probeClient(t, s.socket).PollFor(t.Context(), 10, time.Millisecond); err != nil {
		t.Error(err)
	}
}

// A new probe's first answer has what the hook changes. A hook that takes too long
// delays that one answer only.
func TestServerAnnouncesProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := liveReport()
		hang := make(chan struct{})
		s := NewServer(report, ServerOptions{OnProbe: func(int) {
			time.Sleep(20 * time.Millisecond)
			report.SetHost("as-the-probe-says")
			report.Publish(start())
			<-hang
		}}, discard(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		go s.announceProbes(ctx)
		poll := func(pid int, want time.Duration) {
			t.Helper()
			r := httptest.NewRequest(http.MethodGet, "/report?probe_id=x", nil)
			w := httptest.NewRecorder()
			began := time.Now()
			s.serveReport(w, r.WithContext(context.WithValue(ctx, peerKey{}, Peer{PID: pid})))
			if took := time.Since(began); took != want {
				t.Errorf("the poll of %d took %v, want %v", pid, took, want)
			}
			if !strings.Contains(w.Body.String(), `"as-the-probe-says;<host>"`) {
				t.Errorf("the answer to %d has another host: %s", pid, w.Body)
			}
		}
		poll(os.Getpid(), announceTimeout)
		poll(os.Getpid(), 0)
		time.Sleep(probeSilence)
		poll(1, announceTimeout) // waits until the hook is free
		time.Sleep(probeSilence)
		poll(os.Getpid(), 0) // there is no room for another
		if s.probe.pid != 0 {
			t.Error("a process is taken for the probe that was not announced")
		}
		close(hang)
		time.Sleep(time.Second) // both hooks end
		cancel()
		synctest.Wait()
	})
}

// TestServerUnderPublication polls while the report changes all the time.
func TestServerUnderPublication(t *testing.T) {
	report := liveReport()
	s := startServer(t, report, ServerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			at := start().Add(time.Duration(i) * time.Microsecond)
			points := []mapping.Point{onHost(load, float64(i))}
			for pid := range i % 200 {
				// Processes that live, as far as a probe can tell, have the id of this one.
				points = append(points, mapping.Point{Topology: mapping.Container, ID: fmt.Sprintf("%064x", pid), Template: heap, Value: 1})
			}
			report.Apply(mapping.Result{At: at, Points: points})
			report.Publish(at)
		}
	}()
	probe := probetest.NewClient(s.socket, probetest.Options{
		Host:    "vm",
		Now:     start,
		Timeout: 10 * time.Second, // this is about content
	})
	defer probe.Close()
	_, err := probe.PollFor(t.Context(), 50, time.Millisecond)
	cancel()
	<-done
	if err != nil {
		t.Error(err)
	}
}

// TestServerStopsWithPollsInFlight has clients that send half a request, take no
// answer, or do nothing at all.
func TestServerStopsWithPollsInFlight(t *testing.T) {
	report := NewReport(options(), templates(), discard(), nil)
	points := []mapping.Point{}
	for pid := range 20_000 {
		points = append(points, mapping.Point{Topology: mapping.Container, ID: fmt.Sprintf("%064x", pid), Template: heap, Value: 1})
	}
	report.Apply(mapping.Result{At: start(), Points: points})
	report.Publish(start())
	s := startServer(t, report, ServerOptions{})
	for _, request := range []string{"", "GET /rep", "GET /report HTTP/1.1\r\nHost: plugin\r\n\r\n"} {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, request)
	}
	begin := time.Now()
	s.stop()
	if elapsed := time.Since(begin); elapsed > 10*drainTimeout {
		t.Errorf("stopping took %v", elapsed)
	}
	if exists(t, filepath.Dir(s.socket)) {
		t.Error("the socket's directory is still there")
	}
	if s.log.Len() > 0 {
		t.Errorf("log: %s", s.log)
	}
}

// TestServerSurvivesResets is polled by a probe whose time is up.
func TestServerSurvivesResets(t *testing.T) {
	report := liveReport()
	opts := options()
	opts.Description = strings.Repeat("x", 4<<20)
	report.Reconfigure(opts, templates(), nil, nil)
	report.Publish(start())
	s := startServer(t, report, ServerOptions{})
	for range 10 {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET /report HTTP/1.1\r\nHost: plugin\r\n\r\n")
		io.ReadFull(conn, make([]byte, 1000))
		conn.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); testutil.ToFloat64(s.metrics.aborted) < 10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v polls counted as broken off", testutil.ToFloat64(s.metrics.aborted))
		}
	}
	s.stop()
	if s.log.Len() > 0 {
		t.Errorf("log: %s", s.log)
	}
}

// TestServerEndsWithItsListener is closed from elsewhere.
func TestServerEndsWithItsListener(t *testing.T) {
	listener := mustListen(t, t.TempDir(), "promscope")
	server := NewServer(liveReport(), ServerOptions{}, discard(), nil)
	done := make(chan error, 1)
	go func() { done <- server.Run(t.Context(), listener) }()
	time.Sleep(10 * time.Millisecond)
	listener.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "serving reports") {
		t.Errorf("err = %v", err)
	}
}
