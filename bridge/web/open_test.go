package web

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWarnOpen(t *testing.T) {
	const (
		tls      = "tls_server_config: {cert_file: a, key_file: b}\n"
		mutual   = "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert, client_ca_file: c}\n"
		password = "basic_auth_users: {scope: x}\n"
	)
	all, one, loopback := net.IPv6zero, net.IPv4(10, 0, 0, 1), net.IPv4(127, 0, 0, 1)
	tests := []struct {
		name   string
		ip     net.IP
		config string // "none" for no file
		want   string // empty for no warning
	}{
		{"loopback", loopback, "none", ""},
		{"IPv6 loopback", net.IPv6loopback, "none", ""},
		{"all addresses", all, "none", "without TLS and a password"},
		{"one address", one, "none", "without TLS and a password"},
		{"an empty file", all, "", "without TLS and a password"},
		{"HTTP/2 off", all, "http_server_config: {http2: false}\n", "without TLS and a password"},
		{"TLS alone", all, tls, "without a password"},
		{"a password alone", all, password, "without TLS:"},
		{"both", all, tls + password, ""},
		{"certificates of clients", all, mutual, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := ""
			if tt.config != "none" {
				file = filepath.Join(t.TempDir(), "web.yml")
				if err := os.WriteFile(file, []byte(tt.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			warnOpen(&net.TCPAddr{IP: tt.ip, Port: 4041}, file, slog.New(slog.NewTextHandler(&log, nil)))
			if got := log.String(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("log %q, want %q", got, tt.want)
			}
			if tt.want != "" && !strings.Contains(log.String(), "--web.config.file") {
				t.Errorf("the warning names no remedy: %s", &log)
			}
		})
	}
}
