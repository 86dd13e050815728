package http

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		processes, connections int
		want                   string
	}{
		{1024, 65536, ""},
		{65536, 1, ""},
		{1, 1 << 24, ""},
		{1, 0, ""},
		{0, 1, "max_processes must be between 1 and 65536"},
		{65537, 1, "max_processes must be between 1 and 65536"},
		{1, -5, "max_connections must be between 0 and 16777216"},
		{-1, 1<<24 + 1, "max_processes must be between 1 and 65536, max_connections must be between 0 and 16777216"},
	} {
		o := &Options{MaxProcesses: tt.processes, MaxConnections: tt.connections}
		var problems []string
		for _, p := range o.Check() {
			problems = append(problems, p.Option+" "+p.Message)
		}
		if got := strings.Join(problems, ", "); got != tt.want {
			t.Errorf("%+v: %q, want %q", o, got, tt.want)
		}
	}
	if problems := defaultOptions().Check(); len(problems) > 0 {
		t.Errorf("the defaults: %+v", problems)
	}
}

func TestExcludedPorts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ports    Ports
		excluded map[uint16]bool
	}{
		{"all", Ports{}, map[uint16]bool{0: false, 80: false, 65535: false}},
		{"some", Ports{Include: ports(80, 65535)}, map[uint16]bool{0: true, 79: true, 80: false, 81: true, 65535: false}},
		{"all but some", Ports{Exclude: ports(80)}, map[uint16]bool{79: false, 80: true, 81: false}},
		{"both", Ports{Include: ports(80, 81), Exclude: ports(80)}, map[uint16]bool{79: true, 80: true, 81: false}},
	} {
		bits := tt.ports.excluded()
		for port, want := range tt.excluded {
			if got := bits[port/8]&(1<<(port%8)) != 0; got != want {
				t.Errorf("%s: port %d excluded: %v", tt.name, port, got)
			}
		}
	}
}
