package web

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4041}
	all := &net.TCPAddr{IP: net.IPv6zero, Port: 4041}
	tests := []struct {
		name          string
		listener      net.Addr
		listenAddress string
		allowed       []string
		yes, no       []string
	}{
		{
			name: "loopback", listener: loopback, listenAddress: "127.0.0.1:4041",
			yes: []string{"localhost", "localhost:4041", "LocalHost.:80", "a.localhost:1", "127.0.0.1", "127.0.0.1:4041",
				"127.9.9.9:1", "[::1]:4041", "[::1]", "[::ffff:127.0.0.1]:4041", ""},
			no: []string{"attacker.example", "attacker.example:4041", "127.0.0.1.attacker.example", "localhost.attacker.example",
				"notlocalhost", "10.0.0.1:4041", "0.0.0.0:4041", "[fe80::1]:4041", "2130706433", "127.1", ":4041", "[", "a b"},
		},
		{
			name: "loopback, with names", listener: loopback, listenAddress: "127.0.0.1:4041", allowed: []string{"Scope.Example", "10.0.0.1:80"},
			yes: []string{"scope.example:443", "SCOPE.example", "10.0.0.1", "localhost"},
			no:  []string{"x.scope.example", "10.0.0.2"},
		},
		{
			name: "a name of its own that is loopback", listener: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1), Port: 4041}, listenAddress: "box:4041",
			yes: []string{"box:4041", "127.0.0.1"},
			no:  []string{"box.attacker.example"},
		},
		{
			name: "all addresses", listener: all, listenAddress: ":4041",
			yes: []string{"whoever.example", "10.0.0.1:4041"},
		},
		{
			name: "all addresses, with a name", listener: all, listenAddress: ":4041", allowed: []string{"node1"},
			yes: []string{"node1:4041", "10.0.0.1:4041", "[2001:db8::1]:4041", "localhost:4041"},
			no:  []string{"attacker.example", ":4041"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHosts(tt.listener, tt.listenAddress, tt.allowed)
			for want, headers := range map[bool][]string{true: tt.yes, false: tt.no} {
				for _, header := range headers {
					if got := h.answer(header); got != want {
						t.Errorf("Host %q: %v, want %v", header, got, want)
					}
				}
			}
		})
	}
}

// What a browser sends on behalf of another site's page gets nothing, whatever the
// endpoint, and no answer allows that page to read it.
func TestOtherSites(t *testing.T) {
	reloads := 0
	s := start(t, Options{
		Reload: func() error { reloads++; return nil },
		Pages:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { say(w, "page") }),
	})
	ask := func(method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://"+s.Address()+path, nil)
		change(r)
		w := httptest.NewRecorder()
		s.server.Handler.ServeHTTP(w, r)
		return w
	}
	rebound := func(r *http.Request) {
		// The browser takes the page for one of the same origin.
		r.Host = "attacker.example:4041"
		r.Header.Set("Origin", "http://attacker.example:4041")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, path := range []string{"/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/targets"} {
		if w := ask(http.MethodGet, path, rebound); w.Code != http.StatusMisdirectedRequest || !strings.Contains(w.Body.String(), "--web.allowed-host") {
			t.Errorf("GET %s by another name: status %d, %q; want 421, and the flag", path, w.Code, w.Body)
		}
	}
	if w := ask(http.MethodPost, "/-/reload", rebound); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("POST /-/reload by another name: status %d, want 421", w.Code)
	}
	foreign := map[string]func(*http.Request){
		"Sec-Fetch-Site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"Origin":         func(r *http.Request) { r.Header.Set("Origin", "http://attacker.example") },
		"another port":   func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
	}
	for name, change := range foreign {
		for _, path := range []string{"/-/reload", "/api/v1/query"} {
			if w := ask(http.MethodPost, path, change); w.Code != http.StatusForbidden {
				t.Errorf("POST %s of another site, by %s: status %d, want 403", path, name, w.Code)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodHead} {
			for header := range ask(method, "/metrics", change).Header() {
				if strings.HasPrefix(header, "Access-Control-") {
					t.Errorf("%s lets other sites read: %s", method, header)
				}
			}
		}
	}
	if reloads > 0 {
		t.Errorf("%d reloads", reloads)
	}
	if w := ask(http.MethodPost, "/-/reload", func(*http.Request) {}); w.Code != http.StatusOK || reloads != 1 {
		t.Errorf("POST /-/reload of curl: status %d, %d reloads", w.Code, reloads)
	}
}
