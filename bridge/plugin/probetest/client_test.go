package probetest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// servePlugin serves HTTP on a unix socket of that name and returns its path.
func servePlugin(t *testing.T, name string, handler http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), name)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket
}

func newTestClient(t *testing.T, socket string) *Client {
	t.Helper()
	client := NewClient(socket, Options{Alive: func(int) bool { return true }, Now: reportTime})
	t.Cleanup(client.Close)
	return client
}

func send(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func TestClientPollsAsTheProbeDoes(t *testing.T) {
	var got []string
	socket := servePlugin(t, "promscope.sock", func(w http.ResponseWriter, r *http.Request) {
		got = append(got, strings.Join([]string{
			r.Method, r.RequestURI, r.Proto, r.Host, r.UserAgent(), r.Header.Get("Accept-Encoding"),
		}, " "))
		send(w, []byte(valid))
	})
	report, err := newTestClient(t, socket).PollFor(t.Context(), 2, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	const request = "GET /report?api_version=1&probe_id=6befab12ed9aaa96 HTTP/1.1 plugin Go-http-client/1.1 gzip"
	if diff := cmp.Diff([]string{request, request}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if !report.Reused || report.Elapsed <= 0 {
		t.Errorf("reused %v, elapsed %v", report.Reused, report.Elapsed)
	}
}

func TestClientCatches(t *testing.T) {
	tests := []struct {
		name    string
		socket  string
		handler http.HandlerFunc
		want    []string // of the third poll
	}{
		{"status", "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}, []string{"status is 204 No Content, want 200"}},
		{"no length", "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(valid))
			w.(http.Flusher).Flush()
		}, []string{"there is no Content-Length: the probe dials anew each second"}},
		{"connection closed", "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			send(w, []byte(valid))
		}, []string{"the connection was not kept: the probe dials anew each second"}},
		{"trailing newline", "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
			send(w, []byte(valid+"\n"))
		}, []string{`the report has 1 bytes after the last }, for which the probe dials anew each second: "\n"`}},
		{"compressed", "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			send(w, []byte(valid))
		}, []string{`Content-Encoding is "gzip": the probe would unpack the report while it holds a lock`}},
		{"socket of another name", "other.sock", func(w http.ResponseWriter, _ *http.Request) {
			send(w, []byte(valid))
		}, []string{`Plugins: id is "promscope", the socket's name says "other"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := newTestClient(t, servePlugin(t, tt.socket, tt.handler))
			client.Poll(t.Context())
			client.Poll(t.Context())
			_, err := client.Poll(t.Context())
			if diff := cmp.Diff(tt.want, problems(err)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientGivesUp(t *testing.T) {
	socket := servePlugin(t, "promscope.sock", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	client := NewClient(socket, Options{Timeout: 10 * time.Millisecond})
	t.Cleanup(client.Close)
	if _, err := client.Poll(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the deadline", err)
	}
}

func TestClientAwaits(t *testing.T) {
	polls := 0
	socket := servePlugin(t, "promscope.sock", func(w http.ResponseWriter, _ *http.Request) {
		polls++
		send(w, []byte(strings.Replace(valid, `"value":2}`, `"value":`+strconv.Itoa(polls)+`}`, 1)))
	})
	report, err := newTestClient(t, socket).Await(t.Context(), time.Millisecond, func(r *Report) bool {
		v, _ := r.Value("Host", "vm;<host>", "a")
		return v == 3
	})
	if err != nil || polls != 3 {
		t.Errorf("%d polls, err %v, report %s", polls, err, report.Body)
	}
}

func TestClientLatency(t *testing.T) {
	client := &Client{}
	if got := client.Latency(0.99); got != 0 {
		t.Errorf("latency of no polls = %v", got)
	}
	for i := range 100 {
		client.durations = append(client.durations, time.Duration(100-i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := client.Latency(q); got != want {
			t.Errorf("latency(%v) = %v, want %v", q, got, want)
		}
	}
}
