package socket

import (
	"slices"
	"strings"
	"testing"

	"github.com/promscope/promscope/bridge/host"
)

// What a proxy exposes of itself is told from what its exporters expose, which may be
// behind it. The names are those of the programs' documentation.
func TestKnownBy(t *testing.T) {
	for _, test := range []struct {
		comm     string
		own      []string
		exporter []string
	}{
		{"haproxy", []string{"haproxy_process_uptime_seconds", "haproxy_frontend_status", "haproxy_backend_status", "haproxy_server_status"},
			[]string{"haproxy_up", "haproxy_exporter_scrapes_total", "haproxy_frontend_current_sessions", "haproxy_backend_up", "haproxy_server_up"}},
		{"nginx", []string{"nginx_vts_server_requests_total", "nginx_metric_errors_total", "kong_nginx_metric_errors_total"},
			[]string{"nginx_up", "nginx_http_requests_total", "nginx_connections_active", "nginx_exporter_build_info", "nginxexporter_build_info"}},
		{"envoy", []string{"envoy_server_uptime"}, []string{"go_goroutines"}},
		{"traefik", []string{"traefik_config_reloads_total"}, []string{"process_start_time_seconds"}},
		{"caddy", []string{"caddy_admin_http_requests_total"}, []string{"go_goroutines"}},
		{"pgcat", []string{"pgcat_pools_cl_active"}, []string{"pg_up"}},
		{"odyssey", []string{"msg_cache_gc_count", "database_len"}, []string{"pg_up"}},
		{"pgbouncer", nil, []string{"pgbouncer_up"}},
	} {
		prefixes, ok := KnownBy(host.Process{Comm: test.comm})
		if !ok {
			t.Errorf("%s is no proxy", test.comm)
		}
		known := func(name string) bool {
			return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		}
		for _, name := range test.own {
			if !known(name) {
				t.Errorf("%s is not known by %s", test.comm, name)
			}
		}
		for _, name := range test.exporter {
			if known(name) {
				t.Errorf("%s is known by %s, which others expose", test.comm, name)
			}
		}
	}
	if prefixes, ok := KnownBy(host.Process{Comm: "node_exporter"}); ok {
		t.Errorf("node_exporter is taken for a proxy, known by %q", prefixes)
	}
}
