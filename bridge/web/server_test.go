package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
)

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	opts.ListenAddress = "127.0.0.1:0"
	if opts.Gatherer == nil {
		opts.Gatherer = prometheus.NewRegistry()
	}
	if opts.Ready == nil {
		opts.Ready = func() error { return nil }
	}
	if opts.Healthy == nil {
		opts.Healthy = func() error { return nil }
	}
	s, err := New(opts, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not end with its context")
		}
	})
	return s
}

func do(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	var healthy, ready, reloads atomic.Int32
	healthy.Store(1)
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "promscope_test", Help: "A gauge."}))
	s := start(t, Options{
		Gatherer: reg,
		Healthy: func() error {
			if healthy.Load() == 0 {
				return errors.New("the report has stood still for 21s")
			}
			return nil
		},
		Ready: func() error {
			if ready.Load() == 0 {
				return errors.New("job node was not tried yet")
			}
			return nil
		},
		Reload: func() error {
			if reloads.Add(1) > 1 {
				return errors.New("promscope.yml:3:1: error: unknown key")
			}
			return nil
		},
	})
	base := "http://" + s.Address()

	for _, tt := range []struct {
		method, path string
		ready        int32
		status       int
		body         string
	}{
		{"GET", "/-/healthy", 0, 200, "healthy"},
		{"GET", "/-/ready", 0, 503, "job node was not tried yet"},
		{"GET", "/-/ready", 1, 200, "ready"},
		{"GET", "/metrics", 1, 200, "promscope_test 0"},
		{"POST", "/metrics", 1, 405, ""},
		{"GET", "/-/reload", 1, 405, ""},
		{"POST", "/-/reload", 1, 200, "reloaded"},
		{"POST", "/-/reload", 1, 500, "promscope.yml:3:1"},
		{"GET", "/nothing", 1, 404, ""},
	} {
		ready.Store(tt.ready)
		status, body := do(t, tt.method, base+tt.path)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s %s: status %d, body %q; want %d, %q", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}
	healthy.Store(0)
	if status, body := do(t, "GET", base+"/-/healthy"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stood still for 21s") {
		t.Errorf("/-/healthy where it is not: status %d, body %q; want 503 and why", status, body)
	}
}

func TestReloadIsOffByDefault(t *testing.T) {
	s := start(t, Options{})
	if status, body := do(t, "POST", "http://"+s.Address()+"/-/reload"); status != http.StatusForbidden || !strings.Contains(body, "--web.enable-lifecycle") {
		t.Errorf("POST /-/reload without the option: status %d, %q; want 403, and the flag", status, body)
	}
}

func TestBasicAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yml")
	// bcrypt of "secret", cost 4.
	content := "basic_auth_users:\n  scope: $2a$04$3mZq2mDHwBUGXwE8WCtkbO5/F8sIhCXTIrMXRDZQsjMZ0hk1IpV6i\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{ConfigFile: file})
	if status, _ := do(t, "GET", "http://"+s.Address()+"/-/healthy"); status != http.StatusUnauthorized {
		t.Errorf("without a password: status %d, want 401", status)
	}
}

func TestErrorsAtStart(t *testing.T) {
	s := start(t, Options{})
	_, err := New(Options{ListenAddress: s.Address()}, promslog.NewNopLogger())
	if err == nil || !strings.Contains(err.Error(), "--web.listen-address") {
		t.Errorf("a taken port: %v, want an error that names the flag", err)
	}
	_, err = New(Options{ListenAddress: "127.0.0.1:0", ConfigFile: "testdata/none.yml"}, promslog.NewNopLogger())
	if err == nil || !strings.Contains(err.Error(), "none.yml") {
		t.Errorf("a missing web configuration file: %v, want an error that names it", err)
	}
}
