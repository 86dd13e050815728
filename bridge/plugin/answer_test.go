package plugin

import (
	"bytes"
	"io"
	"net/http"
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
		body                           []byte
	}{
		{"GET", "/report", "", 200, body},
		{"GET", "/report?api_version=1&probe_id=x", "identity", 200, body},
		{"GET", "/report", "gzip", 200, body},
		{"HEAD", "/report", "gzip", 200, nil},
		{"POST", "/report", "", 405, nil},
		{"DELETE", "/report", "", 405, nil},
		{"GET", "/", "", 404, nil},
		{"GET", "/report/", "", 404, nil},
		{"GET", "/metrics", "", 404, nil},
		{"POST", "/control", "", 404, nil},
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
			if response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Content-Encoding") != "" {
				t.Errorf("header = %v", response.Header)
			}
			if !bytes.Equal(got, tt.body) {
				t.Errorf("body = %q, want %q", got, tt.body)
			}
			if response.ContentLength != int64(len(body)) {
				t.Errorf("length = %d, want %d", response.ContentLength, len(body))
			}
		})
	}
}
