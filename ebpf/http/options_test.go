package http

import (
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		options Options
		want    string
	}{
		{Options{}, ""},
		{Options{MaxProcesses: 65536, MaxConnections: 1}, ""},
		{Options{MaxProcesses: -1}, "max_processes is -1: must be between 1 and 65536"},
		{Options{MaxProcesses: 65537}, "max_processes is 65537: must be between 1 and 65536"},
		{Options{Interval: -time.Second}, "interval is -1s: must not be negative"},
		{Options{MaxConnections: -5}, "max_connections is -5: must be between 1 and 16777216"},
		{Options{MaxProcesses: -1, MaxConnections: -1}, "max_processes is -1: must be between 1 and 65536\nmax_connections is -1: must be between 1 and 16777216"},
	} {
		o, err := tt.options.validate()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.options, got, tt.want)
		}
		if err == nil && (o.MaxProcesses == 0 || o.MaxConnections == 0 || o.Interval == 0 || o.Logger == nil) {
			t.Errorf("%+v: no defaults: %+v", tt.options, o)
		}
	}
	if _, err := New(Options{MaxProcesses: -1}); err == nil || !strings.HasPrefix(err.Error(), "http collector: max_processes") {
		t.Errorf("New: %v", err)
	}
}

// A process that exits right after a gather is there at the next, however long that takes.
func TestKeep(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{
		0:                      2 * time.Second,
		100 * time.Millisecond: 2 * time.Second,
		time.Second:            2 * time.Second,
		15 * time.Second:       30 * time.Second,
	} {
		o, err := Options{Interval: interval}.validate()
		if err != nil {
			t.Fatal(err)
		}
		if got := o.keep(); got != want {
			t.Errorf("gathered every %s, kept for %s, want %s", interval, got, want)
		}
	}
}

func TestExcludedPorts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ports    Ports
		excluded map[uint16]bool
	}{
		{"all", Ports{}, map[uint16]bool{0: false, 80: false, 65535: false}},
		{"some", Ports{Include: []uint16{80, 65535}}, map[uint16]bool{0: true, 79: true, 80: false, 81: true, 65535: false}},
		{"all but some", Ports{Exclude: []uint16{80}}, map[uint16]bool{79: false, 80: true, 81: false}},
		{"both", Ports{Include: []uint16{80, 81}, Exclude: []uint16{80}}, map[uint16]bool{79: true, 80: true, 81: false}},
	} {
		bits := tt.ports.excluded()
		for port, want := range tt.excluded {
			if got := bits[port/8]&(1<<(port%8)) != 0; got != want {
				t.Errorf("%s: port %d excluded: %v", tt.name, port, got)
			}
		}
	}
}
