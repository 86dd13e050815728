package plugin

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
)

func TestServerMethodsAndPaths(t *testing.T) {
	report := liveReport()
	s := startServer(t, report, ServerOptions{})
	client := httpClient(t, s.socket)
	body := report.JSON()
	tests := []struct {
		method, target, acceptEncoding string
		status                         int
		encoding                       string
		body                           []byte
	}{
		{"GET", "/report", "", 200, "", body},
		{"GET", "/report?api_version=1&probe_id=x", "identity", 200, "", body},
		{"GET", "/report", "gzip;q=0", 200, "", body},
		{"GET", "/report", "gzip", 200, "gzip", slices.Concat(report.edition.Load().gzipped.pieces...)},
		{"GET", "/report", "br, gzip;q=0.5", 200, "gzip", slices.Concat(report.edition.Load().gzipped.pieces...)},
		{"HEAD", "/report", "", 200, "", nil},
		{"HEAD", "/report", "gzip", 200, "gzip", nil},
		{"POST", "/report", "", 405, "", nil},
		{"DELETE", "/report", "", 405, "", nil},
		{"GET", "/", "", 404, "", nil},
		{"GET", "/report/", "", 404, "", nil},
		{"GET", "/metrics", "", 404, "", nil},
		{"POST", "/control", "", 404, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target+" "+tt.acceptEncoding, func(t *testing.T) {
			request, err := http.NewRequest(tt.method, "http://plugin"+tt.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.acceptEncoding != "" {
				request.Header.Set("Accept-Encoding", tt.acceptEncoding)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tt.status {
				t.Fatalf("status = %d, want %d", response.StatusCode, tt.status)
			}
			if tt.status != http.StatusOK {
				return
			}
			if response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("header = %v", response.Header)
			}
			if got := response.Header.Get("Content-Encoding"); got != tt.encoding {
				t.Errorf("encoding = %q, want %q", got, tt.encoding)
			}
			if !bytes.Equal(got, tt.body) {
				t.Errorf("body = %q, want %q", got, tt.body)
			}
			length := int64(len(body))
			if tt.encoding == "gzip" {
				length = int64(report.edition.Load().gzipped.bytes)
			}
			if response.ContentLength != length {
				t.Errorf("length = %d, want %d", response.ContentLength, length)
			}
		})
	}
}

func TestAcceptsGzip(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "deflate, gzip": true, " gzip ": true, "gzip;q=1.0": true,
		"gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=0.1": true, "identity": false, "xgzip": false, "*": false,
	} {
		if got := acceptsGzip([]string{value}); got != want {
			t.Errorf("acceptsGzip(%q) = %v", value, got)
		}
	}
	if acceptsGzip(nil) || !acceptsGzip([]string{"br", "gzip"}) {
		t.Error("none, or several, are taken wrongly")
	}
}

// TestServingAllocatesNothing compares with a handler that writes nothing but the
// same header's length.
func TestServingAllocatesNothing(t *testing.T) {
	server := NewServer(liveReport(), ServerOptions{}, discard(), nil)
	w := &discarder{header: make(http.Header)}
	r, err := http.NewRequest(http.MethodGet, "/report?api_version=1&probe_id=6befab12ed9aaa96", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "gzip")
	r.Header.Set("User-Agent", "Go-http-client/1.1")
	serve := func() {
		clear(w.header)
		server.serveReport(w, r)
	}
	serve() // the first one makes the poller known
	if got := testing.AllocsPerRun(100, serve); got != 0 {
		t.Errorf("%v allocations a request", got)
	}
}

// discarder is an http.ResponseWriter.
type discarder struct{ header http.Header }

func (d *discarder) Header() http.Header { return d.header }

func (d *discarder) Write(p []byte) (int, error) { return len(p), nil }

func (d *discarder) WriteHeader(int) {}
